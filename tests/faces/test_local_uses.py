"""What is done with real embedded machines over REST: commands to their end, pause and resume, copies, one of many wishes."""

import asyncio
import os
import signal
import sqlite3

import pytest

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.errors import ProviderError, UsageError
from jupyter_rmx.models import ExecSpec, Exit, Output, SSHEndpoint, VMSpec
from jupyter_rmx.testing.server import JupyterServer
from tests.faces.test_survival import destroy_all, fail_safe, run


@pytest.fixture
def server(tmp_path, jp_asyncio_loop):
    from jupyter_rmx.settings import Settings

    folder = tmp_path / "jupyter"
    folder.mkdir()
    with JupyterServer(folder) as running:
        yield running
    jp_asyncio_loop.run_until_complete(destroy_all(Settings(data_dir=folder / "data")))


@pytest.fixture
def machines(server, jp_asyncio_loop):
    client = HttpRemoteMachines(server.connection)
    yield client
    jp_asyncio_loop.run_until_complete(client.aclose())


def audit(server, type_):
    with sqlite3.connect(server.data_dir / "store.sqlite3") as db:
        return [row[0] for row in db.execute("SELECT data FROM events WHERE type = ? ORDER BY id", (type_,))]


async def test_a_command_runs_to_its_end_where_the_provider_has_no_exec(server, machines):
    await machines.create(VMSpec("demo"))
    done = await machines.exec_buffered("demo", "echo out; echo err >&2; exit 7")
    assert (done.exit_code, done.stdout, done.stderr, done.truncated) == (7, "out\n", "err\n", False)
    assert (await machines.exec_buffered("demo", "kill -TERM $$")).exit_code == 128 + signal.SIGTERM
    long = await machines.exec_buffered("demo", "head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert (long.truncated, len(long.stdout), long.stderr) == (True, 8 * 1024 * 1024, "end\n")
    with pytest.raises(ProviderError) as caught:
        await machines.exec_buffered("demo", "trap '' HUP TERM; sleep 4321 & sleep 4321", timeout_s=0.5)
    assert (caught.value.code, caught.value.status) == ("vm_exec_timeout", 504)
    async with fail_safe():
        while (await run(machines, "demo", "ps -eo args | grep -c '[s]leep 4321'"))[0] != "0\n":
            await asyncio.sleep(0.05)
    assert len(audit(server, "vm.exec")) >= 3


async def test_use_resumes_a_paused_machine_once_and_its_processes_go_on(server, machines):
    vm = await machines.create(VMSpec("demo"))
    await run(machines, "demo", "nohup sleep 1000 >/dev/null 2>&1 & echo $! > pid")
    assert (await machines.pause("demo")).status == "paused"
    assert (await machines.create(VMSpec("demo"))).status == "paused"
    got = await asyncio.gather(*(run(machines, "demo", "kill -0 $(cat pid) && echo alive") for _ in range(8)))
    assert got == [("alive\n", Exit(0))] * 8
    assert len(audit(server, "vm.resumed")) == 1
    await machines.pause("demo")
    await machines.open_port("demo", 8000)
    assert (await machines.get("demo")).status == "running"
    await machines.pause("demo")

    async def body():
        yield b"x"

    await machines.upload("demo", "f", body(), size=1)
    assert (await machines.get("demo")).id == vm.id
    endpoint = await machines.attach_endpoint("demo")
    assert isinstance(endpoint, SSHEndpoint) and endpoint.unix_path and os.path.exists(endpoint.unix_path)


async def test_a_streamed_command_is_written_down_as_use(server, machines):
    await machines.create(VMSpec("demo"))
    session = await machines.exec("demo", ExecSpec("echo hi; exit 3"))
    events = [event async for event in session]
    await session.aclose()
    assert events == [Output("stdout", b"hi\n"), Exit(3)]
    async with fail_safe():
        while not (told := audit(server, "vm.exec")):
            await asyncio.sleep(0.02)
    (data,) = told
    assert '"exit_code": 3' in data and '"streamed": true' in data and "echo" not in data


async def test_a_streamed_command_has_only_so_much_time(server, machines):
    await machines.create(VMSpec("demo"))
    session = await machines.exec("demo", ExecSpec("echo hi; sleep 600", timeout_s=0.5))
    events = []
    with pytest.raises(ProviderError) as caught:
        async for event in session:
            events.append(event)  # noqa: PERF401 - what came before the error counts
    await session.aclose()
    assert (events, caught.value.code) == ([Output("stdout", b"hi\n")], "vm_exec_timeout")
    assert (await run(machines, "demo", "pgrep -c sleep"))[0] == "0\n"
    with pytest.raises(UsageError) as refused:
        async for _ in await machines.exec("demo", ExecSpec("true", timeout_s=-1)):
            pass
    assert refused.value.code == "usage_bad_timeout"


async def test_thirty_wishes_at_once_are_one_machine(server, machines):
    made = await asyncio.gather(*(machines.create(VMSpec("demo"), key="k") for _ in range(30)))
    assert len({vm.id for vm in made}) == 1
    assert [vm.id for vm in await machines.list()] == [made[0].id]


async def test_a_copy_has_the_files(server, machines):
    await machines.create(VMSpec("demo"))
    await run(machines, "demo", "echo one > note")
    kept = await machines.snapshot("demo", "first")
    await run(machines, "demo", "echo two > note")
    assert [one.id for one in await machines.snapshots()] == [kept.id]
    again = await machines.restore(kept.id, name="again", key="r")
    assert (await run(machines, again.name, "cat note"))[0] == "one\n"
    copy = await machines.fork("demo", name="copy", key="f")
    assert (await run(machines, copy.name, "cat note"))[0] == "two\n"
    renamed = await machines.rename("copy", "trial")
    assert (renamed.id, (await run(machines, "trial", "cat note"))[0]) == (copy.id, "two\n")
