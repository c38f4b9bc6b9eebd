"""The list of machines: uniqueness, crashes, several servers on one file, and a disk that says no."""

import asyncio
import dataclasses
import os
import sqlite3
import subprocess
import sys
from datetime import datetime, timezone

import pytest

from jupyter_rmx.errors import StoreError
from jupyter_rmx.models import VM
from jupyter_rmx.store.machines import MachineRecord, MachineStore
from jupyter_rmx.store.schema import SCHEMA_VERSION

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


def record(number=1, *, name=None, key=None, owner="me"):
    vm = VM(f"vm_{number}", name or f"demo-{number}", owner, "local", "creating", NOW, details={"n": number})
    return MachineRecord(vm, key or f"key-{number}", "f" * 64, "1-2.0")


@pytest.fixture
def store(tmp_path, jp_asyncio_loop):
    made = MachineStore(f"sqlite+aiosqlite:///{tmp_path}/deep/er/store.sqlite3")
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


async def test_a_row_comes_back_as_it_was(store):
    assert await store.reserve(record())
    assert await store.find("me", "demo-1") == record()
    assert await store.find("me", "vm_1") == record()
    assert await store.by_key("me", "key-1") == record()
    await store.save("vm_1", "running", provider_vm_id="p", details={"a": [1]}, image="i")
    found = await store.find("me", "vm_1")
    assert (found.vm.status, found.vm.provider_vm_id, found.vm.details, found.vm.image) == (
        "running",
        "p",
        {"a": [1]},
        "i",
    )
    assert found.worker is None
    await store.save("vm_1", "destroying", worker="3-4.0")
    assert dataclasses.replace((await store.list("me"))[0].vm, status="running") == found.vm
    await store.remove("vm_1")
    assert await store.list("me") == []


async def test_names_and_keys_are_unique_for_an_owner_only(store):
    assert await store.reserve(record(1))
    assert not await store.reserve(record(2, name="demo-1"))
    assert not await store.reserve(record(3, key="key-1"))
    assert await store.reserve(record(4, name="demo-1", key="key-1", owner="you"))
    assert [row.vm.id for row in await store.list("me")] == ["vm_1"]


async def test_fifty_reservations_of_one_name_make_one_row(store):
    won = await asyncio.gather(*(store.reserve(record(n, name="demo")) for n in range(50)))
    assert sum(won) == 1
    assert len(await store.list("me")) == 1


async def test_two_processes_share_one_file(store, tmp_path):
    assert await store.reserve(record(1))
    code = (
        "import asyncio, sys\n"
        "from datetime import datetime, timezone\n"
        "from jupyter_rmx.models import VM\n"
        "from jupyter_rmx.store.machines import MachineRecord, MachineStore\n"
        "async def main():\n"
        "    store = MachineStore(sys.argv[1])\n"
        "    for n in range(100, 140):\n"
        "        vm = VM(f'vm_{n}', f'demo-{n}', 'me', 'local', 'creating', datetime.now(timezone.utc))\n"
        "        assert await store.reserve(MachineRecord(vm, f'key-{n}', 'f'))\n"
        "    await store.aclose()\n"
        "asyncio.run(main())\n"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, f"sqlite+aiosqlite:///{tmp_path}/deep/er/store.sqlite3"
    )
    for number in range(2, 42):
        assert await store.reserve(record(number))
    assert await other.wait() == 0
    assert len(await store.list("me")) == 81


async def test_a_newer_schema_is_refused_with_a_plain_line(store, tmp_path):
    await store.open()
    await store.aclose()
    with sqlite3.connect(tmp_path / "deep/er/store.sqlite3") as connection:
        connection.execute("UPDATE schema_info SET version = ?", (SCHEMA_VERSION + 1,))
    with pytest.raises(StoreError) as caught:
        await store.list("me")
    assert (caught.value.code, caught.value.retryable) == ("store_newer_schema", False)
    assert "pip install --upgrade" in caught.value.hint


async def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    store = MachineStore(f"sqlite+aiosqlite:///{tmp_path}/file/store.sqlite3")
    with pytest.raises(StoreError) as caught:
        await store.open()
    assert caught.value.code == "store_no_folder"
    assert "JUPYTER_RMX_DATA_DIR" in caught.value.hint


async def test_the_file_is_private(store, tmp_path):
    await store.open()
    assert (tmp_path / "deep/er").stat().st_mode & 0o777 == 0o700


@pytest.fixture
def tiny_disk(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.name != "posix" or not sys.platform.startswith("linux"):
        pytest.skip("not-this-os: mounts a tmpfs")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no-kernel-feature: may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_is_one_clear_line_and_the_rows_stay_true(tiny_disk):
    store = MachineStore(f"sqlite+aiosqlite:///{tiny_disk}/store.sqlite3")
    try:
        assert await store.reserve(record(1))
        kept = 1
        with pytest.raises(StoreError) as caught:
            for number in range(2, 1000):
                big = record(number)
                details = {"text": "x" * 4000}
                await store.reserve(dataclasses.replace(big, vm=dataclasses.replace(big.vm, details=details)))
                kept += 1
        assert caught.value.code == "store_disk_full"
        assert "disk is full" in caught.value.message
        assert len(await store.list("me")) == kept
    finally:
        await store.aclose()


async def test_many_may_open_a_new_file_at_once(tmp_path):
    # As two Jupyter servers that start together for the first time.
    for number in range(10):
        stores = [MachineStore(f"sqlite+aiosqlite:///{tmp_path}/{number}/store.sqlite3") for _ in range(8)]
        try:
            await asyncio.gather(*(store.open() for store in stores))
            assert await stores[0].reserve(record())
            assert len(await stores[-1].list("me")) == 1
        finally:
            await asyncio.gather(*(store.aclose() for store in stores))
