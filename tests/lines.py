"""Transports in memory, ways to open them, and time that is moved by hand: for tests of the pool."""

import asyncio
import contextlib
import heapq
import itertools

from jupyter_rmx.errors import TransportError


class Line:
    """A transport in memory that says when it is gone."""

    def __init__(self, key="k"):
        self.key = key
        self.capabilities = frozenset()
        self.state = "ready"
        self.closed = 0
        self.in_use = False
        self._callbacks = []

    def on_closed(self, callback):
        self._callbacks.append(callback)

    def lose(self):
        self.state = "closed"
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    async def aclose(self):
        self.closed += 1
        self.lose()


class SilentLine(Line):
    """One that does not; its `state` has to be asked."""

    on_closed = None


class Opener:
    """Counts, and waits until it is let go."""

    def __init__(self, kind=Line, error=None):
        self.made = []
        self.go = asyncio.Event()
        self.calls = 0
        self.error = error
        self._kind = kind

    async def __call__(self):
        self.calls += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.made.append(self._kind())
        return self.made[-1]


def ready_opener(error=None, kind=Line):
    """One that does not wait."""
    one = Opener(kind, error)
    one.go.set()
    return one


def failure(code, *, retryable=True):
    return TransportError(f"It failed by {code}.", hint="Do something.", code=code, retryable=retryable)


@contextlib.contextmanager
def fail_safe(loop, seconds=60):
    """A test that hangs fails: whatever waits on the loop after so long is cancelled."""

    def end():
        for task in asyncio.all_tasks(loop):
            task.cancel("it hangs")

    timer = loop.call_later(seconds, end)
    yield
    timer.cancel()


async def settle():
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class HandTiming:
    """Time that stands still until it is moved."""

    def __init__(self):
        self.time = 1000.0
        self._due = []
        self._count = itertools.count()

    def monotonic(self):
        return self.time

    def call_later(self, delay_s, callback):
        timer = _Timer(callback)
        heapq.heappush(self._due, (self.time + delay_s, next(self._count), timer))
        return timer

    def advance(self, seconds):
        """Move on, and call what is due by then, each at its time."""
        end = self.time + seconds
        while self._due and self._due[0][0] <= end:
            at, _, timer = heapq.heappop(self._due)
            if timer.callback is not None:
                self.time = at
                timer.callback()
        self.time = end

    @property
    def waiting(self):
        """When the calls that are to come will come."""
        return sorted(at for at, _, timer in self._due if timer.callback is not None)


class _Timer:
    def __init__(self, callback):
        self.callback = callback

    def cancel(self):
        self.callback = None
