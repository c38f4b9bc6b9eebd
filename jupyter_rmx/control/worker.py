"""Which process works on an operation, and whether it still lives.

On this computer a process is known by `<pid>-<start time>` (a reused pid is not taken for the old process), and a dead
one is known at once. Of a process on another computer only its beat is seen: it is dead when the beat has not grown for
`SILENT_S` on *our* monotonic clock. No wall clock is compared, so none can be wrong.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

from jupyter_rmx.clock import Clock
from jupyter_rmx.models import new_id
from jupyter_rmx.store.operations import WorkerRecord

SAME_START_S = 5.0
"""Two start times this close are one: the kernel's boot time, from which they are reckoned, moves with the clock."""
BEAT_S = 5.0
SILENT_S = 30.0


def process_mark(pid: int) -> str:
    """The mark of a process; one that never matches if there is none."""
    try:
        return f"{pid}-{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return f"{pid}-0.00"


def process_is_alive(mark: str | None) -> bool:
    """True while the process with that mark runs."""
    if not mark:
        return False
    pid, _, started = mark.partition("-")
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) < SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def this_host() -> str:
    """The computer since its last start, and this container: what is not alive here is dead."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - a link to nowhere
    except OSError:
        boot, namespace = "", ""
    return f"{socket.gethostname()[:200]} {boot} {namespace}"


def new_worker() -> WorkerRecord:
    """A record for this process."""
    return WorkerRecord(new_id("worker"), this_host(), process_mark(os.getpid()))


class Watch:
    """Tells which workers are dead, from what it has seen of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._host = this_host()
        self._seen: dict[str, tuple[int, float]] = {}

    def is_dead(self, worker: WorkerRecord) -> bool:
        """True if nothing can still come from it."""
        if worker.host == self._host:
            return not process_is_alive(worker.process)
        now = self._clock.monotonic()
        beat, since = self._seen.get(worker.id, (None, now))
        if beat != worker.beat:
            self._seen[worker.id] = (worker.beat, now)
            return False
        return now - since > SILENT_S
