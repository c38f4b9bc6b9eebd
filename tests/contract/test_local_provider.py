"""The embedded provider keeps the laws of VMProvider, whichever way its machines are isolated."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import asyncssh
import pytest

from jupyter_rmx.providers.drivers.local import LocalProvider
from jupyter_rmx.providers.drivers.local.isolation import FORCE
from jupyter_rmx.providers.drivers.local.layout import MachineDir
from jupyter_rmx.settings import Settings
from jupyter_rmx.testing.provider_contract import ProviderContract

_UNSHARE = [
    "unshare",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    "--net",
    "--pid",
    "--fork",
]
_PROBES = {
    "bubblewrap": ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"],
    "unshare": [*_UNSHARE, "--mount", "--uts", "--ipc", "--mount-proc", "true"],
    "plain": ["true"],
}


class LocalContract(ProviderContract):
    """What the three ways have in common."""

    method = ""

    @pytest.fixture(autouse=True)
    def _folder(self, monkeypatch):
        probe = subprocess.run(_PROBES[self.method], capture_output=True, text=True)
        if probe.returncode != 0:
            pytest.skip(f"no-kernel-feature: {self.method}: {probe.stderr.strip()}")
        monkeypatch.setenv(FORCE, self.method)
        self.folder = Path(tempfile.mkdtemp(prefix="rmx-"))
        yield
        left = {path.name for path in (self.folder / "local").glob("*")} - {"heartbeat", "snapshots"}
        shutil.rmtree(self.folder)
        assert left == set()

    def make_provider(self):
        return LocalProvider(Settings(data_dir=self.folder))

    async def end_but_keep(self, vm):
        where = MachineDir(self.folder / "local", vm.provider_vm_id)
        os.kill(where.read().init_pid, signal.SIGKILL)
        provider = self.make_provider()
        deadline = time.monotonic() + 60.0
        while await provider.status(vm.provider_vm_id) == "running":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        await provider.aclose()
        return True

    async def run(self, endpoint, command):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(endpoint.unix_path)
        sock.setblocking(False)
        connection = await asyncssh.connect(
            "",
            sock=sock,
            username=endpoint.username,
            client_keys=[asyncssh.import_private_key(endpoint.client_key)],
            known_hosts=([asyncssh.import_public_key(endpoint.host_key)], [], []),
            config=[],
            agent_path=None,
        )
        async with connection:
            done = await connection.run(command)
        return done.exit_status, done.stdout


class TestBubblewrap(LocalContract):
    method = "bubblewrap"


class TestUnshare(LocalContract):
    method = "unshare"


class TestPlain(LocalContract):
    method = "plain"
