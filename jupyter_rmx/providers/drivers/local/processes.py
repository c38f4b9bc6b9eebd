"""Which processes a machine has. Standard library only on Linux.

A process is known by pid, start time (and boot), so that a pid that was used again is never signalled. A machine's
processes are those in its PID namespace, those that carry its marker in their environment (plain machines), and every
descendant of these: a namespace made inside a machine still belongs to it.
"""

# ruff: noqa: PTH116, PTH123, PTH208 - pathlib would double the keeper's time to start and memory

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

LINUX = sys.platform.startswith("linux")
GONE = "ZX"
"""States of a process that has ended and that nobody has asked about yet (proc(5))."""


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
    found = _look_at_any(pid)
    return None if found is None or found.state in GONE else found


def _look_at_any(pid: int) -> Proc | None:
    """The process with that pid, zombies too where the system shows them."""
    if LINUX:
        return _read_stat(pid)
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


def _last_pid() -> int:
    """The pid that was given last (proc(5), loadavg); 0 where that cannot be told."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[4])
    except (OSError, IndexError, ValueError):
        return 0


def newest_first(pids: Iterable[int], last: int) -> list[int]:
    """Pids by age: they are given upwards, and from the bottom again once the highest is reached."""
    return sorted(pids, key=lambda pid: (pid <= last, pid), reverse=True)


def _pids() -> list[int]:
    """All pids, the newest first: a process that lives for a millisecond is looked at before it is gone."""
    if LINUX:
        return newest_first((int(name) for name in os.listdir("/proc") if name.isdigit()), _last_pid())
    return sorted(snapshot(), reverse=True)


def members(machine: Machine) -> list[Proc]:
    """All processes of the machine, its first one last."""
    return [proc for proc in family(machine) if proc.state not in GONE]


def family(machine: Machine) -> list[Proc]:
    """The processes of the machine, its first one last, and those of it that have ended but were not reaped yet.

    Where it has a PID namespace, the kernel ends all of them with the first one, and then gives the namespace's number
    to the next: without that first process the number says nothing.
    """
    everything: dict[int, Proc] = {}
    mine: set[int] = set()
    for pid in _pids():
        belongs = _belongs(machine, pid)  # asked first: it may end before the second question
        proc = _look_at_any(pid)
        if proc is not None:
            everything[pid] = proc
            if belongs:
                mine.add(pid)
    if init_of(machine) is not None:
        mine.add(machine.pid)
    elif machine.namespace is not None:  # asked last: while it lived, the number was its own
        return []
    _add_descendants(mine, everything)
    mine.discard(os.getpid())
    found = [everything[pid] for pid in mine if pid in everything]
    return sorted(found, key=lambda proc: (proc.pid == machine.pid, proc.pid))


def _add_descendants(mine: set[int], everything: dict[int, Proc]) -> None:
    children: dict[int, list[int]] = {}
    for proc in everything.values():
        children.setdefault(proc.parent, []).append(proc.pid)
    queue = list(mine)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in mine:
                mine.add(child)
                queue.append(child)
