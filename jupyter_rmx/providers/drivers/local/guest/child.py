"""A process and its group: told when it ends, signalled only while it lives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable


class Child:
    """`ended` is called in the event loop once the process has ended; `code` is negative for a signal."""

    def __init__(self, process: subprocess.Popen[bytes], ended: Callable[[], None]) -> None:
        self._process = process
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self.running = True
        self.code = 0
        self._watch()

    def _watch(self) -> None:
        if hasattr(os, "pidfd_open"):
            try:
                self._pidfd = os.pidfd_open(self._process.pid)
            except OSError:
                pass  # an old kernel, or a sandbox that forbids it: a thread waits instead
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._on_end)
        else:
            threading.Thread(target=self._wait_in_thread, daemon=True).start()

    def _wait_in_thread(self) -> None:
        # Not reaped here: the pid must stay ours until the loop knows, or a signal could hit another process.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._loop.call_soon_threadsafe(self._on_end)

    def _on_end(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self.code = self._process.wait()
        self.running = False
        self._ended()

    def signal_group(self, number: signal.Signals, group: int | None = None) -> None:
        """Signal the process group, or `group` if given (of a terminal: the one in front)."""
        if self.running:
            try:
                os.killpg(group or self._process.pid, number)
            except (ProcessLookupError, PermissionError):
                pass  # it has just ended
