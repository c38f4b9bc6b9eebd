"""Requests for the kill test: how the world is before, what is asked for, and what holds when it is asked for again."""

from dataclasses import dataclass, field
from typing import Any

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import VMSpec
from jupyter_rmx.providers.base import AttachOptions


@dataclass(frozen=True)
class Scene:
    """`prepare` makes the world, `request` is killed, `check` looks after recovery, `again` is the user's next try."""

    request: Any
    prepare: Any = None
    check: Any = None
    again: Any = None
    options: dict = field(default_factory=dict)


def quietly(request):
    async def quiet(plane):
        try:
            await request(plane)
        except RmxError:
            pass

    return quiet


async def create(plane):
    return await plane.control.create(VMSpec("demo"), key="k")


async def destroy(plane):
    await plane.control.destroy("demo")


async def pause(plane):
    await plane.use.pause("demo")


async def resume(plane):
    await plane.use.resume("demo")


async def execute(plane):
    return await plane.use.exec("demo", "true", timeout_s=30)


async def attach(plane):
    return await plane.use.attach_endpoint("demo", AttachOptions())


async def ssh(plane):
    return await plane.use.ssh_endpoint("demo")


async def snapshot(plane):
    return await plane.use.snapshot("demo", "before")


async def restore(plane):
    (kept,) = await plane.use.snapshots()
    return await plane.use.restore(kept.id, name="copy", key="k2")


async def fork(plane):
    return await plane.use.fork("demo", name="copy", key="k2")


# --- how the world is before


async def paused(plane):
    await create(plane)
    await pause(plane)


async def with_identity(plane):
    await create(plane)
    await ssh(plane)


async def with_snapshot(plane):
    await create(plane)
    await snapshot(plane)


def then(prepare, spoil):
    """After `prepare`, the provider has a vice."""

    async def both(plane):
        if prepare is not None:
            await prepare(plane)
        spoil(plane.provider)

    return both


def loses(method):
    return lambda provider: provider.lost_answer(method)


def refuses(method):
    return lambda provider: provider.fail_before(method)


# --- what must hold after the next process's first round, and after the user's next try


async def one_demo(plane):
    (vm,) = await plane.control.page()
    assert (vm.name, vm.status) == ("demo", "running")
    assert len(plane.provider.machines()) == 1


async def nothing_was_begun(plane):
    assert len(plane.provider.calls("create")) <= 1, "a recovery begins nothing that costs"


async def no_copy_was_begun(plane):
    assert len(plane.provider.calls("create")) <= 2, "a recovery begins nothing that costs"


async def create_one(plane):
    await create(plane)
    await one_demo(plane)


async def destroy_it(plane):
    if await plane.control.page():
        await destroy(plane)
    assert (await plane.control.page(), plane.provider.machines()) == ([], [])


async def resumed_once(plane):
    await resume(plane)
    await one_demo(plane)
    # Killed after the provider resumed it, or before: one effect in the end, whoever had it.
    assert len(plane.provider.calls("resume", committed=True)) == 1


async def paused_again(plane):
    await pause(plane)
    (vm,) = await plane.control.page()
    assert vm.status == "paused"


async def ran_once_at_most(plane):
    assert len(plane.provider.calls("exec", committed=True)) <= 1


async def execute_again(plane):
    assert (await execute(plane)).exit_code == 0


async def no_identity_but_the_old_one(plane):
    # Killed before the answer: the old identity still works, the new one is ended or has its lease.
    async with plane.store.read() as tx:
        (row,) = (await plane.rows()).values()
        leases = await tx.leases.identities(row.vm.id)
    assert {identity.key for identity in plane.provider.identities(live=True)} <= {
        lease.id for lease in leases
    }


async def one_identity(plane):
    await ssh(plane)
    assert len(plane.provider.identities(live=True)) == 1


async def one_snapshot(plane):
    snapshots = await plane.use.snapshots()
    assert len(snapshots) == len(plane.provider.snapshots()) == 1


async def one_copy(plane):
    kind = restore if await plane.use.snapshots() and "fork" in plane.provider.capabilities else fork
    await kind(plane)
    names = sorted(vm.name for vm in await plane.control.page())
    assert names == ["copy", "demo"] == sorted(machine.name for machine in plane.provider.machines())


async def attach_again(plane):
    await attach(plane)


WITHOUT_FORK = {"without": ["fork"]}
BY_SSH = {"attach": "ssh"}

SCENES = {
    "create": Scene(create, check=nothing_was_begun, again=create_one),
    "create-free": Scene(create, again=create_one, options={"paid": False}),
    "create-fails": Scene(quietly(create), then(None, loses("create")), again=create_one),
    "destroy": Scene(destroy, create, again=destroy_it),
    "destroy-with-identity": Scene(destroy, with_identity, again=destroy_it),
    "destroy-paused": Scene(destroy, paused, again=destroy_it),
    "destroy-fails": Scene(quietly(destroy), then(create, refuses("destroy")), again=destroy_it),
    "pause": Scene(pause, create, again=paused_again),
    "pause-fails": Scene(quietly(pause), then(create, refuses("pause")), again=paused_again),
    "pause-answer-lost": Scene(quietly(pause), then(create, loses("pause")), again=paused_again),
    "resume": Scene(resume, paused, again=resumed_once),
    "resume-fails": Scene(quietly(resume), then(paused, refuses("resume")), again=resumed_once),
    "resume-answer-lost": Scene(quietly(resume), then(paused, loses("resume")), again=resumed_once),
    "exec": Scene(execute, create, check=ran_once_at_most, again=execute_again),
    "exec-paused": Scene(execute, paused, check=ran_once_at_most, again=execute_again),
    "exec-fails": Scene(quietly(execute), then(create, loses("exec")), ran_once_at_most, execute_again),
    "attach": Scene(attach, create, again=attach_again),
    "attach-ssh": Scene(attach, with_identity, again=one_identity, options=BY_SSH),
    "attach-fails": Scene(quietly(attach), then(create, loses("attach_endpoint")), again=attach_again),
    "attach-ssh-fails": Scene(
        quietly(attach), then(with_identity, loses("attach_endpoint")), again=one_identity, options=BY_SSH
    ),
    "ssh": Scene(ssh, create, check=no_identity_but_the_old_one, again=one_identity),
    "ssh-again": Scene(ssh, with_identity, check=no_identity_but_the_old_one, again=one_identity),
    "ssh-fails": Scene(
        quietly(ssh), then(with_identity, loses("ssh_endpoint")), no_identity_but_the_old_one, one_identity
    ),
    "snapshot": Scene(snapshot, create, again=snapshot),
    "snapshot-fails": Scene(quietly(snapshot), then(create, loses("snapshot")), again=snapshot),
    "restore": Scene(restore, with_snapshot, again=one_copy),
    "restore-fails": Scene(quietly(restore), then(with_snapshot, loses("create")), again=one_copy),
    "fork": Scene(fork, create, again=one_copy),
    "fork-fails": Scene(quietly(fork), then(create, loses("fork")), again=one_copy),
    "fork-by-snapshot": Scene(fork, create, check=no_copy_was_begun, again=one_copy, options=WITHOUT_FORK),
    "fork-by-snapshot-fails": Scene(
        quietly(fork), then(create, loses("create")), again=one_copy, options=WITHOUT_FORK
    ),
}
