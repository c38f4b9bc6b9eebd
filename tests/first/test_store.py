"""The store's laws, on both databases: who may have a name, what a page shows, what a follower sees, who wins a race."""

import asyncio
import dataclasses
import random
import sys
from datetime import datetime, timedelta, timezone

import pytest

from jupyter_rmx.errors import StoreError
from jupyter_rmx.models import VM, Event, Lease, Operation, Snapshot
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.store.machines import ANY, MachineRecord
from jupyter_rmx.store.operations import OperationRecord, WorkerRecord
from jupyter_rmx.store.store import Store

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
FAIL_SAFE_S = 120


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


def record(number=1, *, name=None, key="", owner="me", status="running", at=NOW, provider_id=None):
    vm = VM(
        f"vm_{number}", name or f"demo-{number}", owner, "local", status, at,
        provider_vm_id=provider_id, image="debian", details={"n": [number], "ü": None},
    )  # fmt: skip
    return MachineRecord(vm, f"key-{number}" if key == "" else key, "f" * 64, active=status == "running")


async def insert(store, *records):
    async with store.write() as tx:
        return [await tx.machines.insert(one) for one in records]


async def change(store, vm_id, values, **conditions):
    async with store.write() as tx:
        return await tx.machines.change(vm_id, values=values, **conditions)


async def get(store, vm_id):
    async with store.read() as tx:
        return await tx.machines.get(vm_id)


# Machines


async def test_a_row_comes_back_as_it_was(store):
    full = dataclasses.replace(
        record(provider_id="p"), operation_id="op_1", checked_at=NOW + timedelta(microseconds=123456)
    )
    full = dataclasses.replace(
        full,
        vm=dataclasses.replace(
            full.vm, image_version="v2", reason_code="c", reason="why", destroyed_at=NOW + timedelta(days=1)
        ),
    )
    assert await insert(store, full) == [True]
    assert await get(store, "vm_1") == full
    async with store.read() as tx:
        assert await tx.machines.find("me", "demo-1") == full
        assert await tx.machines.find("me", "vm_1") == full
        assert await tx.machines.by_key("me", "key-1") == full
        assert await tx.machines.find("you", "vm_1") is None
        assert await tx.machines.by_key("you", "key-1") is None


async def test_times_of_any_zone_are_kept_as_moments(store):
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-9)))
    await insert(store, record(at=elsewhere))
    found = (await get(store, "vm_1")).vm.created_at
    assert (found, found.utcoffset()) == (NOW, timedelta(0))


async def test_live_names_and_keys_are_unique_for_an_owner_only(store):
    assert await insert(store, record(1)) == [True]
    assert await insert(store, record(2, name="demo-1"), record(3, key="key-1"), record(4)) == [
        False,
        False,
        True,
    ]
    assert await insert(store, record(5, name="demo-1", key="key-1", owner="you")) == [True]
    assert await insert(store, record(6, key=None), record(7, key=None)) == [True, True]
    async with store.read() as tx:
        assert {found.vm.id for found in await tx.machines.page("me", limit=9)} == {
            "vm_1",
            "vm_4",
            "vm_6",
            "vm_7",
        }


@pytest.mark.parametrize("ended", ["destroyed", "failed"])
async def test_history_frees_the_name(store, ended):
    await insert(store, record(1))
    assert await change(store, "vm_1", {"status": ended, "destroyed_at": NOW})
    assert await insert(store, record(2, name="demo-1")) == [True]
    async with store.read() as tx:
        assert (await tx.machines.find("me", "demo-1")).vm.id == "vm_2"
        assert (await tx.machines.last_ended("me", "demo-1")).vm.id == "vm_1"
        assert await tx.machines.find("me", "vm_1") is None
        assert await tx.machines.last_ended("me", "vm_2") is None


async def test_a_key_is_taken_until_it_is_set_free(store):
    await insert(store, record(1))
    await change(store, "vm_1", {"status": "destroyed"})
    assert await insert(store, record(2, key="key-1")) == [False]
    await change(store, "vm_1", {"idempotency_key": None})
    assert await insert(store, record(2, key="key-1")) == [True]


async def test_a_name_may_come_back_only_where_it_is_free(store):
    await insert(store, record(1, status="destroyed"), record(2, name="demo-1"))
    with pytest.raises(StoreError):
        await change(store, "vm_1", {"status": "running"})
    assert (await get(store, "vm_1")).vm.status == "destroyed"


async def test_a_move_is_made_only_from_where_the_caller_thinks(store):
    await insert(store, record(1))
    assert not await change(store, "vm_1", {"status": "paused"}, statuses=("creating",))
    assert not await change(store, "vm_1", {"status": "paused"}, operation="op_1")
    assert not await change(store, "vm_1", {"status": "paused"}, version=1)
    assert not await change(store, "vm_2", {"status": "paused"})
    assert await get(store, "vm_1") == record(1)
    assert await change(store, "vm_1", {"operation_id": "op_1"}, statuses=("running",), version=0)
    assert not await change(store, "vm_1", {"operation_id": "op_2"})  # nobody has it, thinks the caller
    assert await change(store, "vm_1", {"status": "paused"}, operation=ANY, version=1)
    assert await change(store, "vm_1", {"operation_id": None}, operation="op_1")
    found = await get(store, "vm_1")
    assert (found.vm.status, found.operation_id, found.version) == ("paused", None, 3)


async def test_one_of_many_moves_wins(store, other):
    await insert(store, record(1))
    won = await asyncio.gather(
        *(change(which, "vm_1", {"operation_id": f"op_{n}"}) for n in range(20) for which in (store, other))
    )
    assert sum(won) == 1
    assert (await get(store, "vm_1")).version == 1


async def test_pages_are_newest_first_and_miss_nothing(store):
    chance = random.Random(5)
    ages = [chance.randrange(40) for _ in range(150)]  # many of one moment
    rows = [record(n, at=NOW - timedelta(seconds=age)) for n, age in enumerate(ages)]
    await insert(store, *rows, record(900, owner="you"), record(901, status="destroyed"))
    expected = sorted(rows, key=lambda row: (row.vm.created_at, row.vm.id), reverse=True)
    for limit in (1, 7, 100, 1000):
        seen, after = [], None
        while True:
            async with store.read() as tx:
                page = await tx.machines.page("me", limit=limit, after=after)
            assert len(page) <= limit
            seen += page
            if not page:
                break
            after = (page[-1].vm.created_at, page[-1].vm.id)
            if limit == 7 and len(seen) == 70:  # what comes meanwhile does not move the rest
                await insert(store, record(902, at=NOW + timedelta(days=1)))
        assert [row.vm.id for row in seen if row.vm.id != "vm_902"] == [row.vm.id for row in expected]
        assert len({row.vm.id for row in seen}) == len(seen)


async def test_only_active_machines_count(store):
    await insert(store, record(1), record(2), record(3, status="paused"), record(4, status="destroyed"))
    await insert(store, record(5, owner="you"))
    async with store.read() as tx:
        assert await tx.machines.count_active("me") == 2
        assert await tx.machines.count_active("nobody") == 0


async def test_ended_machines_that_are_cleaned_up_are_found(store):
    await insert(store, record(1, status="failed"), record(2, status="destroyed"), record(3))
    for vm_id in ("vm_1", "vm_3"):
        await change(store, vm_id, {"operation_id": "op_1"})
    async with store.read() as tx:
        assert [row.vm.id for row in await tx.machines.unfinished("me")] == ["vm_1"]


async def test_old_history_is_forgotten_and_nothing_else(store):
    await insert(store, *(record(n, status="destroyed") for n in range(3)), record(3))
    await change(store, "vm_0", {"destroyed_at": NOW - timedelta(days=2)})
    await change(store, "vm_1", {"destroyed_at": NOW})
    await change(store, "vm_2", {"destroyed_at": NOW - timedelta(days=2), "operation_id": "op_1"})
    async with store.write() as tx:
        assert await tx.machines.forget_ended(NOW - timedelta(days=1)) == 1
    assert [await get(store, f"vm_{n}") is None for n in range(4)] == [True, False, False, False]


# Sharing the work


async def test_due_machines_are_taken_once(store, other):
    await insert(store, *(record(n) for n in range(30)))

    async def take(which):
        async with which.write() as tx:
            return await tx.machines.take_due("me", before=NOW, now=NOW, limit=4)

    taken = await asyncio.gather(*(take(which) for _ in range(5) for which in (store, other)))
    ids = [row.vm.id for rows in taken for row in rows]
    assert len(ids) == len(set(ids))
    assert all(len(rows) <= 4 for rows in taken)
    for _ in range(10):
        ids += [row.vm.id for row in await take(store)]
    assert sorted(ids) == sorted(f"vm_{n}" for n in range(30))


async def test_reconcilers_on_a_server_do_not_wait_for_each_other(postgres_url):
    store = Store(postgres_url)
    await insert(store, *(record(n) for n in range(4)))
    async with store.write() as first:
        mine = await first.machines.take_due("me", before=NOW, now=NOW, limit=2)
        async with store.write() as second:
            theirs = await asyncio.wait_for(
                second.machines.take_due("me", before=NOW, now=NOW, limit=9), FAIL_SAFE_S
            )
    assert len(mine) == len(theirs) == 2
    assert {row.vm.id for row in mine + theirs} == {f"vm_{n}" for n in range(4)}
    await store.aclose()


async def test_what_is_due(store):
    await insert(store, *(record(n) for n in range(5)), record(5, status="failed"))
    await change(store, "vm_1", {"checked_at": NOW - timedelta(seconds=9)})
    await change(store, "vm_2", {"checked_at": NOW - timedelta(seconds=1)})
    await change(store, "vm_3", {"checked_at": NOW + timedelta(days=1)})  # the clock went back
    await change(store, "vm_4", {"operation_id": "op_1"})
    async with store.write() as tx:
        due = await tx.machines.take_due("me", before=NOW - timedelta(seconds=5), now=NOW, limit=9)
    assert sorted(row.vm.id for row in due) == ["vm_0", "vm_1", "vm_3"]
    assert due[0].vm.id == "vm_0"  # never looked at: first
    assert (await get(store, "vm_3")).checked_at == NOW


# Races


async def test_fifty_reservations_of_one_name_make_one_row(store, other):
    made = await asyncio.gather(
        *(insert(which, record(n, name="demo")) for n, which in enumerate([store, other] * 25))
    )
    assert sum(won for (won,) in made) == 1
    async with store.read() as tx:
        assert len(await tx.machines.page("me", limit=99)) == 1


RESERVE = """
import asyncio, sys
from datetime import datetime, timezone
from jupyter_rmx.models import VM
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Store

url, mine, case = sys.argv[1:]
NOW = datetime.now(timezone.utc)

async def reserve(store, number):
    async with store.write() as tx:
        if case == "limit":
            await tx.lock_owner("me")
            if await tx.machines.count_active("me") >= 5:
                return 0
        name = "demo" if case == "name" else f"{mine}-{number}"
        vm = VM(f"vm_{mine}_{number}", name, "me", "local", "creating", NOW)
        won = await tx.machines.insert(MachineRecord(vm, f"{mine}-{number}", "f"))
        tx.events.add(NewEvent("me", "machine.state", NOW, machine=name))
        return int(won)

async def main():
    store = Store(url)
    await store.open()
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(await asyncio.gather(*(reserve(store, number) for number in range(50)))))
    await store.aclose()

asyncio.run(main())
"""


async def start_two(url, case):
    """Two processes that make 50 reservations each at one moment; to be waited for."""
    pipe = asyncio.subprocess.PIPE
    children = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", RESERVE, url, mine, case, stdin=pipe, stdout=pipe)
        for mine in ("a", "b")
    ]  # fmt: skip
    for child in children:
        assert await child.stdout.readline() == b"ready\n"
    for child in children:
        child.stdin.write(b"\n")
    return children


@pytest.mark.parametrize(("case", "expected"), [("name", 1), ("limit", 5), ("all", 100)])
async def test_two_processes_race(store_url, store, case, expected):
    children = await start_two(store_url, case)
    outputs = [await asyncio.wait_for(child.communicate(), FAIL_SAFE_S) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sum(int(out) for out, _ in outputs) == expected
    async with store.read() as tx:
        assert len(await tx.machines.page("me", limit=999)) == expected


# Events


def event(number=0, *, owner="me", kind="machine.state", at=NOW, once=None, vm_id=None):
    return NewEvent(owner, kind, at, vm_id=vm_id, machine="demo", data={"n": number}, once=once)


async def write_events(store, *events):
    async with store.write() as tx:
        for one in events:
            tx.events.add(one)


async def events_after(store, last=0, *, owner="me", limit=1000):
    async with store.read() as tx:
        return await tx.events.after(owner, last, limit=limit)


async def test_events_come_back_in_the_order_of_their_ids(store):
    await write_events(store, *(event(n) for n in range(5)), event(owner="you"))
    found = await events_after(store)
    assert [one.data["n"] for one in found] == [0, 1, 2, 3, 4]
    assert found[0] == Event(found[0].id, "machine.state", NOW, "me", "demo", {"n": 0})
    assert [one.id for one in found] == sorted({one.id for one in found})
    assert await events_after(store, found[1].id, limit=2) == found[2:4]
    async with store.read() as tx:
        assert await tx.events.bounds("me") == (found[0].id, found[-1].id)
        assert await tx.events.bounds("nobody") == (0, 0)


async def test_an_id_is_never_used_again(store):
    await write_events(store, event(1), event(2))
    last = (await events_after(store))[-1].id
    async with store.write() as tx:
        assert await tx.events.forget(NOW + timedelta(days=1)) == 2
    await write_events(store, event(3))
    assert (await events_after(store))[0].id > last


async def follow(store, until):
    """What a face sees that asks again and again for what is after the last one."""
    seen, last = [], 0
    while len(seen) < until:
        for one in await events_after(store, last):
            assert one.id > last
            last = one.id
            seen.append(one)
        await asyncio.sleep(0.002)
    return seen


async def test_a_follower_misses_no_event_however_many_write(store, other):
    follower = asyncio.create_task(follow(store, 400))
    chance = random.Random(6)

    async def write(which, number):
        async with which.write() as tx:
            tx.events.add(event(2 * number))
            await asyncio.sleep(chance.random() * 0.01)
            tx.events.add(event(2 * number + 1))

    await asyncio.gather(*(write(which, n) for n, which in enumerate([store, other] * 100)))
    seen = await asyncio.wait_for(follower, FAIL_SAFE_S)
    assert sorted(one.data["n"] for one in seen) == list(range(400))


async def test_a_follower_misses_no_event_of_other_processes(store, store_url):
    await store.open()
    follower = asyncio.create_task(follow(store, 100))
    children = await start_two(store_url, "all")
    for child in children:
        await child.communicate()
    seen = await asyncio.wait_for(follower, FAIL_SAFE_S)
    assert len({one.machine for one in seen}) == 100


async def test_a_lower_id_never_shows_after_a_higher_one(postgres_url):
    """The first writer of events has its id and has not committed: the second one must wait with its own."""
    store = Store(postgres_url)
    written, go = asyncio.Event(), asyncio.Event()

    async def slow():
        async with store.write() as tx:
            tx.events.add(event(1))
            await tx.events.flush()
            tx.events._added.clear()  # or they would be written again at the end
            written.set()
            await go.wait()

    first = asyncio.create_task(slow())
    await written.wait()
    second = asyncio.create_task(write_events(store, event(2)))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    deadline = asyncio.get_running_loop().time() + FAIL_SAFE_S
    while not second.done() and not await rows_of(store, waiting):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    assert await events_after(store) == []
    go.set()
    await asyncio.gather(first, second)
    assert [one.data["n"] for one in await events_after(store)] == [1, 2]
    await store.aclose()


async def rows_of(store, query):
    from sqlalchemy import text

    async with store._database.read() as connection:
        return (await connection.execute(text(query))).scalar()


async def test_what_happens_once_is_written_once(store, other):
    await asyncio.gather(
        *(write_events(which, event(n, once="op_1:vm.created")) for n, which in enumerate([store, other] * 5))
    )
    await write_events(store, event(98, once="op_2:vm.created"), event(99), event(99))
    assert [one.data["n"] for one in await events_after(store)][1:] == [98, 99, 99]


async def test_events_that_cannot_be_written_do_not_undo_the_rest(store, caplog):
    async with store.write() as tx:
        await tx.machines.insert(record(1))
        tx.events.add(event(1))
        tx.events.add(dataclasses.replace(event(2), type=None))
    assert await get(store, "vm_1") == record(1)
    assert await events_after(store) == []
    assert "2 events could not be written" in caplog.text


async def test_events_of_a_transaction_that_fails_are_not_written(store):
    calls = []
    store.on_events = lambda: calls.append(1)
    with pytest.raises(ZeroDivisionError):
        async with store.write() as tx:
            await tx.machines.insert(record(1))
            tx.events.add(event(1))
            1 / 0  # noqa: B018
    assert await events_after(store) == []
    assert await get(store, "vm_1") is None
    assert calls == []
    await write_events(store, event(2))
    await insert(store, record(1))
    assert calls == [1]


async def test_the_record_of_use_outlives_other_events(store):
    old = NOW - timedelta(days=9)
    await write_events(store, event(1, at=old), event(2, kind="vm.created", at=old, vm_id="vm_1"))
    await write_events(store, event(3), event(4, kind="vm.exec", vm_id="vm_2"))
    async with store.write() as tx:
        assert await tx.events.forget(NOW) == 1
        assert [one.data["n"] for one in await tx.events.audit("me")] == [2, 4]
        assert [one.data["n"] for one in await tx.events.audit("me", vm_id="vm_1")] == [2]
    assert [one.data["n"] for one in await events_after(store)] == [2, 3, 4]


# Operations, workers, roles


def operation(number=1, *, state="running", worker="w1", owner="me", at=NOW):
    op = Operation(f"op_{number}", "create", owner, "vm_1", state, "reserve", at, at, {"error": "x"})
    return OperationRecord(op, {"made": {"id": number}}, worker, NOW + timedelta(seconds=5), 3)


async def test_an_operation_comes_back_as_it_was(store):
    async with store.write() as tx:
        await tx.operations.insert(operation())
        assert await tx.operations.get("op_1") == operation()
        assert await tx.operations.get("op_2") is None


async def test_an_operation_is_changed_only_by_who_works_on_it(store):
    async with store.write() as tx:
        await tx.operations.insert(operation(1))
        await tx.operations.insert(operation(2, worker=None))
        await tx.operations.insert(operation(3, state="done"))
        assert not await tx.operations.change("op_1", worker="w2", values={"step": "x"})
        assert not await tx.operations.change("op_1", worker=None, values={"step": "x"})
        assert not await tx.operations.change("op_3", worker="w1", values={"step": "x"})
        assert await tx.operations.change("op_1", worker="w1", values={"step": "call", "worker": None})
        assert await tx.operations.change("op_2", worker=None, values={"worker": "w2"})
        assert (await tx.operations.get("op_1")).operation.step == "call"
        assert (await tx.operations.get("op_2")).worker == "w2"


async def test_an_operation_is_taken_up_by_one(store, other):
    async with store.write() as tx:
        await tx.operations.insert(operation(worker=None))

    async def take(which, name):
        async with which.write() as tx:
            return await tx.operations.change("op_1", worker=None, values={"worker": name})

    won = await asyncio.gather(*(take(which, f"w{n}") for n, which in enumerate([store, other] * 10)))
    assert sum(won) == 1


async def test_unfinished_operations_are_listed_oldest_first(store):
    states = {1: "running", 2: "done", 3: "undoing", 4: "failed"}
    async with store.write() as tx:
        for number, state in states.items():
            await tx.operations.insert(operation(number, state=state, at=NOW - timedelta(seconds=number)))
        await tx.operations.insert(operation(5, owner="you"))
        assert [row.operation.id for row in await tx.operations.unfinished("me")] == ["op_3", "op_1"]
        assert await tx.operations.forget_over(NOW) == 2
        assert await tx.operations.get("op_1") is not None


async def test_workers_beat_until_they_are_forgotten(store):
    async with store.write() as tx:
        await tx.workers.insert(WorkerRecord("w1", "host", "1-2"))
        await tx.workers.insert(WorkerRecord("w2", "host", "3-4"))
        assert await tx.workers.beat("w1")
        assert not await tx.workers.beat("w3")
        await tx.workers.remove(["w2"])
        assert await tx.workers.all() == {"w1": WorkerRecord("w1", "host", "1-2", 1)}


async def test_a_role_has_one_worker(store):
    async with store.write() as tx:
        both = ("w1", "w2")
        assert await tx.workers.take_role("reconciler", "w1", both)
        assert await tx.workers.take_role("reconciler", "w1", both)
        assert not await tx.workers.take_role("reconciler", "w2", both)
        assert await tx.workers.take_role("reconciler", "w2", ("w2",))  # the first one died
        await tx.workers.leave_roles("w1")
        assert not await tx.workers.take_role("reconciler", "w1", both)
        await tx.workers.leave_roles("w2")
        assert await tx.workers.take_role("reconciler", "w1", both)


@pytest.mark.parametrize("held", [True, False], ids=["a dead worker's", "nobody's yet"])
async def test_a_role_that_is_free_is_taken_by_one(store, other, held):
    alive = [f"w{n}" for n in range(20)]
    if held:
        async with store.write() as tx:
            await tx.workers.take_role("reconciler", "w99", ("w99",))

    async def take(which, name):
        async with which.write() as tx:
            return await tx.workers.take_role("reconciler", name, alive)

    won = await asyncio.gather(*(take(which, f"w{n}") for n, which in enumerate([store, other] * 10)))
    assert sum(won) == 1


# Leases and snapshots


def lease(number=1, *, identity=True, **values):
    return Lease(f"lease_{number}", "vm_1", "me", "ssh", NOW, identity=identity, **values)


async def test_a_lease_comes_back_as_it_was(store):
    full = lease(
        token_hash="a" * 64, expires_at=NOW, identity_handle="h", session_id="s",
        revoked_at=NOW, retry_at=NOW, attempts=2, last_error="e",
    )  # fmt: skip
    async with store.write() as tx:
        await tx.leases.insert(full)
        await tx.leases.insert(lease(2))
        await tx.leases.insert(lease(3))  # without a token: as many as wanted
        assert await tx.leases.get("lease_1") == full
        assert await tx.leases.by_token("a" * 64) == full
        assert await tx.leases.by_token("b" * 64) is None
        assert [row.id for row in await tx.leases.of_machine("vm_1")] == ["lease_1", "lease_2", "lease_3"]
        assert [row.id for row in await tx.leases.identities("vm_1")] == ["lease_2", "lease_3"]
        assert [row.id for row in await tx.leases.live("me")] == ["lease_2", "lease_3"]


async def test_a_token_has_one_lease(store):
    async with store.write() as tx:
        await tx.leases.insert(lease(1, token_hash="a" * 64))
    with pytest.raises(StoreError):
        async with store.write() as tx:
            await tx.leases.insert(lease(2, token_hash="a" * 64))


async def test_what_is_to_be_revoked(store):
    past, future, ahead = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1), timedelta(minutes=1)
    rows = {
        "expired": lease(1, token_hash="1" * 64, expires_at=past),
        "good": lease(2, token_hash="2" * 64, expires_at=future),
        "tried, due": lease(3, token_hash="3" * 64, expires_at=past, retry_at=past),
        "tried, not due": lease(4, token_hash="4" * 64, expires_at=past, retry_at=future),
        "before the clock went back": lease(8, token_hash="8" * 64, retry_at=NOW + timedelta(days=1)),
        "revoked": lease(5, token_hash="5" * 64, expires_at=past, revoked_at=past),
        "nothing there": lease(6, identity=False, token_hash="6" * 64, expires_at=past),
        "for ever": lease(7, token_hash="7" * 64),
    }
    async with store.write() as tx:
        for row in rows.values():
            await tx.leases.insert(row)
        due = await tx.leases.to_revoke("me", NOW, ahead=ahead, limit=9)
        assert sorted(row.id for row in due) == ["lease_1", "lease_3", "lease_8"]
        assert len(await tx.leases.to_revoke("me", NOW, ahead=ahead, limit=1)) == 1
        await tx.leases.change("lease_1", {"revoked_at": NOW})
        left = await tx.leases.to_revoke("me", NOW, ahead=ahead, limit=9)
        assert sorted(row.id for row in left) == ["lease_3", "lease_8"]


async def test_snapshots_are_shown_when_they_are_ready(store):
    rows = [
        Snapshot(f"snap_{n}", "me", "local", "vm_1", status, NOW + timedelta(seconds=n), f"p{n}", "nightly")
        for n, status in enumerate(("ready", "creating", "failed", "ready"))
    ]
    async with store.write() as tx:
        for row in rows:
            await tx.snapshots.insert(row)
        assert await tx.snapshots.list("me") == [rows[3], rows[0]]
        assert await tx.snapshots.list("you") == []
        await tx.snapshots.change("snap_1", {"status": "ready"})
        assert await tx.snapshots.get("snap_1") == dataclasses.replace(rows[1], status="ready")
        assert await tx.snapshots.get("snap_9") is None
