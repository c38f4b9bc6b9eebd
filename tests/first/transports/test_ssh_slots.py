"""Sessions take turns where the server has a limit."""

import asyncio
import random

import pytest

from jupyter_rmx.transports.ssh_slots import SessionSlots


class RefusedError(Exception):
    pass


class Server:
    """Takes `limit` sessions at once; a slot is free a little after its session's end, as OpenSSH's are."""

    def __init__(self, limit):
        self.limit, self.open, self.asked, self.most = limit, 0, 0, 0

    async def take(self):
        self.asked += 1
        await asyncio.sleep(0)
        if self.open >= self.limit:
            raise RefusedError
        self.open += 1
        self.most = max(self.most, self.open)

    def end(self):
        asyncio.get_running_loop().call_later(0.001, self._free)

    def _free(self):
        self.open -= 1


def is_refused(error):
    return isinstance(error, RefusedError)


async def run(slots, server, turns):
    await slots.take(server.take, is_refused, 30)
    for _ in range(turns):
        await asyncio.sleep(0.001)
    server.end()
    slots.free()


@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_all_get_their_turn(limit):
    server, slots, turns = Server(limit), SessionSlots(), random.Random(limit)
    await asyncio.gather(*(run(slots, server, turns.randrange(4)) for _ in range(40)))
    assert server.most == limit
    assert slots._open == slots._confirmed == 0
    assert server.asked < 40 + 40 * 8  # refusals teach: nobody asks all the time


async def test_without_a_limit_nobody_waits():
    server, slots = Server(1000), SessionSlots()
    await asyncio.gather(*(run(slots, server, 1) for _ in range(200)))
    assert (server.most, server.asked) == (200, 200)


async def test_what_stays_refused_is_an_error_and_leaves_nothing():
    server, slots = Server(0), SessionSlots()
    with pytest.raises(RefusedError):
        await slots.take(server.take, is_refused, 0.05)
    assert slots._open == slots._confirmed == 0


async def test_another_error_is_told_at_once():
    slots = SessionSlots()

    async def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await slots.take(broken, is_refused, 30)
    assert slots._open == 0


async def test_a_waiter_that_is_cancelled_takes_no_slot():
    server, slots = Server(1), SessionSlots()
    await slots.take(server.take, is_refused, 30)
    waiting = asyncio.create_task(slots.take(server.take, is_refused, 30))
    for _ in range(5):
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    server.end()
    slots.free()
    await slots.take(server.take, is_refused, 30)
    assert slots._open == slots._confirmed == 1
