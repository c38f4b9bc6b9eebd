"""The list of workspaces, on both databases: one for each way to a host, one name for one machine, whoever is first."""

import asyncio

import pytest
from plane import OWNER, Plane

from jupyter_rmx.control.rename import rename
from jupyter_rmx.control.workspaces import MEMORY_S, Workspaces
from jupyter_rmx.errors import RmxError, UsageError, WorkflowError
from jupyter_rmx.models import SSHTarget, VMSpec, check_machine_name
from jupyter_rmx.models.names import MACHINE_NAME_MAX

HOME = "/home/me"
ROUNDS = 8


@pytest.fixture
def planes(tmp_path, store_url, jp_asyncio_loop):
    """Two servers on one store."""
    made = [Plane(tmp_path, url=store_url) for _ in range(2)]
    yield made
    for one in made:
        jp_asyncio_loop.run_until_complete(one.aclose())


@pytest.fixture
def lists(planes):
    return [Workspaces(plane.control.context, HOME) for plane in planes]


async def names(plane):
    """The names of all machines, as the rows have them."""
    async with plane.store.read() as tx:
        vms = [record.vm.name for record in await tx.machines.page(OWNER, limit=99)]
        return sorted(vms + [one.name for one in await tx.workspaces.page(OWNER, limit=99)])


async def test_what_survives_of_a_target_decides_whether_it_is_the_same(lists):
    target = SSHTarget(
        "me@gpu01", identity_files=("~/.ssh/id",), options=("ControlPath=/tmp/x", "ServerAliveInterval=5")
    )
    kept = SSHTarget("me@gpu01", identity_files=(f"{HOME}/.ssh/id",), options=("ServerAliveInterval=5",))
    first = await lists[0].attach(target)
    assert (first.name, first.target) == ("gpu01", kept)
    assert await lists[1].attach(kept) == first
    assert (await lists[1].attach(SSHTarget("me@gpu01", 22))).name == "gpu01-2"
    assert (await lists[0].attach(target, startup="fish")).startup == "fish"
    assert (await lists[1].attach(target)).startup == "fish"
    assert (await lists[1].attach(target, startup="")).startup is None


async def test_names_are_made_until_one_is_free_and_fit_the_grammar(planes, lists):
    host = "a" * MACHINE_NAME_MAX
    await planes[0].control.create(VMSpec(host))
    found = [(await lists[0].attach(SSHTarget(f"u{n}@{host}.lab"))).name for n in range(11)]
    assert len({check_machine_name(name) for name in found} | {host}) == 12
    assert {len(name) for name in found} == {MACHINE_NAME_MAX}


async def test_of_a_vm_and_a_workspace_that_want_one_name_one_gets_it(planes, lists):
    for number in range(ROUNDS):
        name = f"same-{number}"
        tried = await asyncio.gather(
            planes[0].control.create(VMSpec(name)),
            lists[1].attach(SSHTarget(f"host-{number}"), name=name),
            return_exceptions=True,
        )
        lost = [error for error in tried if isinstance(error, BaseException)]
        assert [error.code for error in lost if isinstance(error, RmxError)] == ["vm_name_taken"]
        assert (await names(planes[0])).count(name) == 1


async def test_of_a_vm_and_a_workspace_that_are_renamed_alike_one_is(planes, lists):
    vm = await planes[0].control.create(VMSpec("vm"))
    host = await lists[0].attach(SSHTarget("host"))
    for number in range(ROUNDS):
        name = f"same-{number}"
        await asyncio.gather(
            rename(planes[0].control, vm.id, name), lists[1].rename(host, name), return_exceptions=True
        )
        assert (await names(planes[1])).count(name) == 1


async def test_many_that_attach_one_host_on_two_servers_make_one_row(planes, lists):
    found = await asyncio.gather(*(one.attach(SSHTarget("me@gpu01")) for one in lists * 10))
    assert len({one.id for one in found}) == 1
    assert await names(planes[0]) == ["gpu01"]


class Hand:
    """A clock that is moved by hand."""

    def __init__(self, clock):
        self._clock = clock
        self.moved = 0.0

    def now(self):
        return self._clock.now()

    def monotonic(self):
        return self.moved


async def test_what_another_server_did_is_seen_after_the_memory_and_ones_own_at_once(tmp_path, store_url):
    from jupyter_rmx.clock import SystemClock

    clock = Hand(SystemClock())
    here, there = Plane(tmp_path, url=store_url, clock=clock), Plane(tmp_path, url=store_url)
    mine, theirs = (Workspaces(plane.control.context, HOME) for plane in (here, there))
    made = await mine.attach(SSHTarget("gpu01"))
    assert await mine.find("gpu01") == await theirs.find(made.id) == made
    renamed = await theirs.rename(made, "big")
    assert (await mine.find("big"), await mine.find("gpu01")) == (renamed, made)
    clock.moved += MEMORY_S
    assert await mine.find("gpu01") is None
    assert await mine.forget(renamed)
    assert await mine.find("big") is None
    assert not await theirs.forget(renamed)
    for plane in (here, there):
        await plane.aclose()


async def test_wrong_wishes_change_nothing(planes, lists):
    host = await lists[0].attach(SSHTarget("gpu01"))
    for call, kind, code in (
        (lists[0].attach(SSHTarget("a"), name="no name"), UsageError, "usage_bad_name"),
        (lists[0].attach(SSHTarget("a"), startup="a\nb"), UsageError, "usage_bad_startup"),
        (lists[0].attach(SSHTarget("a"), name="gpu01"), WorkflowError, "vm_name_taken"),
        (lists[0].attach(SSHTarget("gpu01"), name="other"), WorkflowError, "ssh_has_a_name"),
        (lists[0].rename(host, "NO"), UsageError, "usage_bad_name"),
    ):
        with pytest.raises(kind) as caught:
            await call
        assert caught.value.code == code
    assert await lists[0].rename(host, "gpu01") == host
    await lists[1].forget(host)
    with pytest.raises(WorkflowError) as gone:
        await lists[0].rename(host, "other")
    assert gone.value.code == "vm_not_found"
    assert await names(planes[0]) == []
