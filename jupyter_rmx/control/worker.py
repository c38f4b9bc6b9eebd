"""Which process works on a row: `<pid>-<start time>`, so that a reused pid is not taken for the old process."""

from __future__ import annotations

import os

import psutil

SAME_START_S = 5.0
"""Two start times this close are one: the kernel's boot time, from which they are reckoned, moves with the clock."""


def worker_mark(pid: int) -> str:
    """The mark of a process; one that never matches if there is none."""
    try:
        return f"{pid}-{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return f"{pid}-0.00"


def this_worker() -> str:
    """The mark of this process."""
    return worker_mark(os.getpid())


def worker_is_alive(worker: str | None) -> bool:
    """True while the process with that mark runs."""
    if not worker:
        return False
    pid, _, started = worker.partition("-")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < SAME_START_S
    except (psutil.Error, ValueError):
        return False
