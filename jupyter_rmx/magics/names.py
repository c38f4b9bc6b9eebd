"""What the Tab key offers: asked for in the background, remembered for some seconds, never waited for long."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from jupyter_rmx.errors import RmxError
from jupyter_rmx.magics.runner import Runner

T = TypeVar("T")
WAIT_S = 0.2
"""Longest wait while a user presses Tab."""


class Remembered(Generic[T]):
    """A list that is asked for again once it is older than `keep_s` seconds. `monotonic` counts seconds."""

    def __init__(self, keep_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._now = monotonic
        self._known: tuple[float, Sequence[T]] | None = None
        self._asked: concurrent.futures.Future[Sequence[T]] | None = None

    def saw(self, values: Sequence[T]) -> None:
        """Remember what came up elsewhere."""
        self._known = (self._now(), values)

    def forget(self) -> None:
        """Ask again next time."""
        self._known = None

    def get(self, runner: Runner, ask: Callable[[], Coroutine[Any, Any, Sequence[T]]] | None) -> Sequence[T]:
        """What is known, after `WAIT_S` at the latest; an answer that comes later is there for the next Tab.

        `ask` None: there is no one to ask. Old values, or none, are better than a key that hangs.
        """
        fresh = self._known is not None and self._now() - self._known[0] <= self._keep_s
        if not fresh and ask is not None:
            if self._asked is None or self._asked.done():
                self._asked = runner.submit(ask())
                self._asked.add_done_callback(self._keep)
            concurrent.futures.wait([self._asked], timeout=WAIT_S)
            self._keep(self._asked)
        return self._known[1] if self._known else ()

    def _keep(self, asked: concurrent.futures.Future[Sequence[T]]) -> None:
        if not asked.done() or asked.cancelled():
            return
        try:
            self.saw(asked.result())
        except RmxError:
            pass  # no list is no reason to disturb somebody who types
