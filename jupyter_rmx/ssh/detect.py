"""The SSH session that a local terminal shows: from its processes to a target (vectors `detect_for_tty`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.ssh.argv import SSHCommand, parse_argv
from jupyter_rmx.ssh.options import durable_options, split_option
from jupyter_rmx.ssh.roaming import et_target, mosh_client_target, mosh_target
from jupyter_rmx.ssh.target import target_of

# Options of one session, which say nothing of the machine.
_SESSION_ONLY = frozenset(
    {
        "batchmode",
        "forkafterauthentication",
        "localcommand",
        "permitlocalcommand",
        "remotecommand",
        "requesttty",
        "sendenv",
        "sessiontype",
        "setenv",
        "stdioforward",
    }
)
# -N, -n, -f, -T: no shell or no keys; -s, -O, -Q, -V, -G, -W: not a login at all.
_NO_SHELL_FLAGS = frozenset("NnfTsOQVGW")
_NO_SHELL_OPTIONS = {
    "requesttty": frozenset({"no", "false"}),
    "stdinnull": frozenset({"yes", "true"}),
    "sessiontype": frozenset({"none", "subsystem"}),
}
_SLOT = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


@dataclass(frozen=True)
class TerminalProcess:
    """A process of this computer: its group, the foreground group of its terminal, and the terminal's name."""

    pid: int
    pgid: int
    tpgid: int
    tty: str
    exe: str


@dataclass(frozen=True)
class DetectedSSH:
    """An `ssh` command line as the vectors show it: `options` without those of a control socket or of one session."""

    target: SSHTarget
    control_path: str | None
    options: tuple[str, ...]


def parse_ssh_argv(argv: Sequence[str]) -> DetectedSSH | None:
    """Read the words of an ssh process; None if ssh would not take them."""
    try:
        command = parse_argv(argv)
        target = target_of(command)
    except UsageError:
        return None
    kept = (one for one in command.options if split_option(one)[0] not in _SESSION_ONLY)
    return DetectedSSH(target, command.control_path, durable_options(kept))


def is_interactive_ssh(argv: Sequence[str]) -> bool:
    """Whether these words open a shell for somebody who types: one host, no command, no forwarding in its place."""
    try:
        command = parse_argv(argv)
    except UsageError:
        return False
    return not command.command and not _NO_SHELL_FLAGS & command.flags and not _has_no_shell(command)


def _has_no_shell(command: SSHCommand) -> bool:
    remote = command.option("remotecommand")
    if (remote is not None and remote.lower() != "none") or command.option("stdioforward") is not None:
        return True
    return any((command.option(key) or "").lower() in values for key, values in _NO_SHELL_OPTIONS.items())


def detect_for_tty(
    tty: str, processes: Iterable[TerminalProcess], argv_by_pid: Mapping[int, Sequence[str]]
) -> SSHTarget | None:
    """The target of the SSH session in the foreground of `tty`; None if there is none.

    Of several processes in the foreground group the youngest (highest pid) that can be read counts. A launcher of
    mosh comes last, since its client says where it really went.
    """
    foreground = [
        process
        for process in processes
        if _name(process.tty) == _name(tty) and process.pgid == process.tpgid and process.pgid > 0
    ]
    foreground.sort(key=lambda process: (_program(process.exe) == "mosh", -process.pid))
    for process in foreground:
        target = _target(_program(process.exe), argv_by_pid.get(process.pid, ()))
        if target is not None:
            return target
    return None


def _target(program: str, argv: Sequence[str]) -> SSHTarget | None:
    if not argv:
        return None
    try:
        if program == "ssh":
            return target_of(parse_argv(argv)) if is_interactive_ssh(argv) else None
        reader = {"et": et_target, "mosh": mosh_target, "mosh-client": mosh_client_target}.get(program)
        return reader(argv) if reader is not None else None
    except UsageError:
        return None


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _program(exe: str) -> str:
    return _name(exe).lower().removesuffix(".exe")


def normalize_session_slot(slot: str | None) -> str | None:
    """The name of a session that outlives its connection: 1 to 128 of letters, digits and `._-`; None for another."""
    slot = (slot or "").strip()
    return slot if _SLOT.fullmatch(slot) and slot not in {".", ".."} else None
