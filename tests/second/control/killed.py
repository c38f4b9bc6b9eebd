"""A process that forks one child per line of its input; each child does one request and kills itself on the way.

A line is JSON: {"folder", "url", "options", "scene", "at": ["engine", kind, step, moment] or ["provider"|"credits",
method, moment, n-th]}; the answer is the child's wait status. The parent has imported everything already, so a child
costs milliseconds.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from plane import Plane
from scenes import SCENES


class Killer:
    """Kills this process at one point."""

    def __init__(self, at):
        self.at = at
        self.left = at[3] if at and at[0] != "engine" else 1

    def engine(self, boundary):
        if self.at == ["engine", boundary.kind, boundary.step, boundary.moment]:
            os.kill(os.getpid(), signal.SIGKILL)

    def fake(self, service):
        def probe(method, moment):
            if self.at and self.at[:3] == [service, method, moment]:
                self.left -= 1
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)

        return probe


async def act(job):
    killer = Killer(job["at"])
    plane = Plane(Path(job["folder"]), url=job["url"], probe=killer.engine, **job["options"])
    plane.provider._probe = killer.fake("provider")
    plane.credits._probe = killer.fake("credits")
    await SCENES[job["scene"]].request(plane)
    await plane.aclose()


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(act(json.loads(line)))
                code = 0
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
