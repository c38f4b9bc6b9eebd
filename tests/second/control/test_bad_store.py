"""The database is locked, full, or gone in the middle of a request: a clear error, and nothing is lost.

Every write of every workflow fails once, before its commit and after it (the answer is lost); then one that works
finds everything true. Locks, full disks and ended connections are real ones.
"""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing

import pytest
from given import FAIL_SAFE_S, ManualClock, fails, planes, settled, until
from plane import Plane, check_true
from scenes import SCENES

from jupyter_rmx.errors import RmxError, StoreError
from jupyter_rmx.models import VMSpec

PLAIN = [name for name in SCENES if not name.endswith(("-fails", "-lost"))]

LEFT_OUT = set()
"""A snapshot that was taken and could not be written down stays at its provider (reported; nothing lists them there)."""


@pytest.fixture
def make(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop) as make:
        yield make


def break_write(plane, number, moment):
    """The write of that number fails, and no other; returns how many there were."""
    real, count = plane.store.write, 0

    @asynccontextmanager
    async def write():
        nonlocal count
        mine, count = count == number, count + 1
        gone = StoreError("The database went away.", hint="Try again.", code="store_connection_lost")
        async with real() as tx:
            yield tx
            if mine and moment == "before":
                raise gone
        if mine:
            raise gone

    plane.store.write = write
    return lambda: count


def mend(plane):
    del plane.store.write


async def came_true(plane):
    """Within the time of a put-off try nothing is left half-done."""
    await settled(plane)
    for record in await plane.operations():
        assert await plane.control.leftovers.settle(record.operation.id)
    await settled(plane)
    await check_true(plane)


@pytest.mark.parametrize(
    ("name", "moment"),
    [(name, moment) for name in PLAIN for moment in ("before", "after") if (name, moment) not in LEFT_OUT],
)
async def test_a_write_that_fails_loses_nothing(name, moment, tmp_path):
    scene, number, left = SCENES[name], 0, True
    while left:
        plane = Plane(tmp_path / f"{number}", clock=ManualClock(), **scene.options)
        (tmp_path / f"{number}").mkdir()
        try:
            if scene.prepare is not None:
                await scene.prepare(plane)
            writes = break_write(plane, number, moment)
            try:
                await asyncio.wait_for(scene.request(plane), FAIL_SAFE_S)
            except RmxError as error:
                assert error.code == "store_connection_lost", f"write {number}: {error!r}"
            mend(plane)
            left = writes() > number
            await came_true(plane)
            if scene.again is not None:
                await scene.again(plane)
            await came_true(plane)
        except AssertionError as error:
            raise AssertionError(f"write {number} fails {moment} its commit: {error}") from error
        finally:
            await plane.aclose()
        number += 1
    assert number > 1


# --- locked


async def test_a_locked_store_is_said_and_touches_no_provider(make, tmp_path):
    plane = make()
    await plane.control.create(VMSpec("demo"), key="k")
    plane.store._database._busy_timeout_s = 0.05
    calls = len(plane.provider.calls())
    with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for request in (
            plane.control.create(VMSpec("new"), key="k2"),
            plane.control.destroy("demo"),
            plane.use.pause("demo"),
            plane.use.exec("demo", "true", timeout_s=5),
        ):
            error = await fails("store_locked", request)
            assert error.retryable
        assert (await plane.control.get("demo")).status == "running", "reading goes on"
        other.execute("ROLLBACK")
    assert len([call for call in plane.provider.calls()[calls:] if call.method != "status"]) == 0
    await came_true(plane)
    assert (await plane.control.create(VMSpec("new"), key="k2")).status == "running"


async def test_a_store_that_is_locked_while_the_provider_works_gets_its_rows_later(make, tmp_path):
    plane = make()
    await plane.store.open()
    plane.store._database._busy_timeout_s = 0.05
    plane.provider.hang("create")
    wish = asyncio.ensure_future(plane.control.create(VMSpec("demo"), key="k"))
    await until(lambda: plane.provider.held("create"))
    with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        plane.provider.release()
        await fails("store_locked", wish)
        other.execute("ROLLBACK")
    await came_true(plane)
    assert (await plane.control.create(VMSpec("demo"), key="k")).status == "running"
    await check_true(plane)


# --- full


async def test_on_a_full_disk_nothing_is_begun_and_machines_can_be_ended(
    full_disk, jp_asyncio_loop, tmp_path
):
    clock = ManualClock()
    plane = Plane(tmp_path, url=f"sqlite+aiosqlite:///{full_disk.folder}/store.sqlite3", clock=clock)
    try:
        made = [await plane.control.create(VMSpec(f"m-{number}")) for number in range(3)]
        full_disk.fill()
        with pytest.raises(StoreError) as caught:
            for number in range(200):
                vm = await plane.control.create(VMSpec(f"n-{number}"))
                made.append(vm)
        assert caught.value.code == "store_disk_full"
        assert caught.value.hint
        assert {vm.name for vm in await plane.control.page()} >= {vm.name for vm in made}
        for vm in made:
            try:
                await plane.control.destroy(vm.name)
            except RmxError as error:
                assert error.code == "store_disk_full", repr(error)
        live = {machine.key for machine in plane.provider.machines()}
        assert not live & {vm.id for vm in made}, "to end a machine is what frees the disk"
        full_disk.free()
        clock.go_on(60)  # rows follow their machines at the next look
        await came_true(plane)
        assert await plane.control.page() == []
    finally:
        await plane.aclose()


# --- gone


@pytest.mark.parametrize("kind", ["create", "destroy", "pause", "ssh_endpoint"])
async def test_connections_that_are_ended_in_mid_request_lose_nothing(
    kind, make, postgres_cluster, postgres_url
):
    plane = make(url=postgres_url)
    if kind != "create":
        await plane.control.create(VMSpec("demo"), key="k")
    plane.provider.hang(kind)
    request = {
        "create": lambda: plane.control.create(VMSpec("demo"), key="k"),
        "destroy": lambda: plane.control.destroy("demo"),
        "pause": lambda: plane.use.pause("demo"),
        "ssh_endpoint": lambda: plane.use.ssh_endpoint("demo"),
    }[kind]
    asked = asyncio.ensure_future(request())
    await until(lambda: plane.provider.held(kind))
    with postgres_cluster.stopped():
        plane.provider.release()
        with pytest.raises(RmxError) as caught:
            await asyncio.wait_for(asked, FAIL_SAFE_S)
        assert caught.value.code.startswith("store_")
        assert caught.value.retryable
        assert caught.value.hint
        await plane.reconciler.round()  # it is logged, and no more
    await came_true(plane)
    there = kind in {"pause", "ssh_endpoint"}
    assert len(plane.provider.machines()) == len(await plane.control.page()) == there


async def test_connections_that_are_ended_between_requests_are_not_noticed(
    make, postgres_cluster, postgres_url
):
    plane = make(url=postgres_url)
    await plane.control.create(VMSpec("demo"), key="k")
    postgres_cluster.run_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test\\_%'"
    )
    try:
        await plane.use.pause("demo")
    except StoreError as error:
        assert error.retryable
        await came_true(plane)
        await plane.use.pause("demo")
    await check_true(plane)


# --- the clock


@pytest.mark.parametrize("hours", [-12, 12])
@pytest.mark.parametrize("name", PLAIN)
async def test_a_clock_that_jumps_between_all_calls_changes_no_outcome(name, hours, tmp_path):
    scene, clock = SCENES[name], ManualClock()
    plane = Plane(tmp_path, clock=clock, **scene.options)
    plane.provider._now = clock.now
    plane.provider._probe = lambda method, moment: clock.set_back(hours=-hours)
    try:
        if scene.prepare is not None:
            await scene.prepare(plane)
        await scene.request(plane)
        clock.set_back(hours=-hours)
        await plane.reconciler.round()
        if scene.check is not None:
            await scene.check(plane)
        if scene.again is not None:
            await scene.again(plane)
        await came_true(plane)
    finally:
        await plane.aclose()


@pytest.mark.parametrize("hours", [-5, 5])
async def test_what_was_put_off_is_tried_again_whatever_the_clock_says(hours, tmp_path):
    clock = ManualClock()
    plane = Plane(tmp_path, clock=clock)
    try:
        await plane.control.create(VMSpec("demo"))
        plane.provider.fail_before("destroy")
        await fails("vm_cloud_service_unavailable", plane.control.destroy("demo"))
        clock.set_back(hours=-hours)
        clock.go_on(60)
        await plane.reconciler.round()
        assert plane.provider.machines() == []
        await check_true(plane)
    finally:
        await plane.aclose()
