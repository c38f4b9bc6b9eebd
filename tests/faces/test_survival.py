"""Machines outlive the server that made them, and leave nothing behind when they are destroyed.

Real Jupyter servers in processes of their own, over HTTP.
"""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from pathlib import Path

import psutil
import pytest

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import ExecSpec, Exit, Output, VMSpec
from jupyter_rmx.providers.drivers.local import LocalProvider
from jupyter_rmx.settings import Settings
from jupyter_rmx.testing.server import JupyterServer

MANY, AT_ONCE = 50, 8


@pytest.fixture
def folder(tmp_path, jp_asyncio_loop):
    """Folder of the servers; a test that fails leaves no machine either."""
    made = tmp_path / "jupyter"
    made.mkdir()
    yield made
    jp_asyncio_loop.run_until_complete(destroy_all(Settings(data_dir=made / "data")))


async def destroy_all(settings):
    provider = LocalProvider(settings)
    for vm in await provider.list_owned(settings.owner):
        await provider.destroy(vm.provider_vm_id)
    await provider.aclose()


@contextlib.asynccontextmanager
async def fail_safe(seconds=60):
    """Ends a wait that would never end; nothing is measured by it."""
    watch = asyncio.get_running_loop().call_later(seconds, asyncio.current_task().cancel)
    try:
        yield
    finally:
        watch.cancel()


async def run(machines, name, command):
    """Standard output and exit of a command."""
    session = await machines.exec(name, ExecSpec(command))
    try:
        events = [event async for event in session]
    finally:
        await session.aclose()
    output = b"".join(
        event.data for event in events if isinstance(event, Output) and event.stream == "stdout"
    )
    assert isinstance(events[-1], Exit)
    return output.decode(), events[-1]


async def test_a_machine_outlives_a_killed_server_and_is_adopted(folder):
    with JupyterServer(folder) as first:
        machines = HttpRemoteMachines(first.connection)
        vm = await machines.create(VMSpec("demo"), key="k")
        started = "echo kept > note; nohup sleep 1000 >/dev/null 2>&1 & echo $!"
        pid = (await run(machines, "demo", started))[0].strip()
        await machines.aclose()
        first.kill()
    with JupyterServer(folder) as second:
        machines = HttpRemoteMachines(second.connection)
        assert await machines.list() == [vm]
        assert await run(machines, "demo", f"cat note; kill -0 {pid} && echo alive") == (
            "kept\nalive\n",
            Exit(0),
        )
        assert (await machines.create(VMSpec("demo"), key="k")).id == vm.id
        await machines.destroy("demo")
        assert await machines.list() == []
        await machines.aclose()


async def test_a_machine_is_found_again_when_the_list_is_lost(folder):
    with JupyterServer(folder) as first:
        machines = HttpRemoteMachines(first.connection)
        vm = await machines.create(VMSpec("demo"), key="k")
        await machines.aclose()
        first.kill()
    for file in (folder / "data").glob("store.sqlite3*"):
        file.unlink()
    with JupyterServer(folder) as second:
        machines = HttpRemoteMachines(second.connection)
        (found,) = await machines.list()
        assert (found.id, found.name, found.status) == (vm.id, "demo", "running")
        await machines.destroy("demo")
        await machines.aclose()


async def test_a_machine_that_ended_by_itself_is_started_again_with_its_files(folder):
    with JupyterServer(folder) as server:
        machines = HttpRemoteMachines(server.connection)
        vm = await machines.create(VMSpec("demo"), key="k")
        await run(machines, "demo", "echo kept > note")
        # As after a restart of the computer: the processes are gone, the files are there.
        record = json.loads((folder / "data" / "local" / vm.provider_vm_id / "machine.json").read_text())
        os.kill(record["init_pid"], signal.SIGKILL)
        async with fail_safe():
            while (seen := await machines.get("demo")).status != "paused":
                await asyncio.sleep(0.01)
        assert (seen.id, seen.reason_code) == (vm.id, "vm_stopped")
        assert "stopped" in seen.reason
        assert await run(machines, "demo", "cat note") == ("kept\n", Exit(0))
        await machines.destroy("demo")
        assert processes_of(folder / "data" / "local") == []
        await machines.aclose()


async def test_two_servers_share_the_machines_of_their_user(folder):
    with JupyterServer(folder) as first, JupyterServer(folder) as second:
        one, two = HttpRemoteMachines(first.connection), HttpRemoteMachines(second.connection)
        made = await asyncio.gather(
            *(machines.create(VMSpec("demo"), key="k") for machines in (one, two) for _ in range(3)),
            return_exceptions=True,
        )
        assert all(getattr(vm, "retryable", True) for vm in made), made
        (vm,) = await two.list()
        assert {found.id for found in made if not isinstance(found, RmxError)} == {vm.id}
        assert (await run(one, "demo", "hostname"))[0] == (await run(two, "demo", "hostname"))[0] == "demo\n"
        await two.destroy("demo")
        assert await one.list() == []
        await one.aclose()
        await two.aclose()


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes that carry this test's folder in their environment or command line."""
    marker, found = str(folder), []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if marker in words or marker in "\0".join(process.environ().values()):
                found.append(words)
        except psutil.Error:
            continue
    return found


def open_sockets(pid: int) -> int:
    """How many Unix sockets a process holds."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


async def test_fifty_machines_eight_at_a_time_leave_nothing(folder):
    with JupyterServer(folder) as server:
        machines = HttpRemoteMachines(server.connection)
        assert await machines.list() == []
        before = processes_of(folder)
        gate = asyncio.Semaphore(AT_ONCE)

        async def live(number: int) -> str:
            async with gate:
                vm = await machines.create(VMSpec(f"m-{number}"), key=f"k-{number}")
                await run(machines, vm.name, "setsid sleep 1000 >/dev/null 2>&1 & echo x > file; mkfifo pipe")
                assert (folder / "data" / "local").is_dir()
                await machines.destroy(vm.name)
                return vm.id

        ids = await asyncio.gather(*(live(number) for number in range(MANY)))
        assert len(set(ids)) == MANY
        assert await machines.list() == []
        await machines.aclose()
        # Not equal: what the server ran for a moment while it started (a library's search for another) may be gone.
        assert [words for words in processes_of(folder) if words not in before] == []
        # What is left of the sockets: the listener, kept HTTP connections, the loop's own pairs; none per machine.
        assert open_sockets(server.pid) < MANY
        with sqlite3.connect(folder / "data" / "store.sqlite3") as connection:
            live = "SELECT count(*) FROM vms WHERE status NOT IN ('destroyed', 'failed')"
            assert connection.execute(live).fetchone() == (0,)
    left = [
        path
        for path in (folder / "data" / "local").rglob("*")
        if path.name != "heartbeat" and not path.is_dir()
    ]
    assert left == []
    assert not [
        path for path in (folder / "data" / "local").rglob("*") if any(vm_id in path.name for vm_id in ids)
    ]
    assert processes_of(folder) == []
