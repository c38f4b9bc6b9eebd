"""The thread with the event loop on which all requests of this process run, and how the main thread waits for it.

The main thread must stay interruptible, and an interrupt must never hit it in the middle of something: while it waits
for us, SIGINT is counted, and looked at between two steps.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar, final

from jupyter_rmx.magics.failure import interrupted

T = TypeVar("T")
POLL_S = 0.1
"""Longest time until an interrupt is noticed while nothing arrives."""
CANCEL_S = 2.0


@final
class Interrupts:
    """Counts SIGINT while it is entered, instead of raising KeyboardInterrupt. In other threads it counts nothing."""

    def __init__(self) -> None:
        self.count = 0
        self._before: Any = None
        self._entered = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
            self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            self._entered = False
            # None: the handler was not made by Python and cannot be put back; the default is what IPython has.
            signal.signal(signal.SIGINT, signal.default_int_handler if self._before is None else self._before)


class Runner:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="jupyter_rmx", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start `work` on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T], what: str = "The request") -> T:
        """Do `work` and wait for its result; an interrupt takes it back and raises KeyboardInterrupt."""
        with Interrupts() as interrupts:
            return self.wait(self.submit(work), interrupts, what)

    def wait(self, future: concurrent.futures.Future[T], interrupts: Interrupts, what: str) -> T:
        """The result of `future`, unless an interrupt comes first."""
        while not concurrent.futures.wait([future], timeout=POLL_S).done:
            if interrupts.count:
                future.cancel()
                concurrent.futures.wait([future], timeout=CANCEL_S)
                raise interrupted(f"{what} was interrupted.")
        return future.result()

    def every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], None]:
        """Do `work` every so many seconds until the returned function is called; its failures are its own."""

        async def repeat() -> None:
            while True:
                await asyncio.sleep(seconds)
                await asyncio.gather(work(), return_exceptions=True)

        future = self.submit(repeat())

        def stop() -> None:
            future.cancel()

        return stop

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CANCEL_S)


_runner: Runner | None = None


def current_runner() -> Runner:
    """The one runner of this process (a fork needs its own: threads do not survive one)."""
    global _runner  # noqa: PLW0603 - the process has one event loop thread, this is its name
    if _runner is None or _runner.pid != os.getpid():
        _runner = Runner()
    return _runner
