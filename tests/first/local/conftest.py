"""Embedded machines for tests, and proof that each test left none behind."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from jupyter_rmx.models import new_id
from jupyter_rmx.providers.base import ProviderSpec
from jupyter_rmx.providers.drivers.local import LocalProvider
from jupyter_rmx.providers.drivers.local.isolation import FORCE
from jupyter_rmx.providers.drivers.local.layout import KEEPER_MARKER, MARKER, vm_id_of
from jupyter_rmx.settings import Settings

FAIL_SAFE_S = 60.0


def kernel_refuses(method):
    """Why the kernel really refuses a method; a program that is not installed is no such reason."""
    spaces = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc"]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = {
        "bubblewrap": ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"],
        "unshare": ["unshare", *user, *spaces, "true"],
        "plain": ["true"],
    }[method]
    done = subprocess.run(probe, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip()


async def open_ssh(endpoint, **options):
    """An asyncssh connection to an endpoint, with its key pinned."""
    import asyncssh

    sock = socket.socket(socket.AF_UNIX)
    sock.connect(endpoint.unix_path)
    sock.setblocking(False)
    settings = {
        "username": endpoint.username,
        "client_keys": [asyncssh.import_private_key(endpoint.client_key)],
        "known_hosts": ([asyncssh.import_public_key(endpoint.host_key)], [], []),
        "config": [],
        "agent_path": None,
    }
    return await asyncssh.connect("", sock=sock, **{**settings, **options})


def processes_of(vm_ids):
    """Living processes of machines and their keepers, by what their environment says: `{pid: command line}`."""
    wanted = {f"{name}={vm_id}".encode() for name in (MARKER, KEEPER_MARKER) for vm_id in vm_ids}
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if wanted & set((folder / "environ").read_bytes().split(b"\0")):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
    return found


async def eventually(question, what):
    """Wait for an answer that is true; a fail-safe, not a measure."""
    import asyncio
    import inspect

    deadline = time.monotonic() + FAIL_SAFE_S
    while True:
        answer = question()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.01)


class House:
    """A data directory, its providers, its machines."""

    def __init__(self, folder, **options):
        self.folder = folder
        self.owner = "tester"
        self.options = options
        self.orphan_after_s = 3600.0
        self.keys = []
        self.provider = self.new_provider()

    def new_provider(self):
        settings = Settings(owner=self.owner, data_dir=self.folder, orphan_after_s=self.orphan_after_s)
        return LocalProvider(settings, **self.options)

    @property
    def root(self):
        return self.folder / "local"

    def new_key(self):
        self.keys.append(new_id("vm"))
        return self.keys[-1]

    def spec(self, name="demo", **more):
        return ProviderSpec(name=name, owner=self.owner, **more)

    async def create(self, name="demo", **more):
        return await self.provider.create(self.spec(name, **more), key=self.new_key())

    async def ssh(self, vm, **options):
        return await open_ssh(await self.provider.attach_endpoint(vm.provider_vm_id), **options)

    async def run(self, vm, command, **options):
        async with await self.ssh(vm) as connection:
            return await connection.run(command, **options)

    async def sh(self, vm, command):
        done = await self.run(vm, command)
        assert done.exit_status == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def processes(self):
        return processes_of([vm_id_of(key) for key in self.keys])

    def left(self):
        """Files of machines that still are; the heartbeat and snapshots belong to nobody."""
        if not self.root.exists():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.name not in {"heartbeat", "snapshots"})

    async def clear(self):
        for key in self.keys:
            await self.provider.destroy(vm_id_of(key))
        await self.provider.aclose()
        await eventually(lambda: not self.processes(), f"no process left, but {self.processes()}")
        assert self.left() == []


@pytest.fixture
def house_folder():
    """A folder with a short path, since a socket's path is limited."""
    folder = Path(tempfile.mkdtemp(prefix="rmx-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def house(house_folder, jp_asyncio_loop):
    """A place for machines; its end proves that no process and no file of them is left."""
    house = House(house_folder)
    yield house
    jp_asyncio_loop.run_until_complete(house.clear())


@pytest.fixture(params=["bubblewrap", "unshare", "plain"])
def method(request, monkeypatch):
    """Each way of isolation in turn."""
    refusal = kernel_refuses(request.param)
    if refusal:
        pytest.skip(f"no-kernel-feature: {request.param}: {refusal}")
    monkeypatch.setenv(FORCE, request.param)
    return request.param


@pytest.fixture(params=["bubblewrap", "unshare"])
def strong_method(request, monkeypatch):
    """Each way that sets a machine apart."""
    refusal = kernel_refuses(request.param)
    if refusal:
        pytest.skip(f"no-kernel-feature: {request.param}: {refusal}")
    monkeypatch.setenv(FORCE, request.param)
    return request.param


@pytest.fixture(name="eventually")
def _eventually():
    return eventually


@pytest.fixture(name="open_ssh")
def _open_ssh():
    return open_ssh


@pytest.fixture
def gated_bwrap(house_folder, monkeypatch):
    """A `bwrap` that says it was called and then waits for a word: `(called, go)`, two files."""
    if kernel_refuses("bubblewrap"):
        pytest.skip(f"no-kernel-feature: bubblewrap: {kernel_refuses('bubblewrap')}")
    tools = house_folder / "tools"
    tools.mkdir()
    called, go = house_folder / "called", house_folder / "go"
    real = shutil.which("bwrap")
    script = f'#!/bin/sh\n: > {called}\nwhile ! [ -e {go} ]; do sleep 0.02; done\nexec {real} "$@"\n'
    (tools / "bwrap").write_text(script)
    (tools / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv(FORCE, "bubblewrap")
    return called, go
