"""The same questions as in `processes`, answered by psutil: for systems without /proc."""

from __future__ import annotations

import os

import psutil

from jupyter_rmx.providers.drivers.local.processes import Proc

_LETTERS = {psutil.STATUS_STOPPED: "T", psutil.STATUS_DISK_SLEEP: "D", psutil.STATUS_ZOMBIE: "Z"}


def _proc_of(process: psutil.Process) -> Proc | None:
    try:
        with process.oneshot():
            letter = _LETTERS.get(process.status(), "S")
            started = str(int(process.create_time() * 1000))
            if letter == "Z":
                return None
            return Proc(process.pid, process.ppid(), letter, started, os.getpgid(process.pid))
    except (psutil.Error, OSError):
        return None


def look(pid: int) -> Proc | None:
    """The process with that pid; None if there is none, or only a zombie."""
    try:
        return _proc_of(psutil.Process(pid))
    except psutil.Error:
        return None


def snapshot() -> dict[int, Proc]:
    """All processes that we may see, without zombies."""
    found = (_proc_of(process) for process in psutil.process_iter())
    return {proc.pid: proc for proc in found if proc is not None}


def has_marker(pid: int, marker: str) -> bool:
    """True if the environment of the process holds `NAME=value`."""
    name, _, value = marker.partition("=")
    try:
        return psutil.Process(pid).environ().get(name) == value
    except (psutil.Error, OSError):
        return False
