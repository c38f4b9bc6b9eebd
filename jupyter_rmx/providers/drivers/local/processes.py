"""Which processes a machine has, and how to freeze, thaw and end all of them. Standard library only on Linux.

A process is known by pid, start time (and boot), so that a pid that was used again is never signalled. A machine's
processes are those in its PID namespace, those that carry its marker in their environment (plain machines), and every
descendant of these: a namespace made inside a machine still belongs to it.
"""

# ruff: noqa: PTH116, PTH123, PTH208 - pathlib would double the keeper's time to start and memory

from __future__ import annotations

import os
import signal
import sys
import time
from typing import NamedTuple

LINUX = sys.platform.startswith("linux")
_CLEAN_PASSES = 10
FAIL_SAFE_S = 20.0
"""Seconds after which a machine that neither freezes nor ends is an error."""


class Proc(NamedTuple):
    """One process as the kernel shows it: `state` is the letter of /proc, `started` tells pids apart that are reused."""

    pid: int
    parent: int
    state: str
    started: str
    group: int


class Machine(NamedTuple):
    """How to find a machine's processes: its first one, and its PID namespace or else its marker `NAME=value`."""

    pid: int
    started: str
    namespace: int | None
    marker: str


class StuckError(Exception):
    """Processes of a machine did not do what the kernel was asked for; `pids` says which."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(f"processes {pids[:10]}")
        self.pids = pids


def boot_id() -> str:
    """A text that differs after each boot; empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return ""


_BOOT = boot_id()


def _read_stat(pid: int) -> Proc | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return None
    # The command name may hold blanks and brackets: the fields start behind the last bracket (proc(5)).
    fields = data[data.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return Proc(pid, int(fields[1]), fields[0].decode(), f"{_BOOT}:{fields[19].decode()}", int(fields[2]))


def look(pid: int) -> Proc | None:
    """The process with that pid; None if there is none, or only a zombie."""
    if LINUX:
        found = _read_stat(pid)
        return None if found is None or found.state in "ZX" else found
    from jupyter_rmx.providers.drivers.local import processes_psutil

    return processes_psutil.look(pid)


def snapshot() -> dict[int, Proc]:
    """All processes of this computer that we may see, without zombies."""
    if LINUX:
        found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
        return {proc.pid: proc for proc in found if proc is not None}
    from jupyter_rmx.providers.drivers.local import processes_psutil

    return processes_psutil.snapshot()


def namespace_of(pid: int) -> int | None:
    """Inode of the PID namespace of a process; None where that cannot be told."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def _belongs(machine: Machine, pid: int) -> bool:
    if machine.namespace is not None:
        return namespace_of(pid) == machine.namespace
    return _has_marker(pid, machine.marker)


def _has_marker(pid: int, marker: str) -> bool:
    if not LINUX:
        from jupyter_rmx.providers.drivers.local import processes_psutil

        return processes_psutil.has_marker(pid, marker)
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marker.encode() in file.read().split(b"\0")
    except OSError:
        return False


def init_of(machine: Machine) -> Proc | None:
    """The machine's first process, if it is still that very one: pid, start time and namespace agree."""
    found = look(machine.pid)
    if found is None or found.started != machine.started:
        return None
    if machine.namespace is not None and namespace_of(machine.pid) != machine.namespace:
        return None
    return found


def _pids() -> list[int]:
    """All pids, the newest first: a process that lives for a millisecond is looked at before it is gone."""
    if LINUX:
        return sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)
    return sorted(snapshot(), reverse=True)


def members(machine: Machine) -> list[Proc]:
    """All processes of the machine, its first one last.

    Where it has a PID namespace, the kernel ends all of them with the first one, and then gives the namespace's number
    to the next: without that first process the number says nothing.
    """
    everything: dict[int, Proc] = {}
    mine: set[int] = set()
    for pid in _pids():
        belongs = _belongs(machine, pid)  # asked first: it may end before the second question
        proc = look(pid)
        if proc is not None:
            everything[pid] = proc
            if belongs:
                mine.add(pid)
    if init_of(machine) is not None:
        mine.add(machine.pid)
    elif machine.namespace is not None:  # asked last: while it lived, the number was its own
        return []
    children: dict[int, list[int]] = {}
    for proc in everything.values():
        children.setdefault(proc.parent, []).append(proc.pid)
    queue = list(mine)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in mine:
                mine.add(child)
                queue.append(child)
    mine.discard(os.getpid())
    found = [everything[pid] for pid in mine if pid in everything]
    return sorted(found, key=lambda proc: (proc.pid == machine.pid, proc.pid))


def _send(proc: Proc, number: int) -> bool:
    """Signal exactly this process; False if it is gone. The look just before keeps a reused pid safe."""
    current = look(proc.pid)
    if current is None or current.started != proc.started:
        return False
    try:
        os.kill(proc.pid, number)
    except ProcessLookupError:
        return False
    return True


def freeze(machine: Machine) -> None:
    """Stop every process of the machine; the first one last, so that it is stopped only if all are.

    Passes go on until several in a row find nothing that moves. A process in `D` (as a parent in vfork) stops when it
    next comes to run. Groups are signalled as well as processes: a chain in which each process starts its successor
    and ends would outrun any list of pids, but the kernel signals a group as a whole, forks included.
    """
    deadline = time.monotonic() + FAIL_SAFE_S
    clean = 0
    groups: set[int] = set()
    while clean < _CLEAN_PASSES:
        others = [proc for proc in members(machine) if proc.pid != machine.pid]
        moving = [proc for proc in others if proc.state not in "TtD"]
        clean = 0 if moving else clean + 1
        groups |= _own_groups(machine, others)
        for group in groups:
            _send_group(group, signal.SIGSTOP)
        for proc in others:
            if proc.state not in "Tt":
                _send(proc, signal.SIGSTOP)
        if time.monotonic() > deadline:
            raise StuckError([proc.pid for proc in moving])
    first = init_of(machine)
    if first is not None:
        _send(first, signal.SIGSTOP)
        _await_state(machine, "Tt", deadline)


def _own_groups(machine: Machine, procs: list[Proc]) -> set[int]:
    """The process groups of a machine that are its alone.

    What the guest starts gets a session, so no group of these reaches outside; only the first process may stand in the
    group of the keeper that launched it.
    """
    first = init_of(machine)
    shared = {0, 1, os.getpgrp(), first.group if first else 0}
    return {proc.group for proc in procs} - shared


def _send_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended


def thaw(machine: Machine) -> None:
    """Let every process of the machine go on; the first one last."""
    deadline = time.monotonic() + FAIL_SAFE_S
    for proc in members(machine):
        _send(proc, signal.SIGCONT)
    while True:
        first = init_of(machine)
        if first is None or first.state not in "Tt":
            return
        if time.monotonic() > deadline:
            raise StuckError([machine.pid])
        time.sleep(0.001)


def _await_state(machine: Machine, states: str, deadline: float) -> None:
    while True:
        first = init_of(machine)
        if first is None or first.state in states:
            return
        if time.monotonic() > deadline:
            raise StuckError([machine.pid])
        time.sleep(0.001)


def end(machine: Machine) -> None:
    """Kill the machine and wait until none of its processes is left.

    With a PID namespace the kernel ends all of it with the first process. Without one, all are frozen first: what is
    stopped cannot run away by forking.
    """
    deadline = time.monotonic() + FAIL_SAFE_S
    if machine.namespace is None:
        freeze(machine)
    while True:
        first = init_of(machine)
        if machine.namespace is not None and first is not None:
            _send(first, signal.SIGKILL)
        left = members(machine)
        if not left:
            return
        if machine.namespace is None or first is None:
            for proc in left:
                _send(proc, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise StuckError([proc.pid for proc in left])
        time.sleep(0.002)


def await_end(pid: int, started: str) -> None:
    """Wait for one process to end by itself; kill it if it does not."""
    deadline = time.monotonic() + FAIL_SAFE_S / 2
    while True:
        proc = look(pid)
        if proc is None or proc.started != started:
            return
        if time.monotonic() > deadline:
            _send(proc, signal.SIGKILL)
            return
        time.sleep(0.002)
