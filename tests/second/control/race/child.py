"""One of two processes that race: its own control plane and engine, on a store and a provider that both share.

The parent writes a job as one line of JSON ({"folder", "url", "options", "case", "share", "count"}); the child answers
`ready` when its store is open and starts at `go`. What a case says and hears in between stands at the case. Its last
line is JSON: {name of the request: ["ok", answer] or [code, message]}.
"""

import asyncio
import faulthandler
import json
import sys
from datetime import timedelta
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from plane import Plane  # noqa: E402 - it lies in the folder above

from jupyter_rmx.clock import SystemClock  # noqa: E402 - found only after the path is set
from jupyter_rmx.errors import RmxError  # noqa: E402 - found only after the path is set
from jupyter_rmx.models import VMSpec  # noqa: E402 - found only after the path is set

FAIL_SAFE_S = 200
CLIENT_WAIT_S = 0.05


class ShiftedClock(SystemClock):
    """The time, some seconds later."""

    shift_s = 0.0

    def now(self):
        return super().now() + timedelta(seconds=self.shift_s)


def say(text):
    print(text, flush=True)


async def hear():
    """The parent's next line."""
    return (await asyncio.to_thread(sys.stdin.readline)).strip()


class Case:
    """Requests at the same time; subclasses say which."""

    def __init__(self, plane, job):
        self.plane = plane
        self.share, self.count = job["share"], job["count"]
        self.answers = {}

    async def ask(self, name, request):
        """One request; what it came to is kept under its name."""
        assert name not in self.answers
        try:
            self.answers[name] = ["ok", await request]
        except RmxError as error:
            self.answers[name] = [error.code, str(error)]
        except Exception as error:
            self.answers[name] = [f"{type(error).__name__}, which is none of ours", repr(error)]

    async def create(self, key):
        """As a client does it: while the machine is being made, the same wish again."""
        first = True
        while True:
            try:
                return (await self.plane.control.create(VMSpec(), key=key)).id
            except RmxError as error:
                if error.code != "vm_create_in_progress":
                    raise
                if first:
                    self.told()
                first = False
                await asyncio.sleep(CLIENT_WAIT_S)

    def told(self):
        """One more was told that the machine is being made."""


class OneKey(Case):
    """All wish for one machine, which only the key names; `tried` when all but one were told once that it is being made."""

    async def run(self):
        self.left = self.count - 1
        wishes = (self.create("the key") for _ in range(self.count))
        await asyncio.gather(*(self.ask(f"{self.share}-{i}", wish) for i, wish in enumerate(wishes)))

    def told(self):
        self.left -= 1
        if self.left == 0:
            say("tried")


class Limit(Case):
    """Each wishes for one of its own; `tried` when all but five have their answer."""

    async def run(self):
        tasks = [
            asyncio.ensure_future(self.ask(f"{self.share}-{i}", self.create(f"{self.share}-{i}")))
            for i in range(self.count)
        ]
        for done, answered in enumerate(asyncio.as_completed(tasks), 1):
            await answered
            if done == self.count - 5:
                say("tried")


class Churn(Case):
    """Each wishes for one of its own a few times and ends it at once, so that slots are taken as they become free."""

    tries = 4

    async def run(self):
        await asyncio.gather(*(self.ask(f"{self.share}-{i}", self.one(i)) for i in range(self.count)))

    async def one(self, number):
        for left in reversed(range(self.tries)):
            try:
                vm_id = await self.create(f"{self.share}-{number}")
            except RmxError as error:
                if error.code != "vm_active_limit_exceeded" or not left:
                    raise
            else:
                return (await self.plane.control.destroy(vm_id)).id
        return None


class Mixed(Case):
    """Commands from the start; what disturbs them from `now` on."""

    disturbances = 3

    async def run(self):
        execs = [self.ask(f"{self.share}-{i}", self.exec(f"{self.share}-{i}")) for i in range(self.count)]
        others = [self.ask(f"other-{self.share}-{i}", self.disturb()) for i in range(self.disturbances)]
        await asyncio.gather(*execs, self.at_now(others))

    async def exec(self, command):
        return (await self.plane.use.exec("demo", command, timeout_s=60)).exit_code

    async def at_now(self, others):
        assert await hear() == "now"
        await asyncio.gather(*others)


class Destroy(Mixed):
    async def disturb(self):
        return (await self.plane.control.destroy("demo")).id


class Pause(Mixed):
    async def disturb(self):
        return (await self.plane.use.pause("demo")).status


class Reconcile(Case):
    """Rounds of the reconciler: each line is how many seconds later it is; `done` after each; ends at an empty line."""

    async def run(self):
        while line := await hear():
            self.plane.control.context.clock.shift_s = float(line)
            await self.plane.reconciler.round()
            say("done")


CASES = {case.__name__: case for case in (OneKey, Limit, Churn, Destroy, Pause, Reconcile)}


async def act(job):
    plane = Plane(Path(job["folder"]), url=job["url"], clock=ShiftedClock(), **job["options"])
    case = CASES[job["case"]](plane, job)
    await plane.store.open()
    say("ready")
    assert await hear() == "go"
    await case.run()
    await plane.aclose()
    say(json.dumps(case.answers))


def main():
    while line := sys.stdin.readline():
        faulthandler.dump_traceback_later(FAIL_SAFE_S, exit=True)
        asyncio.run(act(json.loads(line)))
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
