"""One transport per machine, opened once."""

import asyncio
import subprocess
import sys

import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.transports.pool import TransportPool
from tests.lines import HandTiming, Line, Opener, SilentLine, fail_safe, ready_opener, settle


@pytest.fixture(autouse=True)
def _fail_safe(jp_asyncio_loop):
    with fail_safe(jp_asyncio_loop):
        yield


async def test_concurrent_demand_opens_once():
    pool, opener = TransportPool(), Opener()
    tasks = [asyncio.create_task(pool.get("k", opener)) for _ in range(20)]
    await settle()
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
    await settle()
    opener.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
    assert opener.calls == 1
    good = Opener()
    good.go.set()
    assert await pool.get("k", good) is good.made[0]


async def test_one_that_gives_up_does_not_take_the_others_along():
    pool, opener = TransportPool(), Opener()
    first, second = (asyncio.create_task(pool.get("k", opener)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    opener.go.set()
    assert await second is opener.made[0]
    assert opener.calls == 1


async def test_all_give_up_and_the_next_gets_what_was_opened():
    pool, opener = TransportPool(), Opener()
    only = asyncio.create_task(pool.get("k", opener))
    await settle()
    only.cancel()
    await settle()
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
    await settle()
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
    await settle()
    await pool.aclose()
    assert first.closed == 1
    with pytest.raises(TransportError):
        await waiting
    with pytest.raises(TransportError) as caught:
        await pool.get("k", opener)
    assert caught.value.code == "ssh_closed"


async def test_closed_when_idle_and_opened_again_when_wanted():
    timing, told = HandTiming(), []
    pool = TransportPool(
        idle_s=600, timing=timing, on_state=lambda key, state: told.append((key, state.status))
    )
    open_one = ready_opener()
    first = await pool.get("k", open_one)
    timing.advance(599)
    assert await pool.get("k", open_one) is first  # used: it has 600 s again
    timing.advance(599)
    assert pool.keys() == ["k"]
    timing.advance(1)
    await settle()
    assert first.closed == 1
    assert pool.keys() == []
    assert pool.state("k").status == "idle"
    assert await pool.get("k", open_one) is not first
    assert told == [("k", word) for word in ("connecting", "ready", "idle", "connecting", "ready")]


async def test_what_is_open_on_it_keeps_it_open():
    timing, open_one = HandTiming(), ready_opener()
    pool = TransportPool(idle_s=600, timing=timing)
    line = await pool.get("k", open_one)
    line.in_use = True
    timing.advance(5000)
    assert pool.keys() == ["k"]
    line.in_use = False
    timing.advance(599)
    assert pool.keys() == ["k"]
    timing.advance(61)  # a tenth of the time may pass until the end of use is noticed
    await settle()
    assert line.closed == 1


async def test_leases_are_counted():
    timing, open_one = HandTiming(), ready_opener()
    pool = TransportPool(idle_s=600, timing=timing)
    async with pool.lease("k", open_one) as line:
        async with pool.lease("k", open_one) as same:
            assert same is line
            timing.advance(5000)
        timing.advance(5000)
        assert pool.keys() == ["k"]
    timing.advance(599)
    assert pool.keys() == ["k"]
    timing.advance(61)
    await settle()
    assert line.closed == 1
    assert open_one.calls == 1


async def test_a_lease_of_what_cannot_be_opened_leaves_nothing():
    timing = HandTiming()
    pool = TransportPool(timing=timing)
    with pytest.raises(TransportError):
        async with pool.lease("k", ready_opener(TransportError("no", hint="h", code="ssh_refused"))):
            pytest.fail("there is none")
    assert pool._links == {}
    assert timing.waiting == []


async def test_one_that_was_closed_as_idle_while_it_is_asked_for():
    """The old one goes on closing behind the scenes; nobody gets it."""
    timing, open_one = HandTiming(), ready_opener()
    pool = TransportPool(idle_s=600, timing=timing)
    first = await pool.get("k", open_one)
    leave = asyncio.Event()

    async def slowly():
        await leave.wait()
        first.closed += 1

    first.aclose = slowly
    timing.advance(600)
    second = await pool.get("k", open_one)
    assert second is not first
    closing = asyncio.create_task(pool.aclose())
    await settle()
    assert second.closed == 1
    assert not closing.done()
    leave.set()
    await closing
    assert first.closed == 1


async def test_nothing_is_remembered_of_what_is_over():
    timing, open_one = HandTiming(), ready_opener()
    pool = TransportPool(idle_s=600, timing=timing)
    for way in ("idle", "lost", "dropped"):
        line = await pool.get(way, open_one)
        if way == "idle":
            timing.advance(600)
        elif way == "lost":
            line.lose()
        else:
            await pool.drop(way)
    await settle()
    assert pool._links == {}
    assert timing.waiting == []


async def test_who_listens_cannot_break_it(caplog):
    def listener(key, state):
        raise ValueError("my own affair")

    pool, open_one = TransportPool(on_state=listener), ready_opener()
    assert await pool.get("k", open_one) is open_one.made[0]
    assert "my own affair" in caplog.text
    await pool.aclose()


def test_the_pool_is_light():
    """The kernel and the CLI import it; asyncssh is for the process that owns connections."""
    program = "import sys, jupyter_rmx.transports.pool; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
