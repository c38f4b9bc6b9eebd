"""MachineControl and recovery, over a real store and a provider that can fail at every point."""

import asyncio
import dataclasses
from datetime import datetime, timezone

import pytest

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.control.machines import KeyedLocks, MachineControl
from jupyter_rmx.control.recover import recover
from jupyter_rmx.control.worker import this_worker, worker_is_alive, worker_mark
from jupyter_rmx.errors import ProviderError, StoreError, UsageError, WorkflowError
from jupyter_rmx.models import VM, VMSpec
from jupyter_rmx.providers.base import ProviderVM
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.machines import MachineRecord, MachineStore

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)
DEAD_WORKER = "1-0.00"


class ScriptedProvider:
    """Keeps its machines in a dict; `on_create` is awaited in the middle of a create, after the machine is made."""

    name = "scripted"
    capabilities = frozenset()

    def __init__(self):
        self.machines = {}
        self.calls = []
        self.on_create = None

    async def create(self, spec, *, key):
        self.calls.append(("create", spec.name))
        await asyncio.sleep(0)
        vm = ProviderVM(f"p-{key}", key, spec.name, spec.owner, "running", spec.image, {"made": True})
        self.machines[vm.provider_vm_id] = vm
        if self.on_create is not None:
            try:
                await self.on_create()
            except BaseException:
                del self.machines[vm.provider_vm_id]  # contract: nothing half-made is left behind
                raise
        return vm

    async def destroy(self, provider_vm_id):
        self.calls.append(("destroy", provider_vm_id))
        self.machines.pop(provider_vm_id, None)

    async def status(self, provider_vm_id):
        vm = self.machines.get(provider_vm_id)
        return vm.status if vm else "gone"

    async def list_owned(self, owner):
        return [vm for vm in self.machines.values() if vm.owner == owner]

    def set_status(self, name, status):
        for key, vm in self.machines.items():
            if vm.name == name:
                self.machines[key] = dataclasses.replace(vm, status=status)


class OneProvider:
    """A registry with one provider."""

    def __init__(self, provider):
        self._provider = provider

    def get(self, name):
        if name != self._provider.name:
            raise UsageError(f"There is no provider {name!r}.", code="vm_invalid_provider")
        return self._provider


@pytest.fixture
def provider():
    return ScriptedProvider()


@pytest.fixture
def store(tmp_path, jp_asyncio_loop):
    made = MachineStore(f"sqlite+aiosqlite:///{tmp_path}/store.sqlite3")
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


@pytest.fixture
def control(store, provider, tmp_path):
    settings = Settings(owner="me", data_dir=tmp_path, default_provider="scripted")
    return MachineControl(store, OneProvider(provider), settings, SystemClock())


async def fails(code, awaitable):
    with pytest.raises((WorkflowError, UsageError, ProviderError)) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


async def test_a_machine_is_made_listed_and_ended(control, provider, store):
    vm = await control.create(VMSpec("demo"), key="k")
    assert (vm.status, vm.name, vm.provider, vm.details) == ("running", "demo", "scripted", {"made": True})
    assert await control.list() == [vm] == [await control.get("demo")]
    assert await control.get(vm.id) == vm
    await control.destroy("demo")
    assert (provider.machines, await control.list(), await store.list("me")) == ({}, [], [])
    assert (await fails("vm_not_found", control.destroy("demo"))).status == 404


async def test_the_same_key_or_the_same_wish_is_the_same_machine(control, provider):
    vm = await control.create(VMSpec("demo"), key="k")
    assert await control.create(VMSpec("demo"), key="k") == vm
    assert await control.create(VMSpec("demo"), key="another") == vm
    assert provider.calls == [("create", "demo")]


async def test_other_parameters_are_refused(control, provider):
    await control.create(VMSpec("demo"), key="k")
    assert (await fails("idempotency_mismatch", control.create(VMSpec("other"), key="k"))).status == 422
    taken = await fails("vm_name_taken", control.create(VMSpec("demo", image="big"), key="k2"))
    assert (taken.status, "%vm destroy demo" in taken.hint) == (409, True)
    assert provider.calls == [("create", "demo")]


async def test_a_machine_without_a_name_gets_one_and_keeps_it_by_key(control):
    first = await control.create(VMSpec(), key="k")
    assert await control.create(VMSpec(), key="k") == first
    assert (await control.create(VMSpec(), key="k2")).name != first.name


@pytest.mark.parametrize("same", ["key", "name"])
async def test_thirty_wishes_at_once_are_one_machine(control, provider, same):
    made = await asyncio.gather(
        *(control.create(VMSpec("demo"), key="k" if same == "key" else f"k{n}") for n in range(30))
    )
    assert len({vm.id for vm in made}) == 1
    assert provider.calls == [("create", "demo")]


async def test_two_processes_that_wish_at_once_make_one_machine(store, provider, tmp_path):
    # Two controls share the store and the provider, but no lock: as two Jupyter servers of one user.
    settings = Settings(owner="me", data_dir=tmp_path, default_provider="scripted")
    controls = [MachineControl(store, OneProvider(provider), settings, SystemClock()) for _ in range(2)]
    answers = await asyncio.gather(
        *(control.create(VMSpec("demo"), key="k") for control in controls), return_exceptions=True
    )
    assert provider.calls == [("create", "demo")]
    late = [answer for answer in answers if isinstance(answer, WorkflowError)]
    assert all((error.code, error.retryable) == ("vm_create_in_progress", True) for error in late)
    vm = next(answer for answer in answers if isinstance(answer, VM))
    assert (
        await controls[0].create(VMSpec("demo"), key="k")
        == await controls[1].create(VMSpec("demo"), key="k")
        == vm
    )


async def test_a_failed_create_leaves_no_row_and_may_be_repeated(control, provider, store):
    async def break_down():
        raise ProviderError("No capacity.", code="vm_no_capacity")

    provider.on_create = break_down
    await fails("vm_no_capacity", control.create(VMSpec("demo"), key="k"))
    assert (await store.list("me"), provider.machines) == ([], {})
    provider.on_create = None
    assert (await control.create(VMSpec("demo"), key="k")).status == "running"


async def test_a_cancelled_create_leaves_nothing(control, provider, store):
    reached = asyncio.Event()

    async def hang():
        reached.set()
        await asyncio.Event().wait()

    provider.on_create = hang
    task = asyncio.ensure_future(control.create(VMSpec("demo"), key="k"))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.list("me"), provider.machines) == ([], {})


async def test_a_machine_whose_row_cannot_be_finished_is_destroyed(control, provider, store, monkeypatch):
    async def no_save(*args, **kwargs):
        raise ProviderError("The disk is full.", code="store_disk_full")

    monkeypatch.setattr(store, "save", no_save)
    await fails("store_disk_full", control.create(VMSpec("demo"), key="k"))
    assert (provider.machines, await store.list("me")) == ({}, [])


async def test_status_is_read_from_the_provider(control, provider):
    await control.create(VMSpec("demo"), key="k")
    provider.set_status("demo", "paused")
    assert (await control.get("demo")).status == "paused"
    provider.machines.clear()
    assert [vm.status for vm in await control.list()] == ["destroyed"]


async def test_a_provider_that_is_away_does_not_hide_the_others(control, provider, store):
    vm = await control.create(VMSpec("demo"), key="k")
    other = dataclasses.replace(vm, id="vm_o", name="other", provider="uninstalled")
    assert await store.reserve(MachineRecord(other, "k-o", "f"))

    async def away(_id):
        raise ProviderError("It does not answer.")

    provider.status = away
    assert {(vm.name, vm.status) for vm in await control.list()} == {
        ("demo", "running"),
        ("other", "running"),
    }


@pytest.mark.parametrize("key", ["k", "another"])
async def test_the_name_of_a_machine_that_ended_by_itself_is_free(control, provider, key):
    old = await control.create(VMSpec("demo"), key="k")
    provider.machines.clear()
    new = await control.create(VMSpec("demo"), key=key)
    assert (new.id != old.id, new.status, len(await control.list())) == (True, "running", 1)


@pytest.mark.parametrize("key", ["k", "another"])
async def test_a_machine_that_ended_is_started_again_if_its_provider_kept_it(control, provider, key):
    old = await control.create(VMSpec("demo"), key="k")
    provider.set_status("demo", "gone")
    assert (await control.get("demo")).status == "destroyed"
    assert await control.create(VMSpec("demo"), key=key) == old
    assert ("destroy", old.provider_vm_id) not in provider.calls


async def test_another_wish_replaces_a_machine_that_ended(control, provider):
    old = await control.create(VMSpec("demo"), key="k")
    provider.set_status("demo", "gone")
    new = await control.create(VMSpec("demo", image="big"), key="another")
    assert (new.id != old.id, new.image) == (True, "big")
    assert ("destroy", old.provider_vm_id) in provider.calls


@pytest.mark.parametrize(
    ("spec", "key", "code"),
    [
        (VMSpec("Bad Name"), "k", "usage_bad_name"),
        (VMSpec("demo", provider="moon"), "k", "vm_invalid_provider"),
        (VMSpec("demo"), "k" * 129, "usage_bad_idempotency_key"),
    ],
)
async def test_bad_wishes_touch_nothing(control, provider, store, spec, key, code):
    await fails(code, control.create(spec, key=key))
    assert (provider.calls, await store.list("me")) == ([], [])


async def half_done(store, status, worker, *, provider_vm_id=None):
    vm = VM("vm_9", "demo", "me", "scripted", status, NOW, provider_vm_id)
    assert await store.reserve(MachineRecord(vm, "k9", VMSpec("demo").fingerprint(), worker))
    return vm


async def test_recovery_finishes_a_create_whose_machine_is_there(store, provider):
    vm = await half_done(store, "creating", DEAD_WORKER)
    provider.machines["p-vm_9"] = ProviderVM("p-vm_9", "vm_9", "demo", "me", "running")
    await recover(store, provider, "me", NOW)
    mended = await store.find("me", vm.id)
    assert (mended.vm.status, mended.vm.provider_vm_id, mended.worker) == ("running", "p-vm_9", None)


async def test_recovery_removes_a_create_whose_machine_is_not_there(store, provider):
    await half_done(store, "creating", DEAD_WORKER)
    await recover(store, provider, "me", NOW)
    assert await store.list("me") == []


@pytest.mark.parametrize("known", [True, False])
async def test_recovery_ends_a_half_destroyed_machine(store, provider, known):
    await half_done(store, "destroying", DEAD_WORKER, provider_vm_id="p-vm_9" if known else None)
    provider.machines["p-vm_9"] = ProviderVM("p-vm_9", "vm_9", "demo", "me", "running")
    await recover(store, provider, "me", NOW)
    assert (await store.list("me"), provider.machines) == ([], {})


@pytest.mark.parametrize("status", ["creating", "destroying"])
async def test_recovery_leaves_the_work_of_a_living_process_alone(store, provider, status):
    await half_done(store, status, this_worker())
    await recover(store, provider, "me", NOW)
    assert [row.vm.status for row in await store.list("me")] == [status]
    assert provider.calls == []


async def test_recovery_lists_a_machine_without_a_row_again(store, provider, control):
    provider.machines["p-vm_9"] = ProviderVM("p-vm_9", "vm_9", "demo", "me", "running", details={"a": 1})
    await recover(store, provider, "me", NOW)
    await recover(store, provider, "me", NOW)
    (vm,) = await control.list()
    assert (vm.id, vm.name, vm.status, vm.details) == ("vm_9", "demo", "running", {"a": 1})
    await control.destroy("demo")
    assert provider.machines == {}


async def test_a_create_left_by_a_killed_process_can_be_destroyed(store, provider, control):
    await half_done(store, "creating", DEAD_WORKER)
    provider.machines["p-vm_9"] = ProviderVM("p-vm_9", "vm_9", "demo", "me", "running")
    await control.destroy("demo")
    assert (await store.list("me"), provider.machines) == ([], {})


@pytest.mark.parametrize("status", ["creating", "destroying"])
@pytest.mark.parametrize("there", [True, False])
async def test_a_wish_for_what_a_killed_process_left_is_met(store, provider, control, status, there):
    await half_done(store, status, DEAD_WORKER)
    if there:
        provider.machines["p-vm_9"] = ProviderVM("p-vm_9", "vm_9", "demo", "me", "running")
    vm = await control.create(VMSpec("demo"), key="new")
    assert (vm.status, vm.id == "vm_9") == ("running", status == "creating" and there)
    assert len(provider.machines) == len(await control.list()) == 1


@pytest.mark.parametrize("by", ["key", "name"])
async def test_a_destroy_that_failed_here_does_not_block_the_name(store, provider, control, monkeypatch, by):
    await control.create(VMSpec("demo"), key="k")

    async def no_remove(_vm_id):
        raise StoreError("The disk is full.", code="store_disk_full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "remove", no_remove)
        with pytest.raises(StoreError):
            await control.destroy("demo")
    assert [row.vm.status for row in await store.list("me")] == ["destroying"]
    assert (await control.create(VMSpec("demo"), key="k" if by == "key" else "k2")).status == "running"
    assert len(provider.machines) == len(await control.list()) == 1


async def test_a_machine_can_be_ended_on_a_full_disk(store, provider, control, monkeypatch):
    await control.create(VMSpec("demo"), key="k")

    async def no_save(*args, **kwargs):
        raise StoreError("The disk is full.", code="store_disk_full")

    monkeypatch.setattr(store, "save", no_save)
    await control.destroy("demo")
    assert (provider.machines, await store.list("me")) == ({}, [])


async def test_a_create_in_progress_is_not_destroyed_under_its_maker(store, control):
    other = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        await half_done(store, "creating", worker_mark(other.pid))
        assert (await fails("vm_create_in_progress", control.create(VMSpec("demo"), key="k9"))).retryable
        assert (await fails("vm_create_in_progress", control.destroy("demo"))).retryable
    finally:
        other.kill()
        await other.wait()


def test_a_worker_is_alive_only_with_its_own_start_time():
    pid, _, started = this_worker().partition("-")
    assert worker_is_alive(f"{pid}-{started}")
    assert not any(map(worker_is_alive, (f"{pid}-1.00", DEAD_WORKER, "", None, "nonsense", "-")))


async def test_locks_are_forgotten_when_nobody_holds_them():
    locks = KeyedLocks()
    order = []

    async def work(number):
        async with locks.hold("a"):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(work(n) for n in range(5)))
    assert order == sorted(order)
    assert not locks._locks
