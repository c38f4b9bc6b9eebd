"""Peers to talk to: a real OpenSSH server, and the embedded machine. No test here knows which one it has."""

import asyncio
import contextlib
import dataclasses
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import asyncssh
import pytest

from jupyter_rmx.models import ExecSpec, Output, SSHEndpoint
from tests.first.transports.target_fixtures import (  # noqa: F401 - fixtures
    agent,
    connecting,
    own_known_hosts,
    person,
    server_of,
    sshd_shared,
)

FAIL_SAFE_S = 30

SSHD_CONFIG = """
AcceptEnv A
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
MaxSessions 200
MaxStartups 100
"""


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_answers(port, server, log):
    deadline = time.monotonic() + FAIL_SAFE_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail(f"sshd did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def sshd():
    """An endpoint of an OpenSSH server of our own."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="rmx-sshd-"))
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    client_key = asyncssh.generate_private_key("ssh-ed25519")
    (folder / "host_key").touch(0o600)
    host_key.write_private_key(folder / "host_key")
    client_key.write_public_key(folder / "authorized")
    port = _free_port()
    (folder / "config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    log = folder / "log"
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", folder / "config", "-E", log])
    try:
        _wait_until_answers(port, server, log)
        yield SSHEndpoint(
            username=getpass.getuser(),
            host_key=host_key.export_public_key().decode(),
            host="127.0.0.1",
            port=port,
            client_key=client_key.export_private_key().decode(),
        )
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def embedded():
    """An endpoint of an embedded machine."""
    from jupyter_rmx.providers.base import ProviderSpec
    from jupyter_rmx.providers.drivers.local import LocalProvider
    from jupyter_rmx.settings import Settings

    folder = Path(tempfile.mkdtemp(prefix="rmx-embedded-"))

    async def start():
        provider = LocalProvider(Settings(owner="tests", data_dir=folder))
        vm = await provider.create(ProviderSpec(name="peer", owner="tests"), key="vm_0123456789abcdef")
        endpoint = await provider.attach_endpoint(vm.provider_vm_id)
        await provider.aclose()
        return vm.provider_vm_id, endpoint

    async def end(provider_vm_id):
        provider = LocalProvider(Settings(owner="tests", data_dir=folder))
        await provider.destroy(provider_vm_id)
        await provider.aclose()

    provider_vm_id, endpoint = asyncio.run(start())
    try:
        yield endpoint
    finally:
        asyncio.run(end(provider_vm_id))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sshd", "embedded"])
def endpoint(request):
    """Each peer in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def open_transport(jp_asyncio_loop):
    """A function that connects; what it made is closed at the end."""
    from jupyter_rmx.transports.ssh import connect

    made = []

    async def open_one(endpoint):
        made.append(await connect(endpoint, key="peer"))
        return made[-1]

    yield open_one
    for transport in made:
        jp_asyncio_loop.run_until_complete(transport.aclose())


@pytest.fixture
def transport(jp_asyncio_loop, endpoint, open_transport):
    """A live transport to the peer."""
    return jp_asyncio_loop.run_until_complete(open_transport(endpoint))


@pytest.fixture
def sshd_transport(jp_asyncio_loop, sshd, open_transport):
    """A live transport to the OpenSSH server."""
    return jp_asyncio_loop.run_until_complete(open_transport(sshd))


@dataclasses.dataclass
class Outcome:
    stdout: bytes
    stderr: bytes
    exit: object


@pytest.fixture
def collect():
    """Read a process to its end."""

    async def read(process):
        streams = {"stdout": [], "stderr": []}
        ending = None
        async for event in process.events():
            if isinstance(event, Output):
                streams[event.stream].append(event.data)
            else:
                ending = event
        return Outcome(b"".join(streams["stdout"]), b"".join(streams["stderr"]), ending)

    return read


@pytest.fixture
def shell(collect):
    """Run one command on a transport to its end."""

    async def run(transport, command, **options):
        return await collect(await transport.run(ExecSpec(command, **options)))

    return run


@pytest.fixture
def eventually():
    """Wait for a condition; the fail-safe is far beyond what it takes."""

    async def wait(condition):
        deadline = time.monotonic() + FAIL_SAFE_S
        while time.monotonic() < deadline:
            if await condition():
                return
            await asyncio.sleep(0.02)
        pytest.fail("it did not happen")

    return wait


@pytest.fixture
def remote_folder(jp_asyncio_loop, transport, shell):
    """A fresh folder below the peer's home directory."""
    name = f"rmx-test-{os.urandom(6).hex()}"
    jp_asyncio_loop.run_until_complete(shell(transport, f"mkdir {name}"))
    yield name
    if transport.state == "ready":
        jp_asyncio_loop.run_until_complete(shell(transport, f"rm -rf {name}"))


class Relay:
    """Stands between a client and a peer; can cut and stall what it carries."""

    def __init__(self, endpoint, folder):
        self._target = endpoint
        self._folder = folder
        self._writers = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks = []
        self.endpoint = None

    async def start(self):
        if self._target.unix_path:
            path = f"{self._folder}/relay.sock"
            self._server = await asyncio.start_unix_server(self._serve, path)
            self.endpoint = dataclasses.replace(self._target, unix_path=path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = self._server.sockets[0].getsockname()[1]
            self.endpoint = dataclasses.replace(self._target, host="127.0.0.1", port=port)
        return self

    async def _serve(self, reader, writer):
        if self._target.unix_path:
            there = await asyncio.open_unix_connection(self._target.unix_path)
        else:
            there = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, there[1]]
        self._tasks += [
            asyncio.create_task(self._pump(reader, there[1])),
            asyncio.create_task(self._pump(there[0], writer)),
        ]

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self):
        for writer in self._writers:
            writer.transport.abort()

    def stall(self):
        self._flowing.clear()

    async def aclose(self):
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
def relay(jp_asyncio_loop, endpoint):
    """A running relay in front of the peer."""
    folder = tempfile.mkdtemp(prefix="rmx-relay-")
    running = jp_asyncio_loop.run_until_complete(Relay(endpoint, folder).start())
    yield running
    jp_asyncio_loop.run_until_complete(running.aclose())
    shutil.rmtree(folder)
