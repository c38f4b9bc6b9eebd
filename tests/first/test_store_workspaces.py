"""Rows of workspaces, on both databases: one for each name and each transport key of an owner."""

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

from jupyter_rmx.models import SSHTarget, Workspace
from jupyter_rmx.store.store import Store

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
TARGET = SSHTarget(
    "me@gpu01",
    2200,
    ("/home/me/.ssh/id_ed25519", "/home/me/ü"),
    jump_host="bastion",
    use_ipv6=True,
    options=("ServerAliveInterval=5", 'ProxyCommand="a b"'),
)


def workspace(number=1, *, name=None, owner="me", at=NOW, **more):
    return Workspace(f"ws_{number}", name or f"gpu-{number}", owner, TARGET, at, **more)


@pytest.fixture
def store(store_url, jp_asyncio_loop):
    made = Store(store_url)
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


@pytest.fixture
def other(store_url, jp_asyncio_loop):
    """A second server of the same user."""
    made = Store(store_url)
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


async def insert(store, one, key):
    async with store.write() as tx:
        return await tx.workspaces.insert(one, key=key)


async def test_a_row_comes_back_as_it_was_by_name_id_and_key(store, other):
    one = workspace(startup="cd /data && exec fish")
    key = "k" * 5000  # longer than any index takes
    assert await insert(store, one, key)
    async with other.read() as tx:
        assert await tx.workspaces.find("me", "gpu-1") == one
        assert await tx.workspaces.find("me", "ws_1") == one
        assert await tx.workspaces.by_key("me", key) == one
        assert await tx.workspaces.by_key("me", key + "k") is None
        assert await tx.workspaces.find("you", "gpu-1") is None
        assert await tx.workspaces.by_key("you", key) is None


async def test_names_and_keys_are_unique_for_each_owner(store):
    assert await insert(store, workspace(1, name="a"), "key-1")
    assert not await insert(store, workspace(2, name="a"), "key-2")
    assert not await insert(store, workspace(3, name="b"), "key-1")
    assert await insert(store, workspace(4, name="a", owner="you"), "key-1")
    async with store.read() as tx:
        assert [one.id for one in await tx.workspaces.page("me", limit=9)] == ["ws_1"]


async def test_changes_and_ends(store):
    await insert(store, workspace(), "key")
    async with store.write() as tx:
        assert await tx.workspaces.change("ws_1", {"name": "big", "startup": "tmux"})
        assert not await tx.workspaces.change("ws_2", {"name": "other"})
    async with store.write() as tx:
        found = await tx.workspaces.find("me", "big")
        assert (found.id, found.startup) == ("ws_1", "tmux")
        assert await tx.workspaces.remove("ws_1")
        assert not await tx.workspaces.remove("ws_1")
    assert await insert(store, workspace(9, name="big"), "key")


async def test_a_row_that_was_never_connected_can_be_taken_back_and_no_other(store, other):
    for number in (1, 2):
        await insert(store, workspace(number), f"key-{number}")
    async with other.write() as tx:
        await tx.workspaces.connected("ws_2", NOW)
    async with store.write() as tx:
        assert await tx.workspaces.remove("ws_1", only_untried=True)
        assert not await tx.workspaces.remove("ws_2", only_untried=True)
    async with store.read() as tx:
        assert [one.id for one in await tx.workspaces.page("me", limit=9)] == ["ws_2"]


async def test_pages_hold_each_row_once_newest_first(store):
    for number in range(9):
        at = NOW + timedelta(seconds=number // 3)  # some are of the same moment
        await insert(store, workspace(number, at=at), f"key-{number}")
    seen, after = [], None
    async with store.read() as tx:
        while page := await tx.workspaces.page("me", limit=2, after=after):
            seen += page
            after = (page[-1].created_at, page[-1].id)
    assert [one.id for one in seen] == [f"ws_{number}" for number in reversed(range(9))]


async def test_of_two_servers_that_add_the_same_one_wins(store, other):
    async def add(of, number):
        return await insert(of, workspace(number, name=f"gpu-{number}"), "the same")

    for _ in range(10):
        won = await asyncio.gather(add(store, 1), add(other, 2))
        assert sorted(won) == [False, True]
        async with store.write() as tx:
            await tx.workspaces.remove(f"ws_{1 + won.index(True)}")
