"""What only SQLite does: transactions that it takes back by itself, and indexes that it uses only for equal words."""

import subprocess
import sys
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


async def test_room_is_kept_for_ends_and_given_up_on_a_full_disk(full_disk_store):
    store, file, fill = full_disk_store
    await store.hold_reserve()
    reserve = file.with_name(file.name + ".reserve")
    assert reserve.stat().st_mode & 0o777 == 0o600
    fill()
    with pytest.raises(StoreError) as caught:
        async with store.write() as tx:
            await tx.workers.insert(WorkerRecord("w" * 30, "h" * 200_000, "p"))
    assert (caught.value.code, reserve.exists()) == ("store_disk_full", False)
    async with store.write() as tx:  # what ends something
        await tx.workers.insert(WorkerRecord("w", "h", "p"))
    fill()
    with pytest.raises(StoreError) as caught:  # what begins something
        await store.hold_reserve()
    assert caught.value.code == "store_disk_full"


@pytest.fixture
def full_disk_store(tmp_path, jp_asyncio_loop):
    """A store on a small disk, its file, and a function that fills the disk."""
    if not sys.platform.startswith("linux"):
        pytest.skip("not-this-os: mounts a tmpfs")
    folder = tmp_path / "tiny"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no-kernel-feature: may not mount a tmpfs")
    made = Store(f"sqlite:///{folder}/store.sqlite3")
    jp_asyncio_loop.run_until_complete(made.open())

    def fill():
        number = len(list(folder.glob("fill*")))
        with (folder / f"fill{number}").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass

    yield made, folder / "store.sqlite3", fill
    jp_asyncio_loop.run_until_complete(made.aclose())
    subprocess.run(["umount", "--lazy", folder], check=True)
