"""A full disk under the machines: one clear line, a true list, and the way out stays open."""

import subprocess
import sys

import pytest

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import ExecSpec, Exit, VMSpec
from jupyter_rmx.testing.server import JupyterServer


@pytest.fixture
def tiny_disk(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("not-this-os: mounts a tmpfs")
    folder = tmp_path / "tiny"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no-kernel-feature: may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def exit_of(machines, name):
    session = await machines.exec(name, ExecSpec("true"))
    events = [event async for event in session]
    await session.aclose()
    return events[-1]


async def test_a_full_disk_is_told_and_machines_can_still_be_ended(tiny_disk, tmp_path):
    (tmp_path / "jupyter").mkdir()
    with JupyterServer(tmp_path / "jupyter", data_dir=tiny_disk / "data") as server:
        machines = HttpRemoteMachines(server.connection)
        try:
            with pytest.raises(RmxError) as caught:
                for number in range(100):
                    await machines.create(VMSpec(f"demo-{number}"), key=f"k-{number}")
            assert caught.value.code in {"store_disk_full", "vm_disk_full"}
            assert "disk" in caught.value.message
            assert caught.value.hint
            assert number > 0
            # The list is true: it names the machines that run, and no other.
            assert {vm.name for vm in await machines.list()} == {f"demo-{n}" for n in range(number)}
            assert await exit_of(machines, "demo-0") == Exit(0)
        finally:
            for vm in await machines.list():
                await machines.destroy(vm.name)
            assert await machines.list() == []
            await machines.aclose()
    left = [path for path in (tiny_disk / "data" / "local").iterdir() if path.name != "heartbeat"]
    assert left == []
