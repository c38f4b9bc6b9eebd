"""How to freeze, thaw and end all processes of a machine."""

from __future__ import annotations

import os
import signal
import time

from jupyter_rmx.providers.drivers.local.processes import GONE, Machine, Proc, family, init_of, look, members

_CLEAN_PASSES = 10
FAIL_SAFE_S = 20.0
"""Seconds after which a machine that neither freezes nor ends is an error."""


class StuckError(Exception):
    """Processes of a machine did not do what the kernel was asked for; `pids` says which."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(f"processes {pids[:10]}")
        self.pids = pids


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
    """Stop every process of the machine; the first one last, so that it is stopped only if all seem to be.

    Groups are signalled as well as processes: a chain in which each process starts its successor and ends outruns any
    list of pids, but the kernel signals a group as a whole, forks included. One glimpse of a chain is enough, and the
    second round has it for certain: with the first process stopped nothing is reaped any more, so each process that
    ends stays to be seen, and names its group.
    """
    deadline = time.monotonic() + FAIL_SAFE_S
    _stop_others(machine, deadline)
    first = init_of(machine)
    if first is not None:
        _send(first, signal.SIGSTOP)
        _await_state(machine, "Tt", deadline)
        _stop_others(machine, deadline)


def _stop_others(machine: Machine, deadline: float) -> None:
    """Stop all but the first process; pass after pass, until several in a row find nothing that moves or has ended.

    A process in `D` (as a parent in vfork) stops when it next comes to run.
    """
    clean = 0
    ended: set[tuple[int, str]] = set()
    while clean < _CLEAN_PASSES:
        others = [proc for proc in family(machine) if proc.pid != machine.pid]
        moving = [proc for proc in others if proc.state not in "TtD" + GONE]
        now_ended = {(proc.pid, proc.started) for proc in others if proc.state in GONE}
        clean = 0 if moving or now_ended - ended else clean + 1
        ended = now_ended
        for group in _own_groups(machine, others):
            _send_group(group, signal.SIGSTOP)
        for proc in others:
            if proc.state not in "Tt" + GONE:
                _send(proc, signal.SIGSTOP)
        if time.monotonic() > deadline:
            raise StuckError([proc.pid for proc in moving])


def _own_groups(machine: Machine, procs: list[Proc]) -> set[int]:
    """The process groups of a machine that are its alone.

    What the guest starts gets a session, so no group of these reaches outside; only the first process may stand in the
    group of the keeper that launched it. They are of this pass only: the number of a group is not given again while
    one of it is left, and a zombie is enough for that. Numbers up to 1 are none: 0 and -1 are what the kernel shows of
    a process on its last steps, and as a target 1 means everybody (kill(2)).
    """
    first = init_of(machine)
    shared = {os.getpgrp(), first.group if first else 0}
    return {proc.group for proc in procs if proc.group > 1} - shared


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
