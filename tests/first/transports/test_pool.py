"""One transport per machine, opened once."""

import asyncio
import subprocess
import sys

import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.transports.pool import TransportPool


class Line:
    """A transport in memory that says when it is gone."""

    def __init__(self, key="k"):
        self.key = key
        self.capabilities = frozenset()
        self.state = "ready"
        self.closed = 0
        self._callbacks = []

    def on_closed(self, callback):
        self._callbacks.append(callback)

    def lose(self):
        self.state = "closed"
        for callback in self._callbacks:
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
        self._kind, self._error = kind, error

    async def __call__(self):
        self.calls += 1
        await self.go.wait()
        if self._error is not None:
            raise self._error
        self.made.append(self._kind())
        return self.made[-1]


async def _settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_concurrent_demand_opens_once():
    pool, opener = TransportPool(), Opener()
    tasks = [asyncio.create_task(pool.get("k", opener)) for _ in range(20)]
    await _settle()
    opener.go.set()
    got = await asyncio.gather(*tasks)
    assert opener.calls == 1
    assert set(got) == set(opener.made)
    assert await pool.get("k", opener) is got[0]
    assert opener.calls == 1
    assert pool.keys() == ["k"]


async def test_keys_are_apart():
    pool, opener = TransportPool(), Opener()
    opener.go.set()
    assert await pool.get("a", opener) is not await pool.get("b", opener)
    assert sorted(pool.keys()) == ["a", "b"]


async def test_failure_reaches_all_and_is_forgotten():
    error = TransportError("no", hint="h", code="ssh_refused")
    pool, opener = TransportPool(), Opener(error=error)
    tasks = [asyncio.create_task(pool.get("k", opener)) for _ in range(3)]
    await _settle()
    opener.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
    assert opener.calls == 1
    good = Opener()
    good.go.set()
    assert await pool.get("k", good) is good.made[0]


async def test_one_that_gives_up_does_not_take_the_others_along():
    pool, opener = TransportPool(), Opener()
    first, second = (asyncio.create_task(pool.get("k", opener)) for _ in range(2))
    await _settle()
    first.cancel()
    await _settle()
    assert first.cancelled()
    opener.go.set()
    assert await second is opener.made[0]
    assert opener.calls == 1


async def test_all_give_up_and_the_next_gets_what_was_opened():
    pool, opener = TransportPool(), Opener()
    only = asyncio.create_task(pool.get("k", opener))
    await _settle()
    only.cancel()
    await _settle()
    opener.go.set()
    assert await pool.get("k", opener) is opener.made[0]
    assert opener.calls == 1
    await pool.aclose()
    assert opener.made[0].closed == 1


@pytest.mark.parametrize("kind", [Line, SilentLine])
async def test_a_closed_one_is_replaced(kind):
    pool, opener = TransportPool(), Opener(kind)
    opener.go.set()
    first = await pool.get("k", opener)
    first.lose()
    assert pool.keys() == []
    second = await pool.get("k", opener)
    assert second is not first
    first.lose()  # told twice: the new one stays
    assert await pool.get("k", opener) is second


async def test_drop_closes():
    pool, opener = TransportPool(), Opener()
    opener.go.set()
    first = await pool.get("k", opener)
    await pool.drop("k")
    await pool.drop("k")
    await pool.drop("other")
    assert first.closed == 1
    assert await pool.get("k", opener) is not first


async def test_drop_while_opening_is_an_error_for_those_who_wait():
    pool, opener = TransportPool(), Opener()
    waiting = asyncio.create_task(pool.get("k", opener))
    await _settle()
    await pool.drop("k")
    with pytest.raises(TransportError) as caught:
        await waiting
    assert caught.value.code == "ssh_connection_lost"
    assert opener.made == []


async def test_a_closed_pool_has_nothing_and_gives_nothing():
    pool, opener, slow = TransportPool(), Opener(), Opener()
    opener.go.set()
    first = await pool.get("k", opener)
    waiting = asyncio.create_task(pool.get("slow", slow))
    await _settle()
    await pool.aclose()
    assert first.closed == 1
    with pytest.raises(TransportError):
        await waiting
    with pytest.raises(TransportError) as caught:
        await pool.get("k", opener)
    assert caught.value.code == "ssh_closed"


def test_the_pool_is_light():
    """The kernel and the CLI import it; asyncssh is for the process that owns connections."""
    program = "import sys, jupyter_rmx.transports.pool; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
