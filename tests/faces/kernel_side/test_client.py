"""The HTTP twin against a real server."""

import asyncio
import dataclasses
import datetime
import os
import signal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jupyter_rmx import client_exec
from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.errors import RmxError, TransferError, TransportError, UsageError, WorkflowError
from jupyter_rmx.models import ExecSpec, Exit, Output, VMSpec


@pytest.fixture
def client(server, demo, jp_asyncio_loop):
    made = HttpRemoteMachines(server.connection)
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


async def output(session):
    """All of a command's stdout, and its exit."""
    data, end = b"", None
    async for event in session:
        if isinstance(event, Output):
            data += event.data if event.stream == "stdout" else b""
        else:
            end = event
    await session.aclose()
    return data, end


async def sh(client, command, **fields):
    return await output(await client.exec("demo", ExecSpec(command, **fields)))


async def test_machines_come_and_go(client):
    made = await client.create(VMSpec("client-made"), key="k1")
    assert made.status == "running"
    assert await client.create(VMSpec("client-made"), key="k2") == made
    assert (await client.get("client-made")).id == (await client.get(made.id)).id == made.id
    assert made.id in [vm.id for vm in await client.list()]
    await client.destroy("client-made")
    with pytest.raises(WorkflowError) as caught:
        await client.get("client-made")
    assert caught.value.code == "vm_not_found" and caught.value.status == 404


async def test_a_command_has_its_environment_folder_and_input(client):
    assert await sh(client, "echo $A; pwd; exit 4", env={"A": "b c"}, cwd="/tmp") == (
        b"b c\n/tmp\n",
        Exit(code=4),
    )
    assert await sh(client, "kill -TERM $$") == (b"", Exit(signal="TERM"))
    session = await client.exec("demo", ExecSpec("sha256sum; wc -c", stdin_open=True))
    await session.write(b"")
    await session.write_eof()
    assert (await output(session))[1] == Exit(code=0)


@pytest.mark.parametrize("size", [1, 65536, 140_000, 1_000_000])
async def test_all_of_the_input_arrives(client, size):
    for _ in range(5):
        session = await client.exec("demo", ExecSpec("wc -c", stdin_open=True))
        reading = asyncio.ensure_future(output(session))
        await session.write(b"x" * size)
        await session.write_eof()
        assert int((await reading)[0]) == size


async def test_a_signal_is_answered_and_reaches_the_group(client):
    session = await client.exec("demo", ExecSpec("echo ready; sleep 1000 | cat"))
    events = session.__aiter__()
    assert await events.__anext__() == Output("stdout", b"ready\n")
    reading = asyncio.ensure_future(events.__anext__())
    await session.signal("INT")
    end = await reading
    assert isinstance(end, Exit) and not end.ok
    await session.aclose()


async def test_a_consumer_that_waits_is_not_a_dead_link(client, monkeypatch):
    """The link is idle for far longer than it may be silent, because we do not read."""
    monkeypatch.setattr(client_exec, "QUIET_S", 0.05)
    monkeypatch.setattr(client_exec, "PONG_S", 0.05)
    session = await client.exec("demo", ExecSpec("head -c 30000000 /dev/zero"))
    events = session.__aiter__()
    total = len((await events.__anext__()).data)
    await asyncio.sleep(1)
    async for event in events:
        total += len(event.data) if isinstance(event, Output) else 0
    assert total == 30_000_000
    await session.aclose()


async def test_a_silent_command_is_not_a_dead_link(client, monkeypatch):
    monkeypatch.setattr(client_exec, "QUIET_S", 0.05)
    assert await sh(client, "sleep 1; echo done") == (b"done\n", Exit(code=0))


async def test_a_server_that_hangs_is_noticed_while_waiting(start_server, monkeypatch):
    server = start_server()
    client = HttpRemoteMachines(server.connection)
    await client.create(VMSpec("demo"), key="k")
    session = await client.exec("demo", ExecSpec("sleep 1000"))
    monkeypatch.setattr(client_exec, "QUIET_S", 0.2)
    monkeypatch.setattr(client_exec, "PONG_S", 0.2)
    os.kill(server.process.pid, signal.SIGSTOP)
    with pytest.raises(TransportError) as caught:
        await output(session)
    os.kill(server.process.pid, signal.SIGCONT)
    assert caught.value.code == "ssh_server_gone"
    await session.aclose()
    await client.aclose()


async def test_errors_of_a_command_come_as_themselves(client):
    with pytest.raises(WorkflowError) as caught:
        await client.exec("nope", ExecSpec("ls"))
    assert caught.value.code == "vm_not_found"
    with pytest.raises(UsageError) as refused:
        await client.exec("demo", ExecSpec(" "))
    assert refused.value.code == "usage_bad_command"
    with pytest.raises(UsageError) as bad_name:
        await client.exec("../vms", ExecSpec("ls"))
    assert bad_name.value.code == "usage_bad_name"


async def chunks(*parts):
    for part in parts:
        yield part


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "ü#?&;+", "'quoted'", "/tmp/absolute name"])
async def test_a_file_keeps_its_name(client, name):
    result = await client.upload("demo", name, chunks(b"ab", b"c"), size=3, mode=0o640, mtime=1234567890.0)
    assert result.size == 3
    quoted = "'" + name.replace("'", "'\\''") + "'"
    data, _ = await sh(client, f"cat {quoted}; stat -c ' %a %Y' {quoted}; rm {quoted}")
    assert data == b"abc 640 1234567890\n"


@pytest.mark.parametrize("parts", [(b"ab",), (b"abcd",), (b"abc", b"d")])
async def test_a_file_that_changes_while_it_is_sent_leaves_nothing(client, parts):
    with pytest.raises(TransferError) as caught:
        await client.upload("demo", "changing", chunks(*parts), size=3)
    assert caught.value.code == "transfer_size_mismatch"
    gone = "for i in $(seq 300); do ls -A | grep -q changing || exit 0; sleep 0.1; done; exit 1"
    assert (await sh(client, gone))[1] == Exit(code=0)


async def test_errors_of_a_file_come_as_themselves(client):
    with pytest.raises(TransferError) as caught:
        await client.upload("demo", "no/such/folder", chunks(b"x" * 3_000_000), size=3_000_000)
    assert caught.value.code == "transfer_no_such_folder" and caught.value.hint


async def test_a_port_gives_a_link(client, demo):
    link = await client.open_port("demo", 8000, path="/a?b=c")
    assert (link.machine, link.machine_id, link.port) == ("demo", demo.id, 8000)
    assert link.url.endswith("/a?b=c") and f"p8000.{demo.label}.localhost" in link.url
    assert "ticket" not in repr(link)


async def test_a_server_that_is_not_there(server):
    gone = HttpRemoteMachines(dataclasses.replace(server.connection, url="http://127.0.0.1:1/"))
    for work in (gone.list(), gone.exec("demo", ExecSpec("ls"))):
        with pytest.raises(TransportError) as caught:
            await work
        assert caught.value.code == "ssh_server_gone" and caught.value.hint
    await gone.aclose()


async def test_a_wrong_key_says_what_to_do(server):
    stranger = HttpRemoteMachines(dataclasses.replace(server.connection, key="wrong"))
    for work in (stranger.list(), stranger.exec("demo", ExecSpec("ls"))):
        with pytest.raises(TransportError) as caught:
            await work
        assert caught.value.code == "ssh_key_refused" and "Restart the kernel" in caught.value.hint
    await stranger.aclose()


async def test_another_application_at_that_address_is_told(server):
    other = HttpRemoteMachines(dataclasses.replace(server.connection, url=f"{server.connection.url}api/"))
    with pytest.raises(RmxError) as caught:
        await other.list()
    assert caught.value.code == "internal_bad_answer"
    await other.aclose()


def certificate(folder, name):
    """A certificate that signs itself, for a name that no one here has."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return cert_file, key_file


async def test_a_server_with_tls_is_known_by_its_own_certificate(start_server, tmp_path):
    cert, key = certificate(tmp_path, "jupyter.example")
    server = start_server(options=[f"--ServerApp.certfile={cert}", f"--ServerApp.keyfile={key}"])
    assert server.connection.url.startswith("https://") and server.connection.cafile == str(cert)
    client = HttpRemoteMachines(server.connection)
    await client.create(VMSpec("demo"), key="k")
    assert await sh(client, "echo hi") == (b"hi\n", Exit(code=0))
    await client.aclose()

    other, _ = certificate(tmp_path, "other.example")
    stranger = HttpRemoteMachines(dataclasses.replace(server.connection, cafile=str(other)))
    for work in (stranger.list(), stranger.exec("demo", ExecSpec("ls"))):
        with pytest.raises(TransportError):
            await work
    await stranger.aclose()


def test_the_package_stays_light():
    import subprocess
    import sys

    heavy = ("asyncssh", "sqlalchemy", "ipywidgets", "httpx", "websockets", "tornado", "IPython")
    code = f"import sys, jupyter_rmx; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    code = code.replace("jupyter_rmx;", "jupyter_rmx.client;")
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
