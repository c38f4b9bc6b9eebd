"""What MachineControl promises its callers, over a real store and a provider that can fail at every point."""

import asyncio

import pytest
from given import dies, fails, one_row, planes, settled, until
from plane import check_true

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import VMSpec
from jupyter_rmx.providers.base import ProviderSpec


@pytest.fixture
def make(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop) as make:
        yield make


@pytest.fixture
def plane(make):
    return make()


async def demo(plane, key="k", **spec):
    return await plane.control.create(VMSpec("demo", **spec), key=key)


async def test_a_machine_is_made_listed_and_ended(plane):
    vm = await demo(plane)
    assert (vm.status, vm.name, vm.provider, vm.details) == ("running", "demo", "fake", {"fake": True})
    assert await plane.control.page() == [vm] == [await plane.control.get("demo")]
    assert await plane.control.get(vm.id) == vm
    ended = await plane.control.destroy("demo")
    assert (ended.id, ended.status, ended.reason_code) == (vm.id, "destroyed", "vm_destroyed")
    assert (plane.provider.machines(), await plane.control.page()) == ([], [])
    gone = await fails("vm_not_found", plane.control.destroy("demo"))
    assert (gone.status, gone.details["reason_code"]) == (404, "vm_destroyed")
    await check_true(plane)


async def test_the_same_key_or_the_same_wish_is_the_same_machine(plane):
    vm = await demo(plane)
    assert await demo(plane) == vm
    assert await demo(plane, "another") == vm
    assert len(plane.provider.calls("create")) == len(plane.credits.calls("reserve")) == 1


async def test_other_parameters_are_refused(plane):
    await demo(plane)
    mismatch = await fails("idempotency_mismatch", plane.control.create(VMSpec("other"), key="k"))
    assert mismatch.status == 422
    taken = await fails("vm_name_taken", demo(plane, "k2", image="big"))
    assert (taken.status, "%vm destroy demo" in taken.hint) == (409, True)
    assert len(plane.provider.calls("create")) == 1


async def test_a_machine_without_a_name_gets_one_and_keeps_it_by_key(plane):
    first = await plane.control.create(VMSpec(), key="k")
    assert await plane.control.create(VMSpec(), key="k") == first
    assert (await plane.control.create(VMSpec(), key="k2")).name != first.name
    assert (await plane.control.create(VMSpec())).name != first.name


@pytest.mark.parametrize("same", ["key", "name"])
async def test_thirty_wishes_at_once_are_one_machine(plane, same):
    plane.provider.hang("create")
    wishes = [asyncio.ensure_future(demo(plane, "k" if same == "key" else f"k{n}")) for n in range(30)]
    # In progress is said at once: 29 have their answer while the provider has given none.
    await until(lambda: sum(wish.done() for wish in wishes) == 29)
    for late in (wish for wish in wishes if wish.done()):
        error = await fails("vm_create_in_progress", late)
        assert (error.status, error.retryable) == (409, True)
    plane.provider.release()
    (made,) = [vm for vm in await asyncio.gather(*wishes, return_exceptions=True) if hasattr(vm, "id")]
    again = await asyncio.gather(*(demo(plane, "k" if same == "key" else f"k{n}") for n in range(30)))
    assert again == [made] * 30
    assert len(plane.provider.calls("create")) == 1
    await check_true(plane)


async def test_two_processes_that_wish_at_once_make_one_machine(make):
    planes_ = [make(), make()]
    planes_[0].provider.hang("create")
    wishes = [asyncio.ensure_future(demo(plane)) for plane in planes_]
    await until(lambda: any(wish.done() for wish in wishes))
    late = next(wish for wish in wishes if wish.done())
    assert (await fails("vm_create_in_progress", late)).retryable
    planes_[0].provider.release()
    (first,) = [wish for wish in wishes if wish is not late]
    vm = await first
    assert [await demo(plane) for plane in planes_] == [vm, vm]
    assert len(planes_[0].provider.calls("create")) == 1


async def test_a_failed_create_may_be_repeated(plane):
    plane.provider.fail_before("create", ProviderError("No capacity.", hint="Wait.", code="vm_no_capacity"))
    await fails("vm_no_capacity", demo(plane))
    assert (await plane.control.page(), plane.provider.machines()) == ([], [])
    failed = await one_row(plane)
    assert (failed.vm.status, failed.vm.reason_code, failed.key) == ("failed", "vm_no_capacity", None)
    again = await demo(plane)
    assert (again.status, again.id != failed.vm.id) == ("running", True)
    await check_true(plane)


async def test_a_caller_who_goes_away_does_not_stop_the_create(plane):
    plane.provider.hang("create")
    caller = asyncio.ensure_future(demo(plane))
    await until(lambda: plane.provider.held("create"))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    plane.provider.release()
    await until(lambda: not plane.control.context.engine._tasks)
    assert (await demo(plane)).status == "running"
    assert len(plane.provider.calls("create")) == 1
    await check_true(plane)


async def test_status_is_read_from_the_provider(plane):
    vm = await demo(plane)
    plane.provider.drift(vm.provider_vm_id, "paused")
    assert (await plane.control.get("demo")).status == "paused"
    plane.provider.vanish(vm.provider_vm_id)
    gone = await fails("vm_not_found", plane.control.get("demo"))
    assert gone.details["reason_code"] == "vm_gone"
    assert await plane.control.page() == []
    await check_true(plane)


async def test_a_list_shows_what_costs_nothing_to_ask_as_it_is_now(plane):
    vm = await demo(plane)
    plane.provider.drift(vm.provider_vm_id, "paused")
    assert [(one.status) for one in await plane.control.page()] == ["running"]
    assert plane.provider.calls("status") == []
    plane.provider.status_is_local = True
    assert [one.status for one in await plane.control.page()] == ["paused"]
    plane.provider.vanish(vm.provider_vm_id)
    assert await plane.control.page() == []


async def test_a_provider_that_is_away_does_not_hide_the_others(plane):
    plane.provider.status_is_local = True
    vm = await demo(plane)
    other = await plane.control.create(VMSpec("other"))
    async with plane.store.write() as tx:
        assert await tx.machines.change(other.id, values={"provider": "uninstalled"})
    plane.provider.fail_before("status", times=None)
    shown = {(one.name, one.status) for one in await plane.control.page()}
    assert shown == {("demo", "running"), ("other", "running")}
    assert await plane.control.get("demo") == vm
    await fails("vm_invalid_provider", plane.control.destroy("other"))


@pytest.mark.parametrize("key", ["k", "another"])
async def test_the_name_and_key_of_a_machine_that_is_gone_are_free(plane, key):
    old = await demo(plane)
    plane.provider.vanish(old.provider_vm_id)
    new = await demo(plane, key)
    assert (new.id != old.id, new.status, len(await plane.control.page())) == (True, "running", 1)
    await check_true(plane)


@pytest.mark.parametrize("key", ["k", "another"])
async def test_a_machine_that_its_provider_stopped_is_paused_and_resumed_by_use(plane, key):
    old = await demo(plane)
    plane.provider.drift(old.provider_vm_id, "stopped")
    stopped = await demo(plane, key)
    assert (stopped.id, stopped.status, stopped.reason_code) == (old.id, "paused", "vm_stopped")
    assert (await plane.use.exec("demo", "true", timeout_s=5)).exit_code == 0
    back = await plane.control.get("demo")
    assert (back.id, back.status, back.reason_code) == (old.id, "running", None)
    assert (plane.provider.calls("destroy"), len(plane.provider.calls("create"))) == ([], 1)


async def test_pausing_a_machine_that_its_provider_stopped_finds_it_at_rest(plane):
    old = await demo(plane)
    plane.provider.drift(old.provider_vm_id, "stopped")
    rests = await plane.use.pause("demo")
    assert (rests.id, rests.status, rests.reason_code) == (old.id, "paused", "vm_stopped")
    assert len(plane.provider.calls("pause")) == 1


async def test_a_provider_that_contradicts_itself_at_pause_is_asked_twice_and_quoted(plane):
    await demo(plane)
    refusal = ProviderError("It does not run.", hint="Wait.", code="vm_not_running")
    plane.provider.fail_before("pause", refusal, times=None)
    await fails("vm_not_running", plane.use.pause("demo"))
    assert len(plane.provider.calls("pause")) == 2
    assert (await plane.control.get("demo")).status == "running"


@pytest.mark.parametrize(
    ("spec", "key", "code"),
    [
        (VMSpec("Bad Name"), "k", "usage_bad_name"),
        (VMSpec("demo", provider="moon"), "k", "vm_invalid_provider"),
        (VMSpec("demo", provider=""), "k", "vm_invalid_provider"),
        (VMSpec("demo"), "k" * 129, "usage_bad_idempotency_key"),
        (VMSpec("demo"), "", "usage_bad_idempotency_key"),
    ],
)
async def test_bad_wishes_touch_nothing(plane, spec, key, code):
    await fails(code, plane.control.create(spec, key=key))
    assert (plane.provider.calls(), plane.credits.calls(), await plane.rows()) == ([], [], {})


# --- what another process left


async def left_by_a_killed_process(make, moment, *, request=demo):
    """A process dies at that moment of its provider call."""
    plane = make()
    method = "destroy" if request is not demo else "create"
    plane.provider.hang(method, moment)
    if request is not demo:
        await demo(plane)
    task = asyncio.ensure_future(request(plane))
    await until(lambda: plane.provider.held(method))
    task.cancel()
    dies(plane)
    async with plane.store.write() as tx:
        await tx.workers.remove([plane.control.context.engine.worker.id])
    plane.provider.behave()
    return make()


async def destroy(plane):
    await plane.control.destroy("demo")


@pytest.mark.parametrize("moment", ["called", "committed"])
async def test_a_wish_for_what_a_killed_create_left_is_met(make, moment):
    plane = await left_by_a_killed_process(make, moment)
    old = await one_row(plane)
    vm = await demo(plane, "new")
    assert (vm.status, vm.id == old.vm.id) == ("running", moment == "committed")
    assert len(plane.provider.machines()) == len(await plane.control.page()) == 1
    await check_true(plane)


@pytest.mark.parametrize("moment", ["called", "committed"])
@pytest.mark.parametrize("key", ["k", "new"])
async def test_a_wish_for_what_a_killed_destroy_left_is_met(make, moment, key):
    plane = await left_by_a_killed_process(make, moment, request=destroy)
    old = await one_row(plane)
    vm = await demo(plane, key)
    assert (vm.status, vm.id != old.vm.id) == ("running", True)
    assert len(plane.provider.machines()) == 1
    await check_true(plane)


@pytest.mark.parametrize("moment", ["called", "committed"])
async def test_a_create_left_by_a_killed_process_can_be_destroyed(make, moment):
    plane = await left_by_a_killed_process(make, moment)
    await plane.control.destroy("demo")
    assert (await plane.control.page(), plane.provider.machines()) == ([], [])
    await check_true(plane)


async def test_the_work_of_a_living_process_is_left_alone(make):
    first, second = make(), make()
    first.provider.hang("create")
    task = asyncio.ensure_future(demo(first))
    await until(lambda: first.provider.held("create"))
    await second.reconciler.first_round()
    await second.reconciler.round()
    assert (await one_row(second)).vm.status == "creating"
    assert (await fails("vm_create_in_progress", demo(second))).retryable
    assert (await fails("vm_create_in_progress", second.control.destroy("demo"))).retryable
    first.provider.release()
    assert (await task).status == "running"
    assert len(first.provider.calls("create")) == 1
    await check_true(second)


async def test_whoever_asks_while_a_machine_is_ended_waits_for_that_end(make):
    first, second = make(), make()
    await demo(first)
    first.provider.hang("destroy")
    one = asyncio.ensure_future(first.control.destroy("demo"))
    await until(lambda: first.provider.held("destroy"))
    two = asyncio.ensure_future(second.control.destroy("demo"))
    three = asyncio.ensure_future(first.control.destroy("demo"))
    late = await fails("vm_destroy_in_progress", demo(second))
    assert late.retryable
    first.provider.release()
    ended = await asyncio.gather(one, two, three)
    assert {vm.status for vm in ended} == {"destroyed"}
    assert len(first.provider.calls("destroy")) == 1
    await check_true(first)


async def test_a_destroy_that_the_provider_refuses_stays_asked_for(plane):
    await demo(plane)
    plane.provider.fail_before("destroy", times=None)
    await fails("vm_cloud_service_unavailable", plane.control.destroy("demo"))
    row = await one_row(plane)
    assert (row.vm.status, row.active) == ("destroying", True)
    await fails("vm_cloud_service_unavailable", plane.control.destroy("demo"))
    plane.provider.behave()
    await plane.control.destroy("demo")
    assert plane.provider.machines() == []
    await check_true(plane)


async def test_a_machine_without_a_row_is_listed_again(plane):
    vm = await plane.provider.create(ProviderSpec("demo", "me"), key="vm_9")
    for _ in range(2):
        await plane.reconciler._look_for_orphans()
    (found,) = await plane.control.page()
    assert (found.id, found.name, found.status) == ("vm_9", "demo", "running")
    assert (found.provider_vm_id, found.details) == (vm.provider_vm_id, {"fake": True})
    await plane.control.destroy("demo")
    assert plane.provider.machines() == []


# --- pages, operations


async def test_pages_have_every_machine_once_newest_first(plane):
    names = [f"m-{number}" for number in range(7)]
    for name in names:
        await plane.control.create(VMSpec(name))
    shown, after = [], None
    while page := await plane.control.page(limit=3, after=after):
        shown += [vm.name for vm in page]
        after = (page[-1].created_at, page[-1].id)
    assert shown == names[::-1]


async def test_a_failed_machine_is_shown_while_something_of_it_is_left(plane):
    plane.provider.lost_answer("create")
    plane.provider.fail_before("destroy", times=None)
    error = await fails("vm_cloud_service_unavailable", demo(plane))
    assert error.details["cleanup_pending"]
    (shown,) = await plane.control.page()
    assert (shown.status, shown.reason_code) == ("failed", "vm_cloud_service_unavailable")
    pending = await fails("vm_cleanup_pending", demo(plane))
    assert pending.retryable
    assert (await demo(plane, "another")).status == "running"  # its name is free, only its key is not
    plane.provider.behave()
    assert (await demo(plane)).name == "demo"
    await settled(plane)
    assert [vm.status for vm in await plane.control.page()] == ["running"]
    await check_true(plane)


async def test_operations_are_found_by_their_owner_only(plane):
    await demo(plane)
    async with plane.store.write() as tx:
        (event,) = [
            one for one in await tx.events.after("me", 0, limit=100) if one.data.get("state") == "done"
        ]
    operation = await plane.control.operation(event.data["operation"])
    assert (operation.kind, operation.state, operation.step) == ("create", "done", "provider_create")
    await fails("vm_operation_not_found", plane.control.operation("op_none"))
