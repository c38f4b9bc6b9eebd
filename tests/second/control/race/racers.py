"""The parent's side of a race: two children, started together, and what they answered."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
FAIL_SAFE_S = 240
LOOK_S = 0.005


class Racer:
    """One child."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self):
        return self.process.pid

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, wanted):
        """The child ends itself if it has nothing to say for too long, so this does not wait for ever."""
        heard = self.process.stdout.readline().strip()
        assert heard == wanted, heard

    def answers(self):
        line = self.process.stdout.readline()
        assert line, "the child has ended without an answer"
        return json.loads(line)

    def kill(self):
        """SIGKILL, and gone when this returns."""
        self.process.kill()
        self.process.wait(FAIL_SAFE_S)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(FAIL_SAFE_S)
        finally:
            self.process.kill()
            self.process.stdout.close()


class Race:
    """Two children on one case."""

    def __init__(self, racers, case, plane, *, url=None, count=100, **options):
        self.racers = racers
        for share, racer in enumerate(racers):
            job = {"folder": str(plane.folder), "url": url, "options": options}
            racer.say(json.dumps(job | {"case": case, "share": share, "count": count}))
        self.hear("ready")
        self.say("go")

    def say(self, line):
        for racer in self.racers:
            racer.say(line)

    def hear(self, wanted):
        for racer in self.racers:
            racer.hear(wanted)

    def answers(self):
        """All answers of both, by name."""
        first, second = (racer.answers() for racer in self.racers)
        assert not first.keys() & second.keys()
        return first | second


def wait_until(true):
    """Look until it is so."""
    deadline = time.monotonic() + FAIL_SAFE_S
    while not true():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(LOOK_S)


def codes(answers):
    """How many answers of each kind."""
    return Counter(kind for kind, _ in answers.values())
