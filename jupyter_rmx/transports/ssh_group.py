"""The process group of a command on the machine: how we learn it, and how a signal reaches it.

SSH has a request for it (RFC 4254 § 6.9), and the guest of the embedded machine answers it. OpenSSH does not where
the user is root ("session signalling requires privilege separation" in its log), nor before 7.9. So on other servers
the shell tells its process id first, on a line of standard error that is taken out again, and the signal is sent by
`kill` in a session of its own.
"""

from __future__ import annotations

import asyncio
import secrets

KILL_TIMEOUT_S = 5.0
"""How long to wait for the process id, or for `kill`, on a link that is not known to be dead."""


class GroupMarker:
    """Takes the line with the process id out of standard error."""

    def __init__(self) -> None:
        self._mark = f"rmx-group-{secrets.token_hex(8)} ".encode()
        self._held = b""
        self.pid: int | None = None
        self.known = asyncio.Event()

    def shell_line(self) -> str:
        """What the shell runs first."""
        return f"printf '{self._mark.decode()}%s\\n' \"$$\" >&2"

    def feed(self, data: bytes) -> bytes:
        """`data` of standard error, without our line; a tail that may become our line is held back."""
        if self.known.is_set():
            return data
        data, self._held = self._held + data, b""
        start = data.find(self._mark)
        if start < 0:
            keep = self._possible_tail(data)
            self._held = data[len(data) - keep :]
            return data[: len(data) - keep]
        end = data.find(b"\n", start)
        if end < 0:
            self._held = data[start:]
            return data[:start]
        digits = data[start + len(self._mark) : end]
        self.pid = int(digits) if digits.isdigit() else None
        self.known.set()
        return data[:start] + data[end + 1 :]

    def _possible_tail(self, data: bytes) -> int:
        """Length of the longest end of `data` with which our line may begin."""
        for length in range(min(len(self._mark), len(data)), 0, -1):
            if self._mark.startswith(data[-length:]):
                return length
        return 0

    def rest(self) -> bytes:
        """What is held back, when nothing more comes."""
        held, self._held = self._held, b""
        return held

    def kill_command(self, name: str) -> str | None:
        """The command that signals the group; None while the process id is not known."""
        if self.pid is None:
            return None
        return f"kill -s {name} -- -{self.pid} 2>/dev/null || kill -s {name} {self.pid}"
