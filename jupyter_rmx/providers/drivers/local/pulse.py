"""Whether any Jupyter of this user still lives. Standard library only."""

# ruff: noqa: PTH116 - pathlib would double the keeper's time to start

from __future__ import annotations

import os
import time


class Pulse:
    """Tells whether any Jupyter of this user still lives.

    What counts is how long the heartbeat file has not changed by a clock that neither jumps nor runs while the laptop
    sleeps: the file's own time would end all machines on waking, before Jupyter can touch it.
    """

    def __init__(self, path: str, lost_after_s: float) -> None:
        self._path = path
        self._lost_after_s = lost_after_s
        self._seen = self._look()
        self._since = time.monotonic()

    def _look(self) -> int:
        try:
            return os.stat(self._path).st_mtime_ns
        except OSError:
            return 0

    def is_lost(self) -> bool:
        """True once the file has stayed the same for too long."""
        now = self._look()
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        return time.monotonic() - self._since > self._lost_after_s
