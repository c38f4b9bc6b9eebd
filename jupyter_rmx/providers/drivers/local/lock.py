"""A lock on one machine, between threads and processes, by a file that is removed with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class GaveUpError(Exception):
    """`give_up` said so while the lock was awaited."""


@contextlib.contextmanager
def locked(path: Path, give_up: Callable[[], bool] = lambda: False) -> Iterator[int]:
    """Hold the lock; gives its descriptor. A keeper that inherited it holds it too, until it lets go."""
    fd = _acquire(path, give_up)
    try:
        yield fd
    finally:
        path.unlink(missing_ok=True)  # while held: who waits notices and opens a new one
        os.close(fd)


def _acquire(path: Path, give_up: Callable[[], bool]) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try(fd):
                if give_up():
                    raise GaveUpError
                time.sleep(0.01)
            if _is_same(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its last holder removed the file


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(fd: int, path: Path) -> bool:
    try:
        return os.fstat(fd).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
