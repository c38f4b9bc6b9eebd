"""One who looks at a terminal: a queue with a bound, taken from at the viewer's own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

CHUNK = 48 * 1024
"""Characters that are given out at once, so that keys typed by others find gaps."""

Ending = Literal["ended", "slow", "closed"]


class View:
    """What is shown to one viewer, in order; `changed` is called when it took something, or changed its size."""

    def __init__(self, replay: str, changed: Callable[[View], None]) -> None:
        self._changed = changed
        self._queue: deque[str] = deque()
        self._arrived = asyncio.Event()
        self.behind = 0
        self.size: tuple[int, int] | None = None
        """Columns and rows; None until the viewer says them."""
        self.ending: Ending | None = None
        """Why nothing more comes: the terminal `ended`, this view was too `slow`, or Jupyter has `closed`."""
        self.put(replay)

    def put(self, text: str) -> None:
        """Show `text`."""
        if text and self.ending is None:
            self._queue.extend(text[at : at + CHUNK] for at in range(0, len(text), CHUNK))
            self.behind += len(text)
            self._arrived.set()

    def end(self, why: Ending) -> None:
        """Nothing more will come. What waits is still given out, except to one who is too slow for it."""
        if self.ending is None:
            self.ending = why
            if why == "slow":
                self._queue.clear()
                self.behind = 0
            self._arrived.set()

    def resize(self, cols: int, rows: int) -> None:
        """The viewer has room for so many characters."""
        self.size = (cols, rows)
        self._changed(self)

    async def take(self) -> str | None:
        """What is to be shown next, waited for; None at the end (`ending`)."""
        while not self._queue:
            if self.ending is not None:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        parts = [self._queue.popleft()]
        length = len(parts[0])
        while self._queue and length + len(self._queue[0]) <= CHUNK:
            parts.append(self._queue.popleft())
            length += len(parts[-1])
        self.behind -= length
        self._changed(self)
        return "".join(parts)
