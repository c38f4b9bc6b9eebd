"""The feed behind `GET events`: slow followers, the table replaced under it, signs of life."""

import asyncio
import json

import pytest

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.control import feed as feed_module
from jupyter_rmx.control.feed import BATCH, EventFeed, events_of
from jupyter_rmx.server import events as events_route
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.store.store import Store

MANY = 3 * 1000 + 7
NEVER_S = 3600.0


@pytest.fixture
def store(tmp_path, jp_asyncio_loop):
    made = Store(f"sqlite+aiosqlite:///{tmp_path}/store.sqlite3")
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


@pytest.fixture
def feed(store, jp_asyncio_loop):
    made = EventFeed(store, "me", SystemClock(), poll_s=NEVER_S)
    store.on_events = made.wake
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


async def write(store, count, owner="me"):
    now = SystemClock().now()
    async with store.write() as tx:
        for number in range(count):
            tx.events.add(NewEvent(owner, "machine.state", now, None, None, {"number": number}))


async def take(follower, count):
    found = []
    while len(found) < count:
        batch = await follower.next(wait_s=60)
        assert 0 < len(batch) <= BATCH
        found += batch
    return found


async def test_a_slow_follower_misses_nothing_and_holds_nothing(store, feed):
    with await feed.follow() as slow, await feed.follow() as fast:
        await write(store, 5, owner="somebody else")
        for _ in range(3):
            await write(store, MANY // 3)
            await take(fast, MANY // 3)
        await write(store, MANY % 3 or 1)
        assert len(feed._tail) <= feed_module.IN_MEMORY < MANY
        seen = await take(slow, MANY - MANY % 3)
        ids = [event.id for event in seen]
        assert ids == sorted(set(ids))
        assert all(event.owner == "me" for event in seen)
        numbers = [event.data["number"] for event in seen[: MANY // 3]]
        assert numbers == list(range(MANY // 3))


async def test_one_poller_serves_all_and_goes_with_the_last(store, feed):
    followers = [await feed.follow() for _ in range(5)]
    polling = feed._polling
    assert polling is not None
    for follower in followers:
        assert feed._polling is polling
        follower.close()
        follower.close()
    assert feed._polling is None


async def test_a_table_that_was_replaced_is_a_reset_for_those_who_follow(store, feed):
    from sqlalchemy import text

    with await feed.follow() as follower:
        await write(store, 10)
        await take(follower, 10)
        async with store._database.write() as connection:
            await connection.execute(text("DELETE FROM events"))
        feed.wake()
        (told,) = await follower.next(wait_s=60)
        assert (told.type, told.id) == ("reset", 0)


async def test_a_feed_that_ends_ends_its_followers(store, feed):
    followers = [await feed.follow() for _ in range(2)]
    waiting = [asyncio.ensure_future(follower.next(wait_s=60)) for follower in followers]
    await asyncio.sleep(0)
    reading = asyncio.ensure_future(_all(events_of(feed, None)))
    await asyncio.sleep(0)
    await feed.aclose()
    assert await asyncio.gather(*waiting) == [None, None]
    assert await reading == []
    for follower in followers:
        follower.close()


async def _all(events):
    return [event async for event in events]


async def test_nothing_to_tell_is_a_comment_so_that_the_link_stays(
    rmx, http_server_client, jp_base_url, monkeypatch
):
    monkeypatch.setattr(events_route, "KEEP_ALIVE_S", 0.01)
    got = b""
    enough = asyncio.get_running_loop().create_future()

    def take_in(chunk):
        nonlocal got
        got += chunk
        if got.count(b": still here\n\n") >= 3 and not enough.done():
            enough.set_result(None)

    fetching = http_server_client.fetch(
        f"{jp_base_url}rmx/api/v1/events",
        headers={"Authorization": f"rmx {rmx._key}"},
        streaming_callback=take_in,
        request_timeout=60,
    )
    answer = asyncio.ensure_future(fetching)
    await asyncio.wait({answer, enough}, return_when=asyncio.FIRST_COMPLETED)
    assert enough.done(), answer
    await rmx.manager()._feed.aclose()  # as the server does when it stops
    assert (await answer).code == 200
    assert got.startswith(b"retry: 1000\nid: ")
    assert json.dumps({}) not in got.decode()
