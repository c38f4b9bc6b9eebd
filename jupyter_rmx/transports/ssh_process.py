"""Process, Pty and ByteStream of the transport contract, each over one ChannelSession."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import ExecEvent, Exit, SignalName
from jupyter_rmx.transports.ssh_group import KILL_TIMEOUT_S, STILL_THERE
from jupyter_rmx.transports.ssh_session import LARGEST_OUTPUT, ChannelSession
from jupyter_rmx.transports.ssh_shell import aside_text

START_PATIENCE_S = 2.0
"""How long a signal waits for a command that has not begun, while the login shell reads its profile."""
END_PATIENCE_S = 2.0


class SSHProcess:
    """A command on the machine (transports.base.Process)."""

    def __init__(
        self,
        session: ChannelSession,
        link_error: Callable[[], TransportError | None],
        run_aside: Callable[[str], Awaitable[Exit]],
    ) -> None:
        self._session = session
        self._link_error = link_error
        self._run_aside = run_aside

    def _raise_if_lost(self) -> None:
        error = self._session.error or (None if self._session.ended else self._link_error())
        if error is not None:
            raise error

    async def events(self) -> AsyncIterator[ExecEvent]:
        """Output in order of arrival, then one Exit; TransportError `ssh_connection_lost` if the link breaks first.

        TransportError `ssh_no_shell` if the server did not run the command.
        """
        while True:
            output = await self._session.take(LARGEST_OUTPUT, until_closed=True)
            if output is None:
                break
            yield output
        yield await self._session.wait_exit()

    async def signal(self, name: SignalName) -> None:
        """Signal the process group there; nothing happens once the command has ended and closed its output.

        KILL returns when the group is gone; TransportError `ssh_still_runs` if it stays, `ssh_signal_refused` if the
        server lets no signal through.
        """
        self._raise_if_lost()
        if not self._session.ended:
            await self._send_signal(name)
            self._raise_if_lost()

    def _has_ended(self) -> bool:
        return self._session.ended or self._session.exit is not None

    async def _send_signal(self, name: str) -> None:
        """By `kill` where the process id is told, else by SSH's own request (see ssh_group)."""
        marker = self._session.marker
        self._session.interrupted = True
        if marker is None:
            self._session.channel.send_signal(name)
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(marker.known.wait(), START_PATIENCE_S)
        if self._session.ended:
            return
        command = marker.kill_command(name, group_only=self._session.exit is not None)
        if command is None:
            self._session.channel.send_signal(name)
            self._session.take_back(Exit(signal=name))
            return
        try:
            end = await self._run_aside(aside_text(command))
        except TransportError as error:
            if error.code != "ssh_session_refused":
                raise
            await self._signal_on_channel(name)
        else:
            if end.code == STILL_THERE:
                raise _still_runs(marker.where)

    async def _signal_on_channel(self, name: str) -> None:
        """The server takes no second session: its own request is what is left, and it may ignore that."""
        self._session.channel.send_signal(name)
        if name != "KILL":
            return
        with contextlib.suppress(asyncio.TimeoutError, TransportError):
            await asyncio.wait_for(self._session.wait_exit(), END_PATIENCE_S)
        if not self._has_ended():
            self._session.abort()
            raise _signal_refused()

    async def write(self, data: bytes) -> None:
        """Send to standard input; waits while the command does not read; dropped once the command has ended."""
        self._raise_if_lost()
        try:
            await self._session.write(data)
        except OSError:  # the channel is closing: the command ended, or we have closed its input
            self._raise_if_lost()

    async def write_eof(self) -> None:
        """Close standard input."""
        self._raise_if_lost()
        self._session.channel.write_eof()

    async def aclose(self) -> None:
        """Let go at once; a command that still runs gets SIGHUP (its group)."""
        try:
            if not self._has_ended() and self._link_error() is None:
                await asyncio.wait_for(self._send_signal("HUP"), KILL_TIMEOUT_S)
        except (TransportError, asyncio.TimeoutError):
            pass  # the link is dead, or takes no session: closing the channel is all that is left
        finally:
            self._session.abort()


def _still_runs(where: str) -> TransportError:
    return TransportError(
        f"The command on {where} did not end after SIGKILL.",
        hint="It waits for its disk or device, or belongs to another user; look there with: ps -ef",
        code="ssh_still_runs",
    )


def _signal_refused() -> TransportError:
    return TransportError(
        "The server takes no second session and no signal; the command was let go and may still run.",
        hint="Raise MaxSessions in the server's sshd_config; to look: %vm exec NAME -- ps -ef",
        code="ssh_signal_refused",
    )


class SSHPty:
    """A pseudo-terminal on the machine (transports.base.Pty)."""

    def __init__(self, session: ChannelSession) -> None:
        self._session = session

    async def read(self, limit: int = 65536) -> bytes:
        """What the terminal shows next; empty when it ended."""
        output = await self._session.take(limit, until_closed=True)
        return output.data if output is not None else b""

    async def write(self, data: bytes) -> None:
        """Keys typed; dropped once the terminal has ended."""
        if self._session.error is not None:
            raise self._session.error
        try:
            await self._session.write(data)
        except OSError:  # it ended between the read and the key
            return

    async def resize(self, cols: int, rows: int) -> None:
        """Tell the terminal its size in characters."""
        if not self._session.ended:
            self._session.channel.change_terminal_size(cols, rows)

    async def wait(self) -> Exit:
        """How the shell ended."""
        return await self._session.wait_exit()

    async def aclose(self) -> None:
        """Hang up: the machine's kernel sends SIGHUP to what runs there."""
        self._session.abort()


class SSHByteStream:
    """A TCP connection that the machine made (transports.base.ByteStream)."""

    def __init__(self, session: ChannelSession, lost: Callable[[Exception | None], TransportError]) -> None:
        self._session = session
        self._lost = lost

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes; empty at the end."""
        output = await self._session.take(limit, until_closed=False)
        return output.data if output is not None else b""

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer does not read; TransportError `ssh_port_closed` if it went away."""
        if self._session.error is not None:
            raise self._session.error
        try:
            await self._session.write(data)
        except OSError as error:
            raise TransportError(
                "The program on the machine closed the connection.",
                hint="Try again; see the program's own log if it goes on.",
                code="ssh_port_closed",
            ) from error
        if self._session.error is not None:
            raise self._session.error

    async def write_eof(self) -> None:
        """Half-close: no more will be written."""
        if not self._session.ended:
            self._session.channel.write_eof()

    async def aclose(self) -> None:
        """Close both ways, at once."""
        self._session.abort()
