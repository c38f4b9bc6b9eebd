"""Machines outlive who made them, freeze wholly, and end when nobody is left."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.providers.drivers.local import copying, launcher, layout, processes
from jupyter_rmx.providers.drivers.local.layout import MachineDir, vm_id_of
from jupyter_rmx.providers.drivers.local.lock import locked
from jupyter_rmx.providers.drivers.local.records import machine_of

_CREATOR = """
import asyncio, sys
from pathlib import Path
from jupyter_rmx.settings import Settings
from jupyter_rmx.providers.base import ProviderSpec
from jupyter_rmx.providers.drivers.local import LocalProvider

async def main():
    provider = LocalProvider(Settings(owner="tester", data_dir=Path(sys.argv[1])))
    await provider.create(ProviderSpec("demo", "tester"), key=sys.argv[2])
    print("created", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def _record(house, vm):
    where = MachineDir(house.root, vm.provider_vm_id)
    return where, where.read()


def _members(house, vm):
    return processes.members(machine_of(*_record(house, vm)))


def _creator(house):
    return subprocess.Popen(
        [sys.executable, "-c", _CREATOR, str(house.folder), house.new_key()], stdout=subprocess.PIPE
    )


async def test_it_survives_sigkill_of_its_creator_and_is_adopted(house, method):
    creator = _creator(house)
    assert await asyncio.to_thread(creator.stdout.readline) == b"created\n"
    creator.kill()
    creator.communicate()
    (vm,) = await house.provider.list_owned("tester")
    assert (vm.key, vm.status) == (house.keys[0], "running")
    assert await house.sh(vm, "echo adopted") == "adopted"
    again = await house.provider.create(house.spec(), key=house.keys[0])
    assert again == vm


async def test_sigkill_of_the_creator_in_the_middle_loses_nothing(house, gated_bwrap, eventually):
    called, go = gated_bwrap
    creator = _creator(house)
    await eventually(called.exists, "the keeper launches")
    creator.kill()
    creator.communicate()
    second = asyncio.ensure_future(house.provider.create(house.spec(), key=house.keys[0]))
    await asyncio.sleep(0)
    go.touch()
    vm = await second
    assert vm.status == "running"
    assert await house.sh(vm, "echo works") == "works"
    assert len({p for p in house.processes().values() if b"keeper.py" in p}) == 1


async def test_a_cancelled_create_leaves_nothing(house, gated_bwrap, eventually):
    called, go = gated_bwrap
    task = asyncio.ensure_future(house.create())
    await eventually(called.exists, "the keeper launches")
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    go.touch()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert house.left() == []
    await eventually(lambda: not house.processes(), "all processes of it are gone")


async def test_kill_9_of_the_outer_bwrap_fools_nobody(house):
    vm = await house.create()
    _, record = _record(house, vm)
    outer = processes.look(record.init_pid).parent
    assert b"bwrap" in house.processes()[outer]
    os.kill(outer, signal.SIGKILL)
    assert await house.provider.status(vm.provider_vm_id) == "running"
    assert await house.sh(vm, "echo alive") == "alive"
    await house.provider.destroy(vm.provider_vm_id)
    assert house.processes() == {}


async def _kill(house, vm, eventually):
    """As a restart of the computer would: its first process is dead."""
    os.kill(_record(house, vm)[1].init_pid, signal.SIGKILL)

    async def stopped():
        return await house.provider.status(vm.provider_vm_id) == "stopped"

    await eventually(stopped, "status says stopped")


async def test_a_dead_machine_is_stopped_and_its_error_says_what_to_do(house, method, eventually):
    vm = await house.create()
    await _kill(house, vm, eventually)
    await eventually(lambda: not house.processes(), "its keeper ends what is left, and itself")
    for call in (house.provider.attach_endpoint, house.provider.pause):
        with pytest.raises(ProviderError, match="is stopped") as caught:
            await call(vm.provider_vm_id)
        assert caught.value.code == "vm_not_running"
        assert "%vm resume demo" in caught.value.hint
        assert "with its files" in caught.value.hint
    assert [one.status for one in await house.provider.list_owned("tester")] == ["stopped"]


async def test_a_stopped_machine_is_resumed_at_once_as_what_it_was(house, method, eventually):
    """At once: its keeper may still be ending what it takes for the machine's processes."""
    vm = await house.create("first")
    for n in range(3):
        await house.sh(vm, f"echo {n} >> file; sleep 300 >/dev/null 2>&1 &")
        await _kill(house, vm, eventually)
        other = house.new_provider()
        await asyncio.gather(house.provider.resume(vm.provider_vm_id), other.resume(vm.provider_vm_id))
        await other.aclose()
        assert await house.provider.list_owned("tester") == [vm]
        assert await house.sh(vm, "wc -l < file") == f"{n + 1}"
    assert len([line for line in house.processes().values() if b"keeper.py" in line]) == 1


async def test_the_end_of_a_dead_machine_is_not_that_of_another_one(house, strong_method, eventually):
    """The kernel gives the number of a dead namespace to the next one."""
    dead = await house.create("dead")
    await _kill(house, dead, eventually)
    await eventually(lambda: not house.processes(), "its keeper is gone too")
    where, record = _record(house, dead)
    lives = await house.create("lives")
    layout.write_record(where, record._replace(namespace=_record(house, lives)[1].namespace))
    await house.provider.destroy(dead.provider_vm_id)
    assert await house.provider.status(lives.provider_vm_id) == "running"
    assert await house.sh(lives, "echo alive") == "alive"


@pytest.mark.parametrize("call", ["resume", "create"])
async def test_a_cancelled_start_keeps_the_files_of_a_stopped_machine(house, eventually, gated_bwrap, call):
    called, go = gated_bwrap
    go.touch()
    vm = await house.create()
    await house.sh(vm, "echo kept > file")
    await _kill(house, vm, eventually)
    called.unlink()
    go.unlink()
    start = {
        "resume": lambda: house.provider.resume(vm.provider_vm_id),
        "create": lambda: house.provider.create(house.spec(), key=vm.key),
    }[call]
    task = asyncio.ensure_future(start())
    await eventually(called.exists, "the keeper launches")
    task.cancel()
    await asyncio.sleep(0.05)
    go.touch()
    with pytest.raises(asyncio.CancelledError):
        await task
    await house.provider.resume(vm.provider_vm_id)
    assert await house.sh(vm, "cat file") == "kept"


@pytest.mark.parametrize("call", ["resume", "create"])
async def test_a_start_that_was_cancelled_too_late_keeps_the_files(house, eventually, monkeypatch, call):
    """What only started again is not undone: to destroy it would take its home with it."""
    vm = await house.create()
    await house.sh(vm, "echo kept > file")
    await _kill(house, vm, eventually)
    serves, real = threading.Event(), launcher.launch

    def launch(config, lock_fd, cancel):
        failure = real(config, lock_fd, launcher.Cancel())
        serves.set()
        assert select.select([cancel], [], [], 60.0)[0]
        return failure

    monkeypatch.setattr(launcher, "launch", launch)
    if call == "resume":
        task = asyncio.ensure_future(house.provider.resume(vm.provider_vm_id))
    else:
        task = asyncio.ensure_future(house.provider.create(house.spec(), key=vm.key))
    await eventually(serves.is_set, "the machine serves")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await house.provider.list_owned("tester") == [vm]
    assert await house.sh(vm, "cat file") == "kept"


async def test_a_resume_that_waits_for_a_destroy_makes_nothing(house, eventually):
    vm = await house.create()
    await _kill(house, vm, eventually)
    with locked(MachineDir(house.root, vm.provider_vm_id).lock):
        resume = asyncio.ensure_future(house.provider.resume(vm.provider_vm_id))
        await asyncio.sleep(0.2)
        copying.remove_tree(house.root / vm.provider_vm_id)
    with pytest.raises(ProviderError) as caught:
        await resume
    assert caught.value.code == "vm_not_running"
    assert house.left() == []


async def test_a_snapshot_that_was_cut_off_is_taken_again_whole(house):
    vm = await house.create()
    await house.sh(vm, "echo one > file")
    half = house.root / "snapshots" / f".{layout.snapshot_id_of('snap_1')}.part" / "home"
    half.mkdir(parents=True)
    (half / "left").write_text("of a process that was killed in the middle")
    taken = await house.provider.snapshot(vm.provider_vm_id, key="snap_1")
    assert [path.name for path in (house.root / "snapshots").iterdir()] == [taken]
    assert [path.name for path in (house.root / "snapshots" / taken / "home").iterdir()] == ["file"]
    await house.provider.destroy(vm.provider_vm_id)
    assert await house.provider.snapshot(vm.provider_vm_id, key="snap_1") == taken
    with pytest.raises(ProviderError) as caught:
        await house.provider.snapshot(vm.provider_vm_id, key="snap_2")
    assert caught.value.code == "vm_not_running"


async def test_a_destroy_waits_for_the_snapshot_under_way(house, monkeypatch):
    vm = await house.create()
    await house.sh(vm, "echo one > file")
    order, loop = [], asyncio.get_running_loop()
    destroyed = []
    real = copying.copy_home

    def copy(source, target):
        destroyed.append(asyncio.run_coroutine_threadsafe(house.provider.destroy(vm.provider_vm_id), loop))
        time.sleep(0.3)
        order.append("copied")
        real(source, target)

    monkeypatch.setattr(copying, "copy_home", copy)
    taken = await house.provider.snapshot(vm.provider_vm_id, key="snap_1")
    await asyncio.wrap_future(destroyed[0])
    assert (house.root / "snapshots" / taken / "home" / "file").read_text() == "one\n"
    assert order == ["copied"]
    assert await house.provider.status(vm.provider_vm_id) == "gone"


async def test_it_can_be_destroyed_without_its_keeper(house, method):
    vm = await house.create()
    _, record = _record(house, vm)
    os.kill(record.keeper_pid, signal.SIGKILL)
    assert await house.provider.status(vm.provider_vm_id) == "running"
    await house.provider.destroy(vm.provider_vm_id)
    assert house.left() == []


@pytest.mark.parametrize("change", [{"init_pid": os.getpid()}, {"init_started": "0"}, {"namespace": 1}])
async def test_another_process_under_its_pid_is_never_taken_for_it(house, change):
    vm = await house.create()
    where, record = _record(house, vm)
    layout.write_record(where, record._replace(**change))
    assert await house.provider.status(vm.provider_vm_id) == "stopped"
    with pytest.raises(ProviderError):
        await house.provider.pause(vm.provider_vm_id)
    layout.write_record(where, record)
    assert await house.provider.status(vm.provider_vm_id) == "running"


@pytest.mark.parametrize("paused", [False, True])
async def test_a_machine_that_nobody_asks_for_ends_itself(house, method, eventually, paused):
    house.orphan_after_s, house.options = 0.3, {"check_every_s": 0.05}
    house.provider = house.new_provider()
    vm = await house.create()
    if paused:
        await house.provider.pause(vm.provider_vm_id)

    async def ended():
        return await house.provider.status(vm.provider_vm_id) == "stopped"

    await eventually(ended, "it ended itself")
    await eventually(lambda: not house.processes(), "with all of it")


async def test_a_heartbeat_keeps_it_and_an_old_file_time_alone_does_not_end_it(house, eventually):
    house.orphan_after_s, house.options = 1.0, {"check_every_s": 0.02}
    house.provider = house.new_provider()
    vm = await house.create()
    # As after a night in which the laptop slept: the file is old, but time did not run for the keeper.
    os.utime(house.root / "heartbeat", (1, 1))
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
        await house.provider.heartbeat()
    assert await house.provider.status(vm.provider_vm_id) == "running"

    async def ended():
        return await house.provider.status(vm.provider_vm_id) == "stopped"

    await eventually(ended, "without heartbeats it ends")


@pytest.mark.parametrize("looked_at", ["newest first", "oldest first"])
async def test_pause_freezes_a_fork_storm(house, method, monkeypatch, looked_at):
    """Every process starts its successor and ends: what one pass sees, the next one does not.

    Those that are looked at last are gone by then. Which are newest is a guess where pids have wrapped, or where
    /proc/loadavg is not the system's own; pause must not hang on it.
    """
    if looked_at == "oldest first":
        monkeypatch.setattr(processes, "newest_first", lambda pids, last: sorted(pids))
    vm = await house.create()
    hop = "echo x >> storm; sh ./hop &"
    start = "for n in 1 2 3 4 5 6; do setsid sh ./hop; done </dev/null >/dev/null 2>&1"
    await house.sh(vm, f"echo '{hop}' > hop; {start}; while ! [ -s storm ]; do sleep 0.02; done")
    await house.provider.pause(vm.provider_vm_id)
    frozen = _members(house, vm)
    size = (house.root / vm.provider_vm_id / "home" / "storm").stat().st_size
    assert len(frozen) >= 6
    assert {proc.state for proc in frozen} <= {"T", "D"}
    await asyncio.sleep(0.3)
    assert [proc.pid for proc in _members(house, vm)] == [proc.pid for proc in frozen]
    assert (house.root / vm.provider_vm_id / "home" / "storm").stat().st_size == size
    await house.provider.resume(vm.provider_vm_id)
    count = "wc -c < storm"
    assert int(await house.sh(vm, f"while [ $({count}) -le {size} ]; do sleep 0.02; done; {count}")) > size


async def test_pause_reaches_a_namespace_inside_the_machine(house):
    vm = await house.create()
    inner = (
        "unshare --user --map-root-user --pid --fork sh -c 'while :; do echo x >> ticks; sleep 0.01; done'"
    )
    await house.sh(
        vm, f"setsid {inner} </dev/null >/dev/null 2>&1 & while ! [ -s ticks ]; do sleep 0.02; done"
    )
    ticks = house.root / vm.provider_vm_id / "home" / "ticks"
    await house.provider.pause(vm.provider_vm_id)
    size = ticks.stat().st_size
    await asyncio.sleep(0.3)
    assert ticks.stat().st_size == size
    await house.provider.destroy(vm.provider_vm_id)
    assert house.processes() == {}


async def test_a_daemon_without_the_marker_is_ended_too(house, method):
    vm = await house.create()
    await house.sh(vm, "env -i setsid sh -c 'echo $$ > pid; while :; do sleep 0.05; done' </dev/null >/dev/null 2>&1 &"
        " while ! [ -s pid ]; do sleep 0.02; done")  # fmt: skip
    before = {proc.pid for proc in _members(house, vm)}
    await house.provider.destroy(vm.provider_vm_id)
    assert [pid for pid in before if processes.look(pid)] == []


async def test_its_paths_hold_the_key_of_the_id_only(house):
    assert vm_id_of("a/../b").startswith("local-") and "/" not in vm_id_of("a/../b")
    await house.provider.destroy("../../etc")
    assert await house.provider.status("../../etc") == "gone"
