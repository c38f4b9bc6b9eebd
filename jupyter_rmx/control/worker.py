"""Which process works on a row: `<pid>-<start time>`, so that a reused pid is not taken for the old process."""

from __future__ import annotations

import os

import psutil

SAME_START_S = 5.0
"""Two start times this close are one: the kernel's boot time, from which they are reckoned, moves with the clock."""


def this_worker() -> str:
    """The mark of this process."""
    return f"{os.getpid()}-{psutil.Process().create_time():.2f}"


def worker_is_alive(worker: str | None) -> bool:
    """True while the process with that mark runs."""
    if not worker:
        return False
    pid, _, started = worker.partition("-")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < SAME_START_S
    except (psutil.Error, ValueError):
        return False
