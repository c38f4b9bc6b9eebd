"""Nothing is left: after many machines, a full disk, odd files; and what else can be wrong with the place."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from jupyter_rmx.errors import ProviderError, UsageError
from jupyter_rmx.providers.drivers.local.layout import vm_id_of


def _sockets_below(folder):
    with open("/proc/net/unix") as table:
        return [line for line in table if str(folder) in line]


async def test_fifty_machines_eight_at_a_time_leave_nothing(house, eventually):
    gate = asyncio.Semaphore(8)
    before = len(os.listdir("/proc/self/fd"))

    async def live(n):
        async with gate:
            vm = await house.create(f"m{n}")
            assert await house.sh(vm, "hostname; sleep 300 >/dev/null 2>&1 &") == f"m{n}"
            await house.provider.destroy(vm.provider_vm_id)

    await asyncio.gather(*(live(n) for n in range(50)))
    assert house.left() == []
    assert _sockets_below(house.folder) == []
    await eventually(lambda: not house.processes(), "no process of theirs is left")
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 5, "no descriptor of ours is left")


@pytest.fixture
def small_disk(house_folder):
    """A full disk: a tmpfs that only root can make."""
    folder = house_folder / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"no-kernel-feature: tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder, leave):
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - leave))


@pytest.mark.parametrize("leave", [0, 4096, 8192, 12288, 16384])
async def test_a_full_disk_is_one_clear_line_and_leaves_nothing(house, small_disk, leave, eventually):
    house.folder = small_disk
    house.provider = house.new_provider()
    await house.provider.heartbeat()
    _fill(small_disk, leave)
    free = os.statvfs(small_disk).f_bfree
    try:
        await house.create()
    except ProviderError as error:
        assert error.code == "vm_disk_full", error
        assert "no space left" in error.message
        assert "JUPYTER_RMX_DATA_DIR" in error.hint
    else:
        assert leave >= 8192  # enough for a machine
        await house.provider.destroy(vm_id_of(house.keys[0]))
    assert house.left() == []
    await eventually(lambda: not house.processes(), "no process is left")
    assert os.statvfs(small_disk).f_bfree >= free
    await house.provider.aclose()


async def test_a_snapshot_that_does_not_fit_is_removed(house, small_disk):
    house.folder = small_disk
    house.provider = house.new_provider()
    vm = await house.create()
    await house.sh(vm, "head -c 100000 /dev/zero > big")
    _fill(small_disk, 40960)
    with pytest.raises(ProviderError) as caught:
        await house.provider.snapshot(vm.provider_vm_id, key="snap_1")
    assert caught.value.code == "vm_disk_full"
    assert list((house.root / "snapshots").iterdir()) == []
    await house.provider.destroy(vm.provider_vm_id)


async def test_odd_files_are_copied_or_left_out_and_all_removed(house, method):
    vm = await house.create()
    # Root reads what nobody may read; for others such a folder cannot be copied, as with cp.
    closed = "000" if os.geteuid() == 0 else "500"
    await house.sh(
        vm,
        "mkdir -p a/b; echo one > a/x; ln a/x a/y; ln -s nowhere dangling; mkfifo pipe; "
        "python -c \"import socket; socket.socket(socket.AF_UNIX).bind('sock')\"; "
        "printf z > $'new\\nline'; touch -d @1000000000 old; "
        f"chmod {closed} a/b; chmod 500 a",
    )
    snapshot = await house.provider.snapshot(vm.provider_vm_id, key="snap_1")
    copy = await house.create("copy", snapshot=snapshot)
    assert await house.sh(copy, "stat -c '%h %a' a/x a/b a | xargs") == f"2 644 2 {int(closed)} 3 500"
    assert await house.sh(copy, "stat -c %Y old; readlink dangling; cat new*") == "1000000000\nnowhere\nz"
    assert await house.sh(copy, "ls -d pipe sock 2>/dev/null | wc -l") == "0"
    for one in (vm, copy):
        await house.provider.destroy(one.provider_vm_id)
    assert house.left() == []


async def test_a_deep_data_directory_works_all_the_same(house, house_folder):
    house.folder = house_folder / ("d" * 60) / ("e" * 60)
    house.provider = house.new_provider()
    vm = await house.create()
    endpoint = await house.provider.attach_endpoint(vm.provider_vm_id)
    assert len(endpoint.unix_path) < 108 < len(str(house.root / vm.provider_vm_id / "run" / "ssh"))
    assert await house.sh(vm, "echo reached") == "reached"


async def test_its_files_are_private(house):
    vm = await house.create()
    folder = house.root / vm.provider_vm_id
    for name, mode in {
        "": 0o700,
        "client_key": 0o600,
        "machine.json": 0o600,
        "home": 0o700,
        "run": 0o700,
    }.items():
        assert (folder / name).stat().st_mode & 0o777 == mode, name
    assert (folder / "run" / "ssh").stat().st_mode & 0o077 == 0
    assert b"PRIVATE" not in (folder / "machine.json").read_bytes()


async def test_an_unknown_image_is_refused_at_once(house):
    with pytest.raises(UsageError, match="no image"):
        await house.create(image="ubuntu:22.04")
    assert house.left() == []


async def test_on_windows_it_says_no(house, monkeypatch):
    monkeypatch.setattr("jupyter_rmx.providers.drivers.local.provider.sys.platform", "win32")
    with pytest.raises(ProviderError) as caught:
        await house.create()
    monkeypatch.undo()
    assert caught.value.code == "vm_local_unsupported"
    assert "SSH" in caught.value.hint


def test_importing_the_provider_imports_no_asyncssh():
    code = (
        "import sys; from jupyter_rmx.providers.drivers.local import LocalProvider, provider, machines;"
        "print('asyncssh' in sys.modules, 'cryptography' in sys.modules)"
    )
    code = code.replace(", provider, machines", "; import jupyter_rmx.providers.drivers.local.machines")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


async def test_a_stale_socket_or_folder_is_no_obstacle(house):
    key = house.new_key()
    half = house.root / vm_id_of(key)
    (half / "run").mkdir(parents=True)
    (half / "home").mkdir()
    (half / "home" / "left").write_text("from a create that was killed before it was done")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(half / "run" / "ssh"))
    vm = await house.provider.create(house.spec(), key=key)
    assert await house.sh(vm, "ls -A") == ""
