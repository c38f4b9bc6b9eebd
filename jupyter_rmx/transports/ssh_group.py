"""Where a command's output begins, and the process group that its signals go to.

The shell writes a mark on both streams before it runs the command; what comes before is noise of its profile, and is
dropped. The mark on standard error carries the shell's process id. SSH has a request for signals (RFC 4254 § 6.9),
and the guest of the embedded machine answers it. OpenSSH does not where the user is root ("session signalling
requires privilege separation" in its log), nor before 7.9; dropbear signals one process only. So on other servers the
signal is sent by `kill` in a session of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from jupyter_rmx.errors import TransportError

KILL_TIMEOUT_S = 5.0
"""How long to wait for the process id, or for `kill`, on a link that is not known to be dead."""
NOISE_MAX = 1024 * 1024
"""Bytes that a profile may write; a server that says more before the mark does not run our command."""
NOISE_KEPT = 4096
STILL_THERE = 75
"""Exit code of the aside command when the group outlived SIGKILL."""


class _Stream:
    """Drops what comes before the mark."""

    def __init__(self) -> None:
        self.started = False
        self.line = b""
        self.noise = b""
        self.count = 0

    def feed(self, data: bytes, mark: bytes) -> bytes:
        if self.started:
            return data
        self.count += len(data)
        data = self.noise + data
        start = data.find(mark)
        while start >= 0:
            end = data.find(b"\n", start)
            line = data[start + len(mark) : end]
            if end < 0:
                break
            if not line or line.isdigit():  # else a server that sends back what it is told
                self.started = True
                self.noise, self.line = data[:start], line
                return data[end + 1 :]
            start = data.find(mark, end)
        # A mark that has begun is among the last bytes: it and its number are shorter than what is kept.
        self.noise = data[-NOISE_KEPT:]
        return b""


class StartMarker:
    """Takes noise and marks out of both streams."""

    def __init__(self, where: str, settled: Callable[[StartMarker], None] = lambda _: None) -> None:
        self.where = where
        self.settled = settled
        """Called once, when both marks have come or when they will not come."""
        self.sent = b""
        """What was sent before the command's own input; a server that echoes it must not bring it into an error."""
        token = secrets.token_hex(8)
        self._mark = f"rmx-start-{token} "
        self._kind = f"rmx-shell-{token} "
        self._streams = {"stdout": _Stream(), "stderr": _Stream()}
        self.pid: int | None = None
        self.known = asyncio.Event()
        """Set once the process id is known, or will never be."""

    def shell_line(self) -> str:
        """What the shell runs first; a trap that the profile has set would speak after the command."""
        return f"trap - 0; printf '{self._mark}\\n'; printf '{self._mark}%s\\n' \"$$\" >&2"

    def shell_kind_line(self, kind: str) -> str:
        """Tells which kind of login shell it is."""
        return f"printf '{self._kind}{kind}\\n' >&2"

    def feed(self, stream: str, data: bytes) -> bytes:
        """The command's own bytes of `data`."""
        own = self._streams[stream]
        data = own.feed(data, self._mark.encode())
        if stream == "stderr" and not self.known.is_set() and own.started:
            self.pid = int(own.line) if own.line.isdigit() else None
            self.known.set()
        return data

    @property
    def started(self) -> bool:
        """Whether both streams have shown their mark."""
        return all(stream.started for stream in self._streams.values())

    @property
    def too_noisy(self) -> bool:
        """Whether so much came before the mark that it will not come."""
        return any(not stream.started and stream.count > NOISE_MAX for stream in self._streams.values())

    @property
    def shell_kind(self) -> str | None:
        """What `shell_kind_line` told."""
        noise = self._streams["stderr"].noise
        start = noise.rfind(self._kind.encode())
        return (
            noise[start + len(self._kind) :].split(b"\n")[0].decode("ascii", "replace")
            if start >= 0
            else None
        )

    def noise_line(self) -> str:
        """The last line that the server said instead of running the command, for an error."""
        for name in ("stderr", "stdout"):
            lines = [line.strip() for line in self._streams[name].noise.split(b"\n")]
            told = [line for line in lines if line and line not in self.sent and not line.startswith(b"rmx-")]
            if told:
                text = told[-1].decode("utf-8", "replace")
                return "".join(char for char in text if char.isprintable())[:200]
        return ""

    def error(self) -> TransportError:
        """The error of a command that the server did not run."""
        line = self.noise_line()
        said = f": it said {line!r}" if line else ", and said nothing"
        return TransportError(
            f"{self.where} did not run the command{said}.",
            hint="Its login shell runs no commands (nologin, or a profile that ends it), or the server forces another"
            " command (ForceCommand). Look with: ssh HOST true",
            code="ssh_no_shell",
            retryable=False,
        )

    def kill_command(self, name: str, *, group_only: bool = False) -> str | None:
        """The command that signals the group; None while the process id is not known. Only sh's plainest words.

        `group_only`: the shell itself has ended, and its number may be another process's by now.
        """
        if self.pid is None:
            return None
        kill = f"kill -{name} -{self.pid} 2>/dev/null"
        kill += "" if group_only else f" || kill -{name} {self.pid} 2>/dev/null"
        return f"{kill}; {self._until_gone()}" if name == "KILL" else kill

    def _until_gone(self) -> str:
        """Look until the group is gone; zombies that nobody collects are gone, too."""
        living = f'ps -A -o pgid= -o stat= 2>/dev/null | grep -q "^ *{self.pid}  *[^ZX ]"'
        tries = " ".join("123456789")
        return (
            f"for i in {tries}; do kill -0 -{self.pid} 2>/dev/null || exit 0;"
            f" sleep 0.1 2>/dev/null || sleep 1; done; {living} && exit {STILL_THERE}; exit 0"
        )
