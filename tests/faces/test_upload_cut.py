"""An upload that is cut, refused or wrong leaves nothing on the machine, and does not hold the server's memory."""

import asyncio
import os

import psutil
import pytest

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import ExecSpec, Output, VMSpec
from jupyter_rmx.testing.server import JupyterServer

MIB = 1024 * 1024
FAIL_SAFE_S = 60


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "jupyter"
    folder.mkdir()
    with JupyterServer(folder) as running:
        yield running


@pytest.fixture
def machines(server, jp_asyncio_loop):
    run = jp_asyncio_loop.run_until_complete
    made = HttpRemoteMachines(server.connection)
    run(made.create(VMSpec("demo"), key="k"))
    yield made
    run(made.destroy("demo"))
    run(made.aclose())


async def output(machines, command):
    session = await machines.exec("demo", ExecSpec(command))
    text = b"".join([event.data async for event in session if isinstance(event, Output)])
    await session.aclose()
    return text.decode()


async def raw_put(server, name, *, length):
    """A connection on which a PUT has begun."""
    connection = server.connection
    host, port = connection.url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = connection.url.split(f":{port}", 1)[1] + f"rmx/api/v1/machines/demo/files/{name}"
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: rmx {connection.key}\r\n{length}\r\n"
    )
    writer.write(head.encode())
    return reader, writer


async def test_a_sender_that_goes_away_leaves_nothing(server, machines):
    _, writer = await raw_put(server, "big", length=f"Content-Length: {20 * MIB}\r\n")
    writer.write(b"x" * MIB)
    await writer.drain()
    # The machine has begun to write: only then is there something that could be left.
    seen = "for i in $(seq 600); do ls -A | grep -q part && break; sleep 0.1; done; ls -A | grep -c part"
    assert await output(machines, seen) == "1\n"
    writer.close()
    gone = "for i in $(seq 600); do ls -A | grep -q part || break; sleep 0.1; done; ls -A"
    assert await output(machines, gone) == ""


async def test_a_body_of_unknown_length_is_refused_with_the_reason(server, machines):
    reader, writer = await raw_put(server, "big", length="Transfer-Encoding: chunked\r\n")
    answer = await asyncio.wait_for(reader.read(65536), FAIL_SAFE_S)
    assert answer.startswith(b"HTTP/1.1 411")
    assert b"usage_no_length" in answer
    writer.close()


@pytest.mark.parametrize(
    ("path", "code"),
    [("no/such/folder/a", "transfer_no_such_folder"), ("folder", "transfer_is_folder"), ("/proc/a", None)],
)
async def test_a_place_that_cannot_be_written_is_told_before_all_is_sent(machines, path, code):
    await output(machines, "mkdir -p folder")
    sent = 0

    async def endless():
        nonlocal sent
        for _ in range(64):
            sent += MIB
            yield b"x" * MIB

    with pytest.raises(RmxError) as caught:
        await machines.upload("demo", path, endless(), size=64 * MIB)
    assert code is None or caught.value.code == code
    assert caught.value.hint
    assert await output(machines, "ls -A; ls -A folder") == "folder\n"


async def test_a_large_file_is_not_held_in_memory(server, machines):
    size = 192 * MIB
    block = os.urandom(MIB)

    await output(machines, "true")
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    peak = 0

    async def blocks():
        nonlocal peak
        for _ in range(size // MIB):
            peak = max(peak, process.memory_info().rss)
            yield block

    result = await machines.upload("demo", "big", blocks(), size=size)
    assert (result.size, await output(machines, "stat -c %s big")) == (size, f"{size}\n")
    # A quarter of the file would show that it is held; what is seen is far below.
    assert peak - before < size // 4
