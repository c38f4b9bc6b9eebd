"""The reference's control plane, base line W: every such row of `workflow` in cloud.json is a test of that name here.

Rows that we answer otherwise on purpose stand in DIFFERENCES with the reason. `credit_reserves`, `provider_creates` and
the like are counted at the fakes.
"""

import asyncio
import dataclasses
import json
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from jupyter_rmx.control.plane import build_control
from jupyter_rmx.control.use import MachineUse
from jupyter_rmx.errors import ProviderError, StoreError
from jupyter_rmx.models import VMSpec
from jupyter_rmx.providers.base import AttachOptions

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "second" / "control"))

from given import dies, fails, planes, until  # noqa: E402 - found only after the path is set
from plane import check_true  # noqa: E402 - found only after the path is set

ROWS = {
    row["id"]: row
    for row in json.loads((HERE / "vectors" / "cloud.json").read_text())["workflow"]
    if row["era"].startswith("W")
}

DIFFERENCES = {
    "wf-idem-user-scope": "keys are per owner; teams come with the accounts issue, and one store's owner is one person",
    "wf-same-key-other-params": "422 idempotency_mismatch; the reference returns the first machine, whatever was asked",
    "wf-grant-once": "free credit is granted by the accounts issue; this floor reserves and refunds only",
    "wf-grant-failure-not-fatal": "as wf-grant-once",
    "wf-ssh-revoke-fails": "the new identity works before the old one is ended; a failed end is retried and blocks nobody",
    "wf-finalize-fail": "one more state than the reference: the error is the store's own code, and the row follows it",
    "wf-stuck-provisioning": "beaten: what a killed process left is settled by the next wish, not 409 for ever",
}
"""What each of these has instead is held by the test `test_instead_of_<id>` (the grants: by `test_no_grants`)."""


@pytest.fixture
def make(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop) as make:
        yield make


@pytest.fixture
def plane(make):
    return make()


@pytest.fixture
def one(make):
    """At most one active machine."""
    return make(max_active_owner=1)


async def create(plane, name=None, key="k", **wish):
    return await plane.control.create(VMSpec(name, **wish), key=key)


def creates(plane):
    return len(plane.provider.calls("create"))


async def row(plane, vm):
    return (await plane.rows())[vm.id]


def plane_of(owner, plane):
    """Another person's control over the same store and provider."""
    context = plane.control.context
    settings = dataclasses.replace(context.settings, owner=owner)
    control = build_control(context.store, context.providers, context.credits, settings, context.clock)
    control.use = MachineUse(control)
    return control


# --- idempotency


async def test_wf_idem_once(plane):
    assert await create(plane) == await create(plane)
    assert (creates(plane), len(plane.credits.calls("reserve")), len(await plane.rows())) == (1, 1, 1)


async def test_instead_of_wf_idem_user_scope(plane):
    mine = await create(plane)
    other = await plane_of("you", plane).create(VMSpec(), key="k")
    assert (other.owner, other.id != mine.id) == ("you", True)
    assert await create(plane) == mine
    assert creates(plane) == 2


async def test_instead_of_wf_same_key_other_params(plane):
    first = await create(plane, image="i1")
    assert (await fails("idempotency_mismatch", create(plane, image="i2"))).status == 422
    assert (await create(plane, image="i1")) == first
    assert (first.image, creates(plane)) == ("i1", 1)


async def test_wf_concurrent_same_key(one):
    """The key is looked at before the limit: the second wish of one key hears of the first, not of a full house."""
    one.provider.hang("create")
    first = asyncio.ensure_future(create(one))
    await until(lambda: one.provider.held("create"))
    await fails("vm_create_in_progress", create(one))
    assert (creates(one), len(await one.rows())) == (1, 1)
    one.provider.release()
    await first


async def killed_in_create(make, moment):
    """A process that died in the middle, and the next one."""
    first = make()
    first.provider.hang("create", moment)
    wish = asyncio.ensure_future(create(first))
    await until(lambda: first.provider.held("create"))
    wish.cancel()
    dies(first)
    async with first.store.write() as tx:
        await tx.workers.remove([first.control.context.engine.worker.id])
    first.provider.behave()
    return make()


@pytest.mark.parametrize("moment", ["called", "committed"])
async def test_instead_of_wf_stuck_provisioning(make, moment):
    plane = await killed_in_create(make, moment)
    assert (await create(plane)).status == "running"
    assert len(plane.provider.machines()) == 1
    await check_true(plane)


# --- failures of a create


async def test_wf_provider_fail_events(plane):
    plane.provider.fail_before("create", ProviderError("No.", hint="Wait.", code="vm_no_capacity"))
    await fails("vm_no_capacity", create(plane))
    (failed,) = (await plane.rows()).values()
    # The reference's failure code is the name of its step; ours is the error's.
    assert (failed.vm.status, failed.vm.reason_code) == ("failed", "vm_no_capacity")
    assert await plane.audit() == [
        "vm.create.credit.refunded",
        "vm.create.credit.reserved",
        "vm.create.failed",
        "vm.create.requested",
    ]
    assert len(plane.credits.calls("refund", committed=True)) == 1
    assert plane.credits.balance("me") == 1000


async def test_instead_of_wf_finalize_fail(plane, monkeypatch):
    """The machine is made, its row cannot be written: the machine is ended, credit given back, the store's error told."""
    await plane.store.open()
    flow = plane.control.context.engine._workflows["create"]

    async def no_write(tx, run):
        raise StoreError("The database went away.", hint="Try again.", code="store_connection_lost")

    broken = dataclasses.replace(flow, finish=no_write)
    monkeypatch.setitem(plane.control.context.engine._workflows, "create", broken)
    await fails("store_connection_lost", create(plane))
    (failed,) = (await plane.rows()).values()
    assert (failed.vm.status, failed.vm.reason_code) == ("failed", "store_connection_lost")
    assert len(plane.provider.calls("destroy", committed=True)) == 1
    assert len(plane.credits.calls("refund", committed=True)) == 1
    await check_true(plane)


async def test_no_grants(plane):
    """Nothing is granted here: two machines, two reservations, and no event of a grant."""
    await create(plane, key="k1")
    await create(plane, key="k2")
    assert len(plane.credits.calls("reserve")) == 2
    assert not [type_ for type_ in await plane.audit() if "grant" in type_]
    plane.credits.set_balance("me", 0)
    await fails("vm_create_credits_insufficient", create(plane, key="k3"))


async def test_wf_usage_events_fail(plane, monkeypatch):
    from jupyter_rmx.store.events import EventRows

    tried = []

    async def no_flush(self):
        tried.append([event.type for event in self._added])
        raise OperationalError("INSERT", {}, Exception("disk"))

    monkeypatch.setattr(EventRows, "flush", no_flush)
    assert (await create(plane)).status == "running"
    assert len([batch for batch in tried if any(type_.startswith("vm.") for type_ in batch)]) >= 2


# --- the limit


async def test_wf_limit(one):
    await create(one, key="k1")
    error = await fails("vm_active_limit_exceeded", create(one, key="k2"))
    assert (error.status, error.details) == (402, {"limit": 1})
    assert (creates(one), len(one.provider.calls("status"))) == (1, 1)


async def test_wf_limit_paused_not_counted(one):
    await create(one, "a", "k1")
    await one.use.pause("a")
    await create(one, key="k2")
    assert one.provider.calls("status") == []


async def test_wf_limit_below_no_refresh(make):
    plane = make(max_active_owner=2)
    await create(plane, key="k1")
    await create(plane, key="k2")
    assert plane.provider.calls("status") == []


async def test_wf_limit_refresh_paused(one):
    old = await create(one, key="k1")
    one.provider.drift(old.provider_vm_id, "paused")
    await create(one, key="k2")
    assert ((await row(one, old)).vm.status, len(one.provider.calls("status"))) == ("paused", 1)


async def test_wf_limit_refresh_deleted(one):
    old = await create(one, key="k1")
    one.provider.vanish(old.provider_vm_id)
    await create(one, key="k2")
    assert (await row(one, old)).vm.status == "destroyed"
    assert (await one.audit()).count("vm.destroyed") == 1


async def test_wf_limit_refresh_creating(one):
    old = await create(one, key="k1")
    one.provider.drift(old.provider_vm_id, "creating")
    await fails("vm_active_limit_exceeded", create(one, key="k2"))
    assert (await row(one, old)).vm.status == "running"


async def test_wf_limit_refresh_concurrent(make):
    before = make()
    olds = [await create(before, key=f"k{number}") for number in range(2)]
    plane = make(max_active_owner=1)
    for old in olds:
        plane.provider.drift(old.provider_vm_id, "paused")
    plane.provider.hang("status", times=None)
    wish = asyncio.ensure_future(create(plane, key="new"))
    await until(lambda: plane.provider.held("status") == 2)
    plane.provider.release()
    assert (await wish).status == "running"
    assert plane.provider.most_at_once("status") == 2


async def test_wf_limit_refresh_destroy_race(one, make):
    old = await create(one, "old", "k1")
    one.provider.drift(old.provider_vm_id, "paused")
    one.provider.hang("status", "committed")
    wish = asyncio.ensure_future(create(one, key="k2"))
    await until(lambda: one.provider.held("status"))
    await make().control.destroy("old")
    one.provider.release()
    assert (await wish).status == "running"
    assert (await row(one, old)).vm.status == "destroyed"
    await check_true(one)


async def test_wf_limit_freed_by_destroy(one):
    await create(one, "a", "k1")
    await one.control.destroy("a")
    assert (await create(one, key="k2")).status == "running"


# --- endpoints


async def ssh_leases(plane, vm):
    async with plane.store.read() as tx:
        return await tx.leases.of_machine(vm.id)


async def test_wf_ssh_rotate(plane):
    vm = await create(plane, "a")
    first, second = await plane.use.ssh_endpoint("a"), await plane.use.ssh_endpoint("a")
    revoked = [identity.handle for identity in plane.provider.identities() if identity.revoked]
    assert revoked == [first.identity_handle] != [second.identity_handle]
    one, two = await ssh_leases(plane, vm)
    assert one.revoked_at is not None
    assert two.revoked_at is None


async def test_instead_of_wf_ssh_revoke_fails(plane):
    vm = await create(plane, "a")
    old = await plane.use.ssh_endpoint("a")
    plane.provider.fail_before("revoke_identity")
    new = await plane.use.ssh_endpoint("a")
    live = {identity.handle for identity in plane.provider.identities(live=True)}
    assert live == {old.identity_handle, new.identity_handle}
    lease, _ = await ssh_leases(plane, vm)
    assert (lease.revoked_at, lease.attempts, bool(lease.retry_at), bool(lease.last_error)) == (
        None,
        1,
        True,
        True,
    )


async def test_wf_lease_store_fails(plane, monkeypatch):
    await create(plane, "a")

    async def no_write(tx, lease, token):
        raise StoreError("The database went away.", hint="Try again.", code="store_connection_lost")

    monkeypatch.setattr(plane.control.leases, "keep_token", no_write)
    await fails("store_connection_lost", plane.use.ssh_endpoint("a"))
    assert len(plane.provider.identities()) == 1
    assert plane.provider.identities(live=True) == []
    await check_true(plane)


async def test_wf_attach_stable_rpc(plane):
    vm = await create(plane, "a")
    plane.provider.reuse_rpc_tokens()
    for _ in range(2):
        await plane.use.attach_endpoint("a", AttachOptions())
    assert sorted(lease.kind for lease in await ssh_leases(plane, vm)) == ["pty", "pty", "rpc"]


# --- whose it is


async def test_wf_isolation(plane):
    vm = await create(plane, "a")
    calls = len(plane.provider.calls())
    other = plane_of("you", plane)
    for machine in ("a", vm.id):
        for request in (
            other.use.attach_endpoint(machine, AttachOptions()),
            other.use.ssh_endpoint(machine),
            other.use.exec(machine, "true", timeout_s=5),
            other.use.pause(machine),
            other.use.resume(machine),
            other.use.snapshot(machine, None),
            other.use.fork(machine),
            other.get(machine),
            other.destroy(machine),
        ):
            error = await fails("vm_not_found", request)
            assert "a" not in (error.details.get("name"), error.details.get("owner"))
    assert len(plane.provider.calls()) == calls
    assert await other.page() == []


# --- the count


def test_every_row_of_the_base_line_is_a_test_or_a_difference_with_its_reason():
    tests = {
        name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_wf_")
    }
    assert (len(ROWS), len(DIFFERENCES), len(tests)) == (24, 7, 17)
    assert tests | DIFFERENCES.keys() == ROWS.keys()
    assert not tests & DIFFERENCES.keys()
    assert all(len(reason) > 12 for reason in DIFFERENCES.values())
    instead = {f"test_instead_of_{id_.replace('-', '_')}" for id_ in DIFFERENCES if "grant" not in id_}
    assert instead <= globals().keys()
