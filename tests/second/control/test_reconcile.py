"""The background work: who does it, orphans, what is due, what is forgotten, and what fails without harm."""

import asyncio
import logging
from datetime import timedelta

import pytest
from given import ManualClock, one_row, plane_with_clock, until, worker_elsewhere
from plane import check_true
from sqlalchemy import select, update

from jupyter_rmx.control.reconcile import KEEP_ENDED, KEEP_OPERATIONS, LOOK_EVERY, ORPHANS_EVERY_S
from jupyter_rmx.control.worker import SILENT_S
from jupyter_rmx.models import VMSpec
from jupyter_rmx.providers.base import ProviderSpec
from jupyter_rmx.store.schema import operations, roles, workers


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make(tmp_path, clock, jp_asyncio_loop):
    made = []

    def plane(**options):
        made.append(plane_with_clock(tmp_path, clock, **options))
        return made[-1]

    yield plane
    for one in made:
        one.provider.behave()
        jp_asyncio_loop.run_until_complete(one.aclose())


@pytest.fixture
def plane(make):
    return make()


async def demo(plane, name="demo"):
    return await plane.control.create(VMSpec(name), key=f"k-{name}")


async def elected(plane):
    async with plane.store.read() as tx:
        return (await tx.workers._connection.execute(select(roles.c.worker))).scalar()


async def listed(plane):
    async with plane.store.read() as tx:
        return set(await tx.workers.all())


def me(plane):
    return plane.control.context.engine.worker.id


async def dies(plane):
    """Killed: nothing was said to anybody."""
    async with plane.store.write() as tx:
        await tx.workers._connection.execute(
            update(workers).where(workers.c.id == me(plane)).values(process="1-0.00")
        )
    plane.control.context.engine._enlisted = False


# --- who


async def test_on_sqlite_one_of_the_servers_is_elected(make):
    first, second = make(), make()
    for plane in (first, second, first, second):
        await plane.reconciler.round()
    assert await elected(second) == me(first)
    assert await listed(second) == {me(first), me(second)}
    await demo(second)
    first.provider.vanish(first.provider.machines()[0].id)
    second.control.context.clock.go_on(60)
    await second.reconciler.round()
    assert (await one_row(second)).vm.status == "running"
    await first.reconciler.round()
    assert (await one_row(second)).vm.status == "destroyed"


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_another_one_is_elected_when_it_is_gone(make, how):
    first, second = make(), make()
    await first.reconciler.round()
    await (dies(first) if how == "killed" else first.aclose())
    for _ in range(2):
        await second.reconciler.round()
    assert await elected(second) == me(second)
    assert await listed(second) == {me(second)}


async def test_on_postgresql_all_share_the_looking(make, postgres_url, clock):
    planes = [make(url=postgres_url), make(url=postgres_url)]
    for number in range(6):
        await demo(planes[0], f"m-{number}")
    clock.go_on(60)
    looked = await asyncio.gather(*(plane.reconciler.look_at_due() for plane in planes))
    assert sum(looked) == 6
    assert len(planes[0].provider.calls("status")) == 6


async def test_one_who_was_taken_for_dead_is_listed_again_with_its_next_beat(plane):
    await plane.reconciler.round()
    async with plane.store.write() as tx:
        await tx.workers.remove([me(plane)])
    await plane.reconciler.round()
    assert await listed(plane) == {me(plane)}


async def test_work_of_another_computer_is_taken_up_when_its_beat_stands_still(plane, clock):
    plane.provider.hang("create")
    wish = asyncio.ensure_future(demo(plane))
    await until(lambda: plane.provider.held("create"))
    other = await worker_elsewhere(plane)
    async with plane.store.write() as tx:
        await tx.workers._connection.execute(update(operations).values(worker=other.id))
    for task in list(plane.control.context.engine._tasks.values()):
        task.cancel()
    await asyncio.gather(wish, return_exceptions=True)
    plane.provider.behave()
    for _ in range(int(SILENT_S // 10) + 1):
        await plane.reconciler.round()
        assert (await one_row(plane)).vm.status == "creating"
        clock.go_on(10)
    clock.go_on(1)
    await plane.reconciler.round()
    assert (await one_row(plane)).vm.status == "failed"
    await check_true(plane)


# --- what is due


async def test_each_machine_is_looked_at_every_so_often(plane, clock):
    vm = await demo(plane)
    await plane.reconciler.round()
    assert plane.provider.calls("status") == []
    clock.go_on(LOOK_EVERY.total_seconds() + 1)
    plane.provider.drift(vm.provider_vm_id, "paused")
    for _ in range(2):
        await plane.reconciler.round()
    assert (len(plane.provider.calls("status")), (await one_row(plane)).vm.status) == (1, "paused")


@pytest.mark.parametrize("hours", [-30, 30])
async def test_a_clock_that_jumped_stops_no_looking(plane, clock, hours):
    await demo(plane)
    clock.set_back(hours=-hours)
    assert await plane.reconciler.look_at_due() == 1
    assert await plane.reconciler.look_at_due() == 0


async def test_what_fails_in_a_round_does_not_stop_the_rest(plane, clock, caplog):
    caplog.set_level(logging.WARNING)
    await demo(plane)
    await plane.use.ssh_endpoint("demo")
    clock.go_on(3600)
    plane.provider.fail_before("list_owned")
    plane.provider.fail_before("status")
    await plane.reconciler.round()
    assert plane.provider.identities(live=True) == []
    assert "Provider fake" in caplog.text
    assert "Status of demo is as last known" in caplog.text


# --- orphans


async def orphan(plane, name="demo", key="vm_lost"):
    return await plane.provider.create(ProviderSpec(name, "me", "big"), key=key)


async def test_an_orphan_is_adopted_under_a_free_name(plane):
    plane.credits.enabled = False
    await demo(plane)
    for number, name in enumerate(["demo", "Not a Name!", "demo"]):
        await orphan(plane, name, f"vm_lost{number}")
    assert await plane.reconciler._orphans.look("fake") == 3
    assert await plane.reconciler._orphans.look("fake") == 0
    shown = {vm.name: (vm.reason_code, vm.image) for vm in await plane.control.page()}
    lost = ("vm_adopted", "big")
    assert shown == {"demo": (None, "fake-image"), "demo-2": lost, "found": lost, "demo-3": lost}
    assert (await plane.audit()).count("vm.adopted") == 3
    await check_true(plane)


@pytest.mark.parametrize("said", ["paused", "stopped", "creating", "odd"])
async def test_an_orphan_is_adopted_as_it_is(plane, said):
    found = await orphan(plane)
    plane.provider.drift(found.provider_vm_id, said)
    await plane.reconciler._look_for_orphans()
    row = await one_row(plane)
    paused = said in {"paused", "stopped"}
    assert (row.vm.status, row.active) == ("paused" if paused else "running", not paused)


async def test_an_orphan_that_was_destroyed_since_it_was_listed_is_not_adopted(plane):
    found = await orphan(plane)
    machines = await plane.provider.list_owned("me")
    plane.provider.vanish(found.provider_vm_id)
    plane.provider.nonsense("list_owned", machines)
    assert await plane.reconciler._orphans.look("fake") == 0
    assert await plane.rows() == {}


async def test_a_machine_that_comes_up_after_it_was_given_up_is_ended(plane, clock, caplog):
    plane.provider.hide_new(2)
    plane.provider.lost_answer("create")
    with pytest.raises(Exception, match="gave no answer"):
        await demo(plane)
    row = await one_row(plane)
    assert (row.vm.status, row.operation_id, len(plane.provider.machines())) == ("failed", None, 1)
    for _ in range(3):
        await plane.reconciler.round()
        clock.go_on(ORPHANS_EVERY_S)
    assert plane.provider.machines() == []
    assert "is ended" in caplog.text
    assert (await plane.audit()).count("vm.orphan_destroyed") == 1
    await check_true(plane)


async def test_a_machine_whose_operation_is_not_over_is_left_to_it(plane):
    plane.provider.fail_before("destroy")
    await demo(plane)
    with pytest.raises(Exception, match="refused"):
        await plane.control.destroy("demo")
    assert await plane.reconciler._orphans.look("fake") == 0
    assert len(plane.provider.machines()) == 1


async def test_a_provider_that_is_no_longer_installed_stops_no_other(plane, caplog):
    await demo(plane)
    async with plane.store.write() as tx:
        (id_,) = await plane.rows()
        await tx.machines.change(id_, values={"provider": "gone-away"})
    await orphan(plane, "lost")
    await plane.reconciler._look_for_orphans()
    assert "Provider gone-away" in caplog.text
    assert "lost" in {vm.name for vm in await plane.control.page()}


# --- history


async def test_history_is_kept_for_its_time_and_forgotten_then(plane, clock):
    ended = await demo(plane, "old")
    await plane.control.destroy("old")
    kept = await demo(plane, "here")
    clock.go_on(KEEP_ENDED.total_seconds() - 1)
    await plane.reconciler._prune()
    assert set(await plane.rows()) == {ended.id, kept.id}
    clock.go_on(2)
    await plane.reconciler._prune()
    assert set(await plane.rows()) == {kept.id}


async def test_operations_and_events_are_forgotten_when_they_are_over_for_long(plane, clock):
    await demo(plane)
    plane.provider.fail_before("destroy")
    with pytest.raises(Exception, match="refused"):
        await plane.control.destroy("demo")
    clock.go_on((KEEP_OPERATIONS + timedelta(seconds=1)).total_seconds())
    await plane.reconciler._prune()
    async with plane.store.read() as tx:
        left = (await tx.workers._connection.execute(select(operations.c.kind))).scalars().all()
        events = [event.type for event in await tx.events.after("me", 0, limit=100)]
    assert left == ["destroy"], "what is not over is never forgotten"
    assert "operation.step" not in events
