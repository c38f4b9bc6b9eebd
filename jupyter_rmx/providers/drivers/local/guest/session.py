"""One command or shell on a channel: its process, its streams, its signals, its end."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import asyncssh

from jupyter_rmx.providers.drivers.local.guest import terminal
from jupyter_rmx.providers.drivers.local.guest.child import Child
from jupyter_rmx.providers.drivers.local.guest.pump import Reader, Writer

_Callback = TypeVar("_Callback", bound=Callable[..., Any])


def guarded(callback: _Callback) -> _Callback:
    """An exception that escapes a callback would drop the whole connection, with everybody's commands: end this channel only."""

    @functools.wraps(callback)
    def call(self: Session, *args: Any) -> Any:
        try:
            return callback(self, *args)
        except Exception as error:  # noqa: BLE001 - reported to the log and to this channel; see above
            sys.stderr.write(f"{callback.__name__}: {error!r}\n")
            self.abort(str(error))
            return None

    return call  # type: ignore[return-value]  # same signature by construction


class Session(asyncssh.SSHServerSession[bytes]):
    """Runs what the client asks for with the user's shell, in a process group of its own."""

    def __init__(self) -> None:
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._command: str | None = None
        self._terminal: terminal.Terminal | None = None
        self._child: Child | None = None
        self._readers: list[Reader] = []
        self._writer: Writer | None = None
        self._early_eof = False

    # --- what the client asks for

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        self._chan = chan

    def pty_requested(self, _term: str, _size: Any, _modes: Any) -> bool:
        """A terminal is always granted."""
        return True

    def shell_requested(self) -> bool:
        """A login shell."""
        return True

    def exec_requested(self, command: str) -> bool:
        """A command for the shell."""
        self._command = command
        return True

    @guarded
    def session_started(self) -> None:
        """Start the process."""
        chan = self._chan
        if chan is None:
            return
        env = {**os.environ, **chan.get_environment()}
        shell = os.environ.get("SHELL") or "/bin/sh"
        argv = [shell, "-c", self._command] if self._command is not None else [shell, "-l"]
        try:
            if chan.get_terminal_type() is not None:
                self._start_on_terminal(chan, argv, env)
            else:
                self._start_on_pipes(argv, env)
        except (OSError, ValueError) as error:
            self.abort(f"cannot start {shell}: {error}")

    def _start_on_pipes(self, argv: list[str], env: dict[str, str]) -> None:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=env,
            start_new_session=True,
        )
        assert process.stdin and process.stdout and process.stderr
        stdin, stdout, stderr = (
            os.dup(file.fileno()) for file in (process.stdin, process.stdout, process.stderr)
        )
        for file in (process.stdin, process.stdout, process.stderr):
            file.close()
        self._writer = Writer(stdin, self._hold_input, self._take_input)
        self._readers = [
            Reader(stdout, self._send, self._stream_done),
            Reader(stderr, self._send_error, self._stream_done),
        ]
        self._child = Child(process, self._process_ended)
        if self._early_eof:
            self._writer.write_eof()

    def _start_on_terminal(
        self, chan: asyncssh.SSHServerChannel[bytes], argv: list[str], env: dict[str, str]
    ) -> None:
        env["TERM"] = chan.get_terminal_type() or "dumb"
        cols, rows, width, height = chan.get_terminal_size()
        self._terminal = terminal.Terminal(cols, rows, width, height)
        process = self._terminal.spawn(argv, env)
        self._writer = Writer(os.dup(self._terminal.master), self._hold_input, self._take_input)
        self._readers = [Reader(os.dup(self._terminal.master), self._send, self._stream_done)]
        self._child = Child(process, self._process_ended)

    # --- from the client

    @guarded
    def data_received(self, data: bytes, _datatype: Any) -> None:
        """Input."""
        if self._writer is not None:
            self._writer.write(data)

    @guarded
    def eof_received(self) -> bool:
        """End of input; True keeps the channel open for the output."""
        if self._writer is None:
            self._early_eof = True
        elif self._terminal is not None:
            self._writer.write(b"\x04")  # a terminal has no end of file, only the key for it
        else:
            self._writer.write_eof()
        return True

    @guarded
    def signal_received(self, signal_name: str) -> None:
        """A signal for the whole process group."""
        number = getattr(signal, f"SIG{signal_name.removeprefix('SIG')}", None)
        if isinstance(number, signal.Signals):
            self._signal(number)

    @guarded
    def break_received(self, _msec: int) -> bool:
        """A break is Ctrl-C."""
        self._signal(signal.SIGINT)
        return True

    @guarded
    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The window changed."""
        if self._terminal is not None:
            self._terminal.resize(width, height, pixwidth, pixheight)

    @guarded
    def pause_writing(self) -> None:
        """The client does not read: neither do we, so the command waits."""
        for reader in self._readers:
            reader.pause()

    @guarded
    def resume_writing(self) -> None:
        """The client reads again."""
        for reader in self._readers:
            reader.resume()

    @guarded
    def connection_lost(self, _error: Exception | None) -> None:
        """The channel is gone: hang up on a command that still runs, as a terminal does."""
        self._chan = None
        if self._child is not None and self._child.running:
            self._signal(signal.SIGHUP)
            self._signal(signal.SIGCONT)  # a stopped one must wake up to hear it
        self._let_go()

    # --- to the client

    def _send(self, data: bytes) -> None:
        if self._chan is not None:
            self._chan.write(data)

    def _send_error(self, data: bytes) -> None:
        if self._chan is not None:
            self._chan.write_stderr(data)

    def _hold_input(self) -> None:
        if self._chan is not None:
            self._chan.pause_reading()

    def _take_input(self) -> None:
        if self._chan is not None:
            self._chan.resume_reading()

    def _process_ended(self) -> None:
        for reader in self._readers:
            if not reader.done:
                reader.drain()
        self._stream_done()

    def _stream_done(self) -> None:
        """Once the process has ended and all that it wrote was handed on: say how it ended, close the channel."""
        if self._child is None or self._child.running or not all(reader.done for reader in self._readers):
            return
        chan, self._chan = self._chan, None
        if chan is not None:
            code = self._child.code
            if code < 0:
                chan.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                chan.exit(code)
        self._let_go()

    def abort(self, reason: str) -> None:
        """End this channel because of an error of ours; exit code 127, as of a shell that cannot start a command."""
        chan, self._chan = self._chan, None
        if self._child is not None and self._child.running:
            self._signal(signal.SIGHUP)
        self._let_go()
        if chan is not None:
            try:
                chan.write_stderr(f"{reason}\n".encode())
                chan.exit(127)
            except OSError:
                pass  # the channel is closed already

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.running:
            group = self._terminal.foreground() if self._terminal is not None else None
            self._child.signal_group(number, group)

    def _let_go(self) -> None:
        """Close the input; read what background processes still write to nowhere, and hang up a terminal."""
        if self._writer is not None:
            self._writer.close()
        for reader in self._readers:
            if self._terminal is not None:
                reader.close()
            else:
                reader.discard()
        if self._terminal is not None:
            self._terminal.close()
