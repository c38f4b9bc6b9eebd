"""States of connections become events: each change once, in order, none for each retry."""

from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.manager_workspaces import ConnectionNews
from jupyter_rmx.models import ConnectionState, SSHTarget, Workspace
from jupyter_rmx.store.store import Store

GPU = Workspace("ws_1", "gpu01", "me", SSHTarget("me@gpu01"), datetime.now(timezone.utc))
LOST = {"code": "ssh_connection_lost", "reason": "Lost.", "hint": "Wait."}


@pytest.fixture
def store(tmp_path, jp_asyncio_loop):
    made = Store(f"sqlite:///{tmp_path}/store.sqlite3")
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


@pytest.fixture
def news(store):
    pool = SimpleNamespace(on_state=None)
    made = ConnectionNews(SimpleNamespace(store=store, clock=SystemClock()), pool)
    assert pool.on_state == made.changed
    made.uses(GPU, "key")
    return made


async def told(store):
    async with store.read() as tx:
        return await tx.events.after("me", 0, limit=99)


async def test_each_change_is_told_once_and_no_retry(store, news):
    retries = [ConnectionState("reconnecting", attempt, 2.0 * attempt, **LOST) for attempt in (1, 2, 3)]
    refused = ConnectionState("reconnecting", 4, 8.0, code="ssh_refused", reason="Refused.", hint="Wait.")
    ready, blocked = ConnectionState("ready"), ConnectionState("blocked", **LOST)
    for state in (ConnectionState(), ready, ready, *retries, refused, *retries[:1], blocked, ready):
        news.changed("key", state)
        await news.aclose()
    events = await told(store)
    assert [(event.data["status"], event.data["code"]) for event in events] == [
        ("ready", None),
        ("reconnecting", "ssh_connection_lost"),
        ("reconnecting", "ssh_refused"),
        ("reconnecting", "ssh_connection_lost"),
        ("blocked", "ssh_connection_lost"),
        ("ready", None),
    ]
    assert {(event.type, event.machine) for event in events} == {("machine.connection", "gpu01")}
    assert events[1].data == retries[0].to_wire() | {"workspace_id": "ws_1"}


async def test_of_changes_that_come_at_once_the_last_is_told(store, news):
    for status in ("connecting", "ready", "idle", "connecting", "ready"):
        news.changed("key", ConnectionState(status))
    await news.aclose()
    assert [event.data["status"] for event in await told(store)] == ["ready"]


async def test_keys_of_vms_are_not_told_and_a_new_name_is(store, news):
    news.changed("vm_1", ConnectionState("ready"))
    await news.aclose()
    assert await told(store) == []
    renamed = Workspace("ws_1", "big", "me", GPU.target, GPU.created_at)
    news.uses(renamed, "key")
    news.changed("key", ConnectionState("ready"))
    await news.aclose()
    assert [event.machine for event in await told(store)] == ["big"]
