"""Bytes between a channel and a pipe or terminal, each way at the pace of the slower side."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK = 65536


class Reader:
    """Reads a descriptor and hands on what it finds; closes it at its end.

    `drain()` asks for word once everything that is in it *now* was handed on: what a command wrote before it ended is
    all there, while a child in the background may hold the pipe open for ever. `discard()` then reads on to nowhere, so
    that such a child neither blocks nor dies of a broken pipe.
    """

    def __init__(self, fd: int, deliver: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._deliver: Callable[[bytes], None] | None = deliver
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._draining = False
        self._reading = False
        self.done = False
        self.resume()

    def pause(self) -> None:
        """The other side is full."""
        if self._reading and self._deliver is not None:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def resume(self) -> None:
        """The other side takes more."""
        if not self._reading and self._fd >= 0:
            self._loop.add_reader(self._fd, self._on_readable)
            self._reading = True
            if self._draining:
                self._on_readable()

    def drain(self) -> None:
        """Call `ended` once what is in it now was handed on."""
        self._draining = True
        if self._reading:
            self._on_readable()

    def discard(self) -> None:
        """From now on, read to nowhere."""
        self._deliver = None
        self.resume()

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            if self._reading:
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd, self._reading = -1, False

    def _on_readable(self) -> None:
        while self._reading:
            try:
                data = os.read(self._fd, _CHUNK)
            except (BlockingIOError, InterruptedError):
                if self._draining:
                    self._finish()
                return
            except OSError:  # EIO: the last process has let go of the terminal
                data = b""
            if not data:
                self.close()
                self._finish()
                return
            if self._deliver is not None:
                self._deliver(data)  # may pause us
            if not self._draining:
                return  # others have a turn

    def _finish(self) -> None:
        self._draining = False
        if not self.done:
            self.done = True
            self._ended()


class Writer:
    """Writes to a descriptor what it is given; `pause` and `resume` hold the giver back while it is full."""

    def __init__(self, fd: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._pause = pause
        self._resume = resume
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._eof = False

    def write(self, data: bytes) -> None:
        """Queue `data`; of a reader that is gone, drop it."""
        if self._fd < 0 or self._eof:
            return
        was_empty = not self._waiting
        self._waiting += data
        if was_empty:
            self._flush()
            if self._waiting:
                self._loop.add_writer(self._fd, self._flush)
                self._pause()

    def write_eof(self) -> None:
        """Close once all is written."""
        self._eof = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Let go of the descriptor, at once."""
        if self._fd >= 0:
            if self._waiting:
                self._loop.remove_writer(self._fd)
                self._waiting.clear()
            os.close(self._fd)
            self._fd = -1

    def _flush(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting[:_CHUNK])]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # nobody reads any more
            self.close()
            self._resume()
            return
        self._loop.remove_writer(self._fd)
        self._resume()
        # Resuming may have given us more to write, and the end of it, before it returned.
        if self._eof and not self._waiting:
            self.close()
