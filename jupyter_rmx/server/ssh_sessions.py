"""`ssh-sessions`: what JupyterLab's own terminals show of other machines, so that these can be offered; no more is done.

A terminal counts if `ssh` (or `mosh`, `et`) stands in the foreground of it and shows somebody a shell. What is read are
the processes of this user's own terminals (tcgetpgrp(3), and psutil for the words of a process).
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.models import SSHTarget
from jupyter_rmx.server.requests import VMRequestHandler
from jupyter_rmx.ssh.detect import TerminalProcess, detect_for_tty
from jupyter_rmx.ssh.key import transport_key


@dataclass(frozen=True)
class LocalTerminal:
    """A terminal of this Jupyter: its name, its first process, and our side of it."""

    name: str
    pid: int
    fd: int


def session_in(terminal: LocalTerminal) -> SSHTarget | None:
    """The target of the SSH session in the foreground of a terminal; None if there is none, or no telling."""
    import psutil

    found: list[TerminalProcess] = []
    argv: dict[int, list[str]] = {}
    try:
        foreground = os.tcgetpgrp(terminal.fd)
        shell = psutil.Process(terminal.pid)
        tty = shell.terminal() or ""
        processes = [shell, *shell.children(recursive=True)]
    except (psutil.Error, OSError):  # it ends at this moment
        return None
    for process in processes:
        try:
            one = TerminalProcess(
                process.pid, os.getpgid(process.pid), foreground, process.terminal() or "", process.name()
            )
            words = process.cmdline()
        except (psutil.Error, OSError):
            continue
        found.append(one)
        argv[one.pid] = words
    return detect_for_tty(tty, found, argv)


def as_line(target: SSHTarget) -> str:
    """The command line that means this target, as a person would paste it."""
    return shlex.join(["ssh", *target.argv()])


class SSHSessionsHandler(VMRequestHandler):
    """`ssh-sessions`."""

    auth_resource = "terminals"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the SSH sessions in the foreground of Jupyter's own terminals."""
        terminals = _terminals(self.settings.get("terminal_manager"))
        found = [(one.name, await asyncio.to_thread(session_in, one)) for one in terminals]
        sessions = [(name, target) for name, target in found if target is not None]
        names = await self._names() if sessions else {}
        self.answer({"sessions": [_to_wire(name, target, names) for name, target in sessions]})

    async def _names(self) -> dict[str, str]:
        """The names of the workspaces that are there, by their transport key."""
        return {_key(one.target): one.name for one in await self.rmx.workspaces()}


def _terminals(manager: Any) -> list[LocalTerminal]:
    """Those of jupyter_server_terminals; none where they are switched off, or have no file (Windows)."""
    running: Mapping[str, Any] = getattr(manager, "terminals", {})
    found = []
    for name, terminal in list(running.items()):
        pid, fd = getattr(terminal.ptyproc, "pid", None), getattr(terminal.ptyproc, "fd", None)
        if isinstance(pid, int) and isinstance(fd, int) and fd >= 0:
            found.append(LocalTerminal(str(name), pid, fd))
    return found


def _key(target: SSHTarget) -> str:
    return transport_key(target, home=os.path.expanduser("~"))  # noqa: PTH111 - the word of ssh.key


def _to_wire(terminal: str, target: SSHTarget, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "terminal": terminal,
        "destination": target.destination,
        "line": as_line(target),
        "machine": names.get(_key(target)),
    }
