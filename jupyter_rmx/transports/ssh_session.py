"""What an SSH channel tells us, kept in order and within bounds: the base of Process, Pty and ByteStream over SSH.

asyncssh calls the methods of `ChannelSession`; it needs no base class, so this file does not import asyncssh.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import Exit, Output
from jupyter_rmx.models.execution import StreamName
from jupyter_rmx.transports.ssh_group import StartMarker

HIGH_WATER = 512 * 1024
"""Bytes kept here before the channel is told to stop; its window (ssh.WINDOW) fills next, then the command blocks."""
LOW_WATER = 128 * 1024
LARGEST_OUTPUT = 256 * 1024
"""Neighbouring packets of one stream are joined up to this many bytes."""

START_TIMEOUT_S = 120.0
"""How long a login shell may take to read its profile before the command begins."""

_STDERR = 1  # RFC 4254 § 5.2, SSH_EXTENDED_DATA_STDERR
_log = logging.getLogger(__name__)
_Callback = TypeVar("_Callback", bound=Callable[..., Any])


def _guarded(callback: _Callback) -> _Callback:
    """An exception that leaves a session callback would drop the whole connection: end this session instead."""

    def call(self: ChannelSession, *args: Any) -> Any:
        try:
            return callback(self, *args)
        except Exception as error:  # noqa: BLE001 - whatever it is, only this session may end by it
            _log.warning("A callback of an SSH session failed: %r", error)
            self.fail(error)
            return None

    return call  # type: ignore[return-value] # same parameters and result, by construction


class ChannelSession:
    """Output of one channel: a bounded queue between asyncssh's callbacks and one reader."""

    def __init__(
        self, lost: Callable[[Exception | None], TransportError], marker: StartMarker | None = None
    ) -> None:
        self.channel: Any = None  # asyncssh's SSHChannel; this file does not import its type
        self.marker = marker
        self.exit: Exit | None = None
        self.ended = False
        self.interrupted = False
        """A signal was sent: an end before the command began is no fault of the server."""
        self._lost = lost
        self.freed: Callable[[], None] | None = None
        """Called when the server has ended it."""
        self._start_timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._queue: deque[tuple[StreamName, bytes]] = deque()
        self._buffered = 0
        self._paused = False
        self._eof = False
        self._arrived = asyncio.Event()
        self._done = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # What asyncssh calls.

    @_guarded
    def connection_made(self, channel: Any) -> None:
        """The channel is there."""
        self.channel = channel

    @_guarded
    def session_started(self) -> None:
        """The server took the request; the login shell reads its profile now."""
        if self.marker is not None:
            loop = asyncio.get_running_loop()
            self._start_timer = loop.call_later(START_TIMEOUT_S, self._not_started)

    def _not_started(self) -> None:
        if self.marker is not None and not self.marker.started:
            self.fail(self.marker.error())

    @_guarded
    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Bytes came; with too many of them unread, the channel is paused."""
        stream: StreamName = "stderr" if datatype == _STDERR else "stdout"
        if self._start_timer is not None:
            data = self._skip_noise(stream, data)
        if not data:
            return
        self._queue.append((stream, data))
        self._buffered += len(data)
        if self._buffered >= HIGH_WATER and not self._paused:
            self._paused = True
            self.channel.pause_reading()
        self._arrived.set()

    def _skip_noise(self, stream: StreamName, data: bytes) -> bytes:
        """What of `data` is the command's own; the rest came before it began."""
        marker = self.marker
        assert marker is not None
        data = marker.feed(stream, data)
        if marker.started:
            self._settle_start()
        elif marker.too_noisy:
            self.fail(marker.error())
        return data

    def _settle_start(self) -> None:
        timer, self._start_timer = self._start_timer, None
        if timer is not None and self.marker is not None:
            timer.cancel()
            self.marker.settled(self.marker)

    @_guarded
    def eof_received(self) -> bool:
        """No more bytes will come; True keeps our own direction open."""
        self._eof = True
        self._arrived.set()
        return True

    @_guarded
    def exit_status_received(self, status: int) -> None:
        """The command ended with an exit code."""
        self.exit = Exit(code=status)
        self._done.set()

    @_guarded
    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """The command was ended by a signal; SSH names it without SIG."""
        del core_dumped, msg, lang
        self.exit = Exit(signal=signal)
        self._done.set()

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The send buffer has room."""
        self._writable.set()

    @_guarded
    def connection_lost(self, error: Exception | None) -> None:
        """The channel is closed: by its end, by us, or with the whole connection (`error`)."""
        self.ended = True
        if self.freed is not None:
            self.freed()
        if self.marker is not None:
            self.marker.known.set()
        self._settle_start()
        # OpenSSH may tell the exit before the rest of the output: without the end of file it may have been cut short.
        if self._error is None and error is not None and (self.exit is None or not self._eof):
            self._error = self._lost(error)
        elif self._error is None and not self._has_run():
            assert self.marker is not None
            self._error, self.exit = self.marker.error(), None
        self._arrived.set()
        self._done.set()
        self._writable.set()

    def _has_run(self) -> bool:
        return self.marker is None or self.marker.started or self.interrupted

    # What we call.

    def fail(self, error: Exception) -> None:
        """End this session only, by an error of our own."""
        self._error = error if isinstance(error, TransportError) else self._lost(error)
        self.ended = True
        self._arrived.set()
        self._done.set()
        self.abort()

    def take_back(self, end: Exit) -> None:
        """End a command that has not begun: without its streams the shell cannot reach it."""
        self.exit = end
        self._done.set()
        self.abort()

    def abort(self) -> None:
        """Close the channel at once; what was not sent or not read is gone."""
        self.interrupted = True
        if self.channel is not None:
            self.channel.abort()

    def _pop(self, limit: int) -> Output | None:
        if not self._queue:
            return None
        stream = self._queue[0][0]
        parts: list[bytes] = []
        taken = 0
        while self._queue and self._queue[0][0] == stream and taken < limit:
            data = self._queue.popleft()[1]
            if taken + len(data) > limit:
                cut = limit - taken
                self._queue.appendleft((stream, data[cut:]))
                data = data[:cut]
            parts.append(data)
            taken += len(data)
        self._buffered -= taken
        if self._paused and self._buffered <= LOW_WATER:
            self._paused = False
            self.channel.resume_reading()
        return Output(stream, parts[0] if len(parts) == 1 else b"".join(parts))

    async def take(self, limit: int, *, until_closed: bool) -> Output | None:
        """The next bytes, or None at their end: at the end of file, or (`until_closed`) when the channel is closed.

        Raises TransportError `ssh_connection_lost` if the link broke, after all that came before.
        """
        while True:
            self._arrived.clear()
            output = self._pop(limit)
            if output is not None:
                return output
            if self._error is not None:
                raise self._error
            if self.ended or (self._eof and not until_closed):
                return None
            await self._arrived.wait()

    async def wait_exit(self) -> Exit:
        """How the command ended; TransportError if that never came."""
        await self._done.wait()
        if self.exit is None:
            raise self._error or self._lost(None)
        return self.exit

    async def write(self, data: bytes) -> None:
        """Send; waits while the send buffer is full; OSError if the channel does not take it."""
        self.channel.write(data)
        await self._writable.wait()

    @property
    def buffered(self) -> int:
        """Bytes that came and were not read yet."""
        return self._buffered

    @property
    def error(self) -> Exception | None:
        """What broke the channel, if anything did."""
        return self._error
