"""Starts a keeper and hears how it went; blocking, for a thread."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_rmx.providers.drivers.local.isolation import kept_environment
from jupyter_rmx.providers.drivers.local.layout import KEEPER_MARKER

KEEPER = Path(__file__).with_name("keeper.py")


class Failure(NamedTuple):
    """Why a machine did not come up."""

    kind: str
    reason: str
    errno: int | None = None


class Cancel:
    """Tells a blocking start to give up; `set` may be called from another thread, and before the start."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.is_set = False

    def set(self) -> None:
        """Give up."""
        self.is_set = True
        os.write(self._write, b"x")

    def fileno(self) -> int:
        """Readable once set."""
        return self._read

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._read)
        os.close(self._write)


def launch(config: dict[str, Any], lock_fd: int, cancel: Cancel) -> Failure | None:
    """Start a machine; None when it serves. The keeper holds the lock too, so that it guards the start if we die."""
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", str(KEEPER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**kept_environment(), KEEPER_MARKER: config["id"]},
        pass_fds=[lock_fd],
        start_new_session=True,
        bufsize=0,
    )
    assert keeper.stdin and keeper.stdout
    try:
        with keeper.stdin, keeper.stdout:
            keeper.stdin.write(json.dumps(config).encode() + b"\n")
            answer = _hear(keeper.stdout.fileno(), keeper.stdin.fileno(), cancel)
    except BrokenPipeError:
        answer = b""
    finally:
        keeper.wait()  # the keeper proper is its child, and nobody's any more
    if not answer:
        return Failure("os", "its keeper ended without a word")
    heard: dict[str, Any] = json.loads(answer)
    if heard.get("ready"):
        return None
    return Failure(heard["failed"], heard["reason"], heard.get("errno"))


def _hear(answers: int, words: int, cancel: Cancel) -> bytes:
    """The keeper's line. It answers in any case: it has a time limit of its own."""
    told = False
    heard = b""
    while not heard.endswith(b"\n"):
        watched: list[Any] = [answers] if told else [answers, cancel]
        readable, _, _ = select.select(watched, [], [])
        if cancel in readable:
            os.write(words, b"cancel")
            told = True
        if answers in readable:
            part = os.read(answers, 65536)
            if not part:
                return b""
            heard += part
    return heard
