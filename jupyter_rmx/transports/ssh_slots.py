"""Sessions that a server lets one connection have at once (OpenSSH's MaxSessions: 10), learnt from its refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")
AGAIN_S = 0.002
"""First pause before a refused session is asked for again: OpenSSH counts one for a moment after it has ended."""
AGAIN_MAX_S = 0.1


class SessionSlots:
    """Lets sessions wait for one another where the server would refuse them."""

    def __init__(self) -> None:
        self._open = 0
        self._confirmed = 0
        self._most = 1
        self._limit: int | None = None
        self._freed = asyncio.Event()

    async def take(
        self,
        open_once: Callable[[], Awaitable[_T]],
        refused: Callable[[BaseException], bool],
        patience_s: float,
    ) -> _T:
        """Open a session; one that is `refused` is tried again for `patience_s` seconds. `free` it once it has ended."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + patience_s, AGAIN_S
        while True:
            while self._limit is not None and self._open >= self._limit and loop.time() < deadline:
                await self._wait(deadline - loop.time())
            self._open += 1
            try:
                opened = await open_once()
            except BaseException as error:
                self.free(confirmed=False)
                if not refused(error) or loop.time() + pause >= deadline:
                    raise
                self._limit = self._most
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_MAX_S)
                continue
            self._confirmed += 1
            self._most = max(self._most, self._confirmed)
            return opened

    async def _wait(self, seconds: float) -> None:
        """Until a session ends, or no longer than that: then the server is asked all the same, and says why not."""
        self._freed.clear()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._freed.wait(), seconds)

    def free(self, *, confirmed: bool = True) -> None:
        """A session has ended."""
        self._open -= 1
        self._confirmed -= confirmed
        self._freed.set()
