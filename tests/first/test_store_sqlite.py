"""What only SQLite does: transactions that it takes back by itself, and indexes that it uses only for equal words."""

from datetime import datetime, timezone

import pytest
from sqlalchemy import text

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.store.operations import WorkerRecord
from jupyter_rmx.store.store import Store

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path, jp_asyncio_loop):
    made = Store(f"sqlite:///{tmp_path}/store.sqlite3")
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


async def test_a_disk_that_fills_up_while_events_are_written_is_no_success(store):
    async with store.write() as tx:
        pages = (await tx._connection.execute(text("PRAGMA page_count"))).scalar_one()
        await tx._connection.execute(text(f"PRAGMA max_page_count={pages + 1}"))
    with pytest.raises(StoreError) as caught:
        async with store.write() as tx:
            await tx.workers.insert(WorkerRecord("w", "h", "p"))
            tx.events.add(NewEvent("me", "vm.x", NOW, data={"x": "y" * 50_000}))
    assert caught.value.code == "store_disk_full"
    async with store.read() as tx:
        assert await tx.workers.all() == {}


async def test_events_that_cannot_be_written_do_not_undo_the_rest(store):
    async with store.write() as tx:
        await tx._connection.execute(
            text("CREATE TRIGGER no_events BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        )
    async with store.write() as tx:
        await tx.workers.insert(WorkerRecord("w", "h", "p"))
        tx.events.add(NewEvent("me", "vm.x", NOW))
    async with store.read() as tx:
        assert list(await tx.workers.all()) == ["w"]
        assert await tx.events.bounds("me") == (0, 0)


@pytest.mark.parametrize(
    ("rest", "index"),
    [
        ("ORDER BY created_at DESC, id DESC LIMIT 100", "vms_live_page"),
        ("AND name = 'x'", "vms_live_name"),
    ],
)
async def test_queries_of_live_machines_use_their_index(store, rest, index):
    from jupyter_rmx.store.schema import LIVE

    query = f"EXPLAIN QUERY PLAN SELECT * FROM vms WHERE owner = 'me' AND {LIVE.text} {rest}"
    async with store.read() as tx:
        plan = " ".join(str(row) for row in await tx._connection.execute(text(query)))
    assert index in plan
    assert "TEMP B-TREE" not in plan


async def test_a_page_asks_in_the_words_of_its_index(store):
    asked = []

    async with store.read() as tx:
        from sqlalchemy import event

        sync = tx._connection.sync_connection
        event.listen(sync, "before_cursor_execute", lambda *given: asked.append(given[2]))
        await tx.machines.page("me", limit=100)
        await tx.machines.find("me", "x")
    from jupyter_rmx.store.schema import LIVE

    assert len(asked) == 2
    assert all(LIVE.text in words for words in asked)
