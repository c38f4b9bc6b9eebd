"""Time as the pool uses it, as a value that tests move by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """It shall not come."""
        ...


class Timing(Protocol):
    """Time as links use it; tests give one that is moved by hand."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call once, `delay_s` from now."""
        ...


class LoopTiming:
    """The running event loop's own time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return asyncio.get_running_loop().time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call once, `delay_s` from now."""
        return asyncio.get_running_loop().call_later(delay_s, callback)
