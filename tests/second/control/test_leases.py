"""Endpoints that were given out: their tokens, their ends, and what becomes of an end that fails."""

import asyncio
from datetime import timedelta

import pytest
from given import ManualClock, fails, plane_with_clock, until
from plane import check_true

from jupyter_rmx.control.leases import ERROR_LENGTH, RETRY, SSH_LEASE, SWEEP_BATCH, token_hash
from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import VMSpec
from jupyter_rmx.providers.base import AttachOptions


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def plane(tmp_path, clock, jp_asyncio_loop):
    made = plane_with_clock(tmp_path, clock)
    jp_asyncio_loop.run_until_complete(made.control.create(VMSpec("demo"), key="k"))
    yield made
    made.provider.behave()
    jp_asyncio_loop.run_until_complete(made.aclose())


async def leases(plane):
    (vm_id,) = await plane.rows()
    async with plane.store.read() as tx:
        return await tx.leases.of_machine(vm_id)


def live(plane):
    return [identity.key for identity in plane.provider.identities(live=True)]


async def test_of_a_token_only_its_hash_is_kept(plane, tmp_path):
    ssh = await plane.use.ssh_endpoint("demo")
    web = await plane.use.attach_endpoint("demo", AttachOptions())
    kept = {lease.token_hash for lease in await leases(plane)}
    tokens = (ssh.password, web.token, web.daemon.token)
    assert kept == {token_hash(token) for token in tokens}
    await plane.store.aclose()
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite3*"))
    assert not [token for token in tokens if token.encode() in stored]


async def test_what_was_given_out_ends_when_its_provider_says(plane, clock):
    web = await plane.use.attach_endpoint("demo", AttachOptions(session_id="s"))
    ends = {lease.kind: (lease.expires_at, lease.session_id, lease.identity) for lease in await leases(plane)}
    assert ends == {"pty": (web.expires_at, "s", False), "rpc": (web.daemon.expires_at, "s", False)}
    await plane.use.ssh_endpoint("demo")
    (lease,) = [lease for lease in await leases(plane) if lease.kind == "ssh"]
    assert (lease.expires_at, lease.identity) == (clock.now() + SSH_LEASE, True)


async def test_an_identity_that_expired_is_ended_by_the_sweep(plane, clock):
    await plane.use.ssh_endpoint("demo")
    clock.go_on(SSH_LEASE.total_seconds())
    assert (await plane.control.leases.sweep(), len(live(plane))) == (0, 1)
    clock.go_on(1)
    assert (await plane.control.leases.sweep(), live(plane)) == (1, [])
    assert await plane.control.leases.sweep() == 0
    await check_true(plane)


async def test_an_end_that_failed_is_written_down_and_tried_again(plane, clock):
    await plane.use.ssh_endpoint("demo")
    clock.go_on(1)
    plane.provider.fail_before("revoke_identity", ProviderError("N" * 1000, hint="Wait."), times=2)
    await plane.use.ssh_endpoint("demo")
    old, _new = await leases(plane)
    assert (old.attempts, len(old.last_error), old.retry_at) == (1, ERROR_LENGTH, clock.now() + RETRY)
    assert await plane.control.leases.sweep() == 0
    clock.go_on(RETRY.total_seconds() + 1)
    assert await plane.control.leases.sweep() == 1
    old, _new = await leases(plane)
    assert (old.attempts, old.revoked_at) == (2, None)
    clock.go_on(RETRY.total_seconds() + 1)
    await plane.control.leases.sweep()
    old, _new = await leases(plane)
    assert (old.retry_at, old.last_error, bool(old.revoked_at)) == (None, None, True)
    assert old.id not in live(plane)


async def test_an_end_that_failed_is_tried_again_also_after_the_machine_is_gone(plane, clock):
    await plane.use.ssh_endpoint("demo")
    clock.go_on(1)
    plane.provider.fail_before("revoke_identity")
    await plane.control.destroy("demo")
    assert len(live(plane)) == 1
    clock.go_on(RETRY.total_seconds() + 1)
    await plane.control.leases.sweep()
    assert live(plane) == []


@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_clock_that_jumped_delays_no_end(plane, clock, hours):
    await plane.use.ssh_endpoint("demo")
    clock.go_on(1)
    plane.provider.fail_before("revoke_identity")
    await plane.use.ssh_endpoint("demo")
    clock.set_back(hours=-hours)
    clock.go_on(1)
    await plane.control.leases.sweep()
    old, _new = await leases(plane)
    assert old.revoked_at is not None


async def test_a_sweep_takes_so_many_and_another_one_leaves_them_alone(plane, clock, tmp_path):
    for _ in range(SWEEP_BATCH + 3):
        plane.provider.fail_before("revoke_identity", times=None)
        await plane.use.ssh_endpoint("demo")
        plane.provider.behave()
        clock.go_on(1)
    clock.go_on(3600)
    plane.provider.hang("revoke_identity", times=None)
    first = asyncio.ensure_future(plane.control.leases.sweep())
    await until(lambda: plane.provider.held("revoke_identity"))
    other = plane_with_clock(tmp_path, clock)
    second = asyncio.ensure_future(other.control.leases.sweep())
    await until(lambda: plane.provider.held("revoke_identity") == 2)
    plane.provider.behave()
    assert await asyncio.gather(first, second) == [SWEEP_BATCH, 3]
    assert live(plane) == []
    await other.aclose()


async def test_everything_is_revoked_at_once_and_what_fails_is_counted(plane, clock):
    await plane.use.attach_endpoint("demo", AttachOptions())
    await plane.use.ssh_endpoint("demo")
    clock.go_on(1)
    plane.provider.fail_before("revoke_identity")
    assert await plane.control.leases.revoke_everything() == (2, 1)
    assert [lease.kind for lease in await leases(plane) if lease.revoked_at is None] == ["ssh"]
    assert await plane.control.leases.revoke_everything() == (1, 0)
    assert live(plane) == []


async def test_an_identity_that_came_when_its_machine_was_being_ended_is_ended_too(plane):
    plane.provider.hang("ssh_endpoint")
    plane.provider.hang("destroy")
    asked = asyncio.ensure_future(plane.use.ssh_endpoint("demo"))
    await until(lambda: plane.provider.held("ssh_endpoint"))
    ending = asyncio.ensure_future(plane.control.destroy("demo"))
    await until(lambda: plane.provider.held("destroy"))
    plane.provider.release("ssh_endpoint")
    await fails("vm_busy", asked)
    assert len(plane.provider.identities()) == 1
    assert live(plane) == []
    plane.provider.release()
    await ending
    await check_true(plane)


async def test_a_machine_that_is_gone_has_no_endpoints(plane):
    await plane.use.attach_endpoint("demo", AttachOptions())
    await plane.control.destroy("demo")
    assert all(lease.revoked_at for lease in await leases(plane))


async def test_one_token_for_two_machines_is_the_providers_fault_and_not_given_out(plane):
    first = await plane.use.attach_endpoint("demo", AttachOptions())
    await plane.control.create(VMSpec("other"))
    plane.provider.nonsense("attach_endpoint", replace={"token": first.token})
    error = await fails("vm_token_reused", plane.use.attach_endpoint("other", AttachOptions()))
    assert (error.status, first.token in str(error)) == (502, False)
    await check_true(plane)


async def test_leases_of_long_ago_are_forgotten_but_for_what_is_still_to_be_ended(plane, clock):
    await plane.use.attach_endpoint("demo", AttachOptions())
    await plane.use.ssh_endpoint("demo")
    clock.go_on(1)
    plane.provider.fail_before("revoke_identity", times=None)
    await plane.use.ssh_endpoint("demo")
    clock.go_on(timedelta(days=31).total_seconds())
    await plane.reconciler._prune()
    assert [lease.kind for lease in await leases(plane)] == ["ssh", "ssh"]
    assert len(live(plane)) == 2
