"""What to run on a machine, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from jupyter_rmx.errors import UsageError

# Linux's numbers (signal(7)); a shell's exit code is 128 and one of them where a signal ended its child.
_SIGNALS = {1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL"} | {
    11: "SEGV",
    13: "PIPE",
    15: "TERM",
}

SignalName = Literal["INT", "TERM", "KILL", "HUP", "QUIT", "USR1", "USR2"]
StreamName = Literal["stdout", "stderr"]


TIMEOUT_MAX_S = 30 * 86400.0


def check_timeout(value: object) -> float | None:
    """Seconds as a number above 0, from a number or a text; None stays None. UsageError `usage_bad_timeout`."""
    if value is None:
        return None
    try:
        seconds = (
            float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
        )
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= TIMEOUT_MAX_S:  # also false for NaN
        raise UsageError(
            f"{str(value)[:20]!r} is no time-out.",
            hint="Give seconds above 0, at most 30 days, as in: --timeout 60",
            code="usage_bad_timeout",
            details={"field": "timeout_s"},
        )
    return seconds


@dataclass(frozen=True)
class ExecSpec:
    """One command for the machine's shell.

    `command` goes to the login user's shell unchanged. `env` is added to the machine's own environment. `cwd` is
    absolute or relative to the home directory there. With `stdin_open` the caller will send input; otherwise the
    command reads an empty standard input. With `timeout_s` its whole group is ended after that many seconds.
    """

    command: str
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    stdin_open: bool = False
    timeout_s: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "command": self.command,
            "env": dict(self.env),
            "cwd": self.cwd,
            "stdin_open": self.stdin_open,
            "timeout_s": self.timeout_s,
        }


@dataclass(frozen=True)
class PtySpec:
    """A shell, or `command`, on a pseudo-terminal of `cols` by `rows` characters.

    Of `env` an SSH server takes what it allows (OpenSSH: `AcceptEnv`).
    """

    command: str | None = None
    term: str = "xterm-256color"
    cols: int = 80
    rows: int = 24
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TcpTarget:
    """A TCP port as seen from the machine itself."""

    port: int
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class Output:
    """Bytes that the command wrote, in the order in which they arrived."""

    stream: StreamName
    data: bytes


@dataclass(frozen=True)
class Exit:
    """How a command ended: `code`, or the name of the `signal` that ended it (without SIG)."""

    code: int | None = None
    signal: str | None = None

    @property
    def ok(self) -> bool:
        """True for exit code 0."""
        return self.code == 0

    def __str__(self) -> str:
        """In words, as `exit code 3`, `signal KILL`, or `exit code 137 (SIGKILL)` where a shell told it for a child."""
        if self.signal:
            return f"signal {self.signal}"
        name = _SIGNALS.get((self.code or 0) - 128)
        return f"exit code {self.code}" + (f" (SIG{name})" if name else "")


@dataclass(frozen=True)
class CommandResult:
    """A command that ended, with all that it wrote (bytes that are no UTF-8 become U+FFFD).

    `truncated`: the output was longer than the caller allowed, and only its beginning is here.
    """

    exit_code: int
    stdout: str
    stderr: str
    truncated: bool = False

    def to_wire(self) -> dict[str, Any]:
        """JSON form; `truncated` only where it is so."""
        wire = {"exit_code": self.exit_code, "stdout": self.stdout, "stderr": self.stderr}
        return wire | ({"truncated": True} if self.truncated else {})


ExecEvent = Output | Exit
