"""A channel that turns out to be a command, a shell or SFTP: each goes to the session made for it."""

from __future__ import annotations

from typing import Any

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from jupyter_rmx.providers.drivers.local.guest.session import Session

_SFTP_VERSION = 3  # what OpenSSH speaks


def _sftp_server(chan: Any) -> asyncssh.SFTPServer:
    return asyncssh.SFTPServer(chan)


class Router(asyncssh.SSHServerSession[bytes]):
    """Passes every callback on. A server that sets `sftp_factory` cannot have sessions of its own class (asyncssh 2.24)."""

    def __init__(self) -> None:
        self._inner: asyncssh.SSHServerSession[bytes] = Session()
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        self._chan = chan
        self._inner.connection_made(chan)

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP, and nothing else."""
        if subsystem != "sftp" or self._chan is None:
            return False
        self._inner = SSHServerStreamSession(None, _sftp_server, _SFTP_VERSION)
        self._inner.connection_made(self._chan)
        return True

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        """A terminal."""
        return self._inner.pty_requested(term_type, term_size, term_modes)

    def shell_requested(self) -> bool:
        """A shell."""
        return self._inner.shell_requested()

    def exec_requested(self, command: str) -> bool:
        """A command."""
        return self._inner.exec_requested(command)

    def session_started(self) -> None:
        """Go."""
        self._inner.session_started()

    def data_received(self, data: bytes, datatype: Any) -> None:
        """Input."""
        self._inner.data_received(data, datatype)

    def eof_received(self) -> bool:
        """End of input."""
        return bool(self._inner.eof_received())

    def signal_received(self, signal: str) -> None:
        """A signal."""
        self._inner.signal_received(signal)

    def break_received(self, msec: int) -> bool:
        """A break."""
        return self._inner.break_received(msec)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The window changed."""
        self._inner.terminal_size_changed(width, height, pixwidth, pixheight)

    def pause_writing(self) -> None:
        """The client is slow."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has room."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone."""
        self._inner.connection_lost(exc)
