"""A pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios

_IUTF8 = 0x4000  # Linux; termios names it only from Python 3.13 on


class Terminal:
    """A master and slave pair; `master` is ours."""

    def __init__(self, cols: int, rows: int, width: int, height: int) -> None:
        self.master, self._slave = os.openpty()
        self.resize(cols or 80, rows or 24, width, height)
        modes = termios.tcgetattr(self._slave)
        if os.uname().sysname == "Linux":
            modes[0] |= _IUTF8
        termios.tcsetattr(self._slave, termios.TCSANOW, modes)

    def spawn(self, argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a process as the leader of a session that this terminal controls."""
        try:
            return subprocess.Popen(
                argv,
                stdin=self._slave,
                stdout=self._slave,
                stderr=self._slave,
                env=env,
                start_new_session=True,
                # One system call with nothing to allocate: safe in the forked child.
                preexec_fn=_take_control,  # noqa: PLW1509 - see above
            )
        finally:
            os.close(self._slave)
            self._slave = -1

    def resize(self, cols: int, rows: int, width: int = 0, height: int = 0) -> None:
        """Tell it its size; processes in front get SIGWINCH."""
        size = struct.pack("HHHH", *(min(max(n, 0), 65535) for n in (rows, cols, width, height)))
        if self.master >= 0:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def foreground(self) -> int | None:
        """The process group in front."""
        try:
            return os.tcgetpgrp(self.master) or None
        except OSError:
            return None

    def close(self) -> None:
        """Hang up: with the last master closed, the kernel sends SIGHUP to the session."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


def _take_control() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
