"""Files over SFTP: whole or not at all."""

import asyncio
import hashlib
import os
import subprocess

import pytest

from jupyter_rmx.errors import TransferError, TransportError
from jupyter_rmx.transports import ssh_files


async def chunks(*parts):
    for part in parts:
        yield part


@pytest.fixture
def names(transport, shell, remote_folder):
    """All names in the test's folder."""

    async def ask():
        listed = (await shell(transport, "find . -mindepth 1 -maxdepth 1 -print0", cwd=remote_folder)).stdout
        return sorted(os.fsdecode(name)[2:] for name in listed.split(b"\0") if name)

    return ask


@pytest.fixture
def put(transport, remote_folder):
    """Put bytes under a name in the test's folder."""

    async def send(name, data, **options):
        options.setdefault("size", len(data))
        return await transport.files().put(f"{remote_folder}/{name}", chunks(data), **options)

    return send


@pytest.fixture
def content(transport, shell, remote_folder):
    """The bytes of a file of the test's folder."""

    async def read(name):
        done = await shell(transport, 'cat -- "$F"', env={"F": f"./{name}"}, cwd=remote_folder)
        assert done.exit.ok, done.stderr
        return done.stdout

    return read


async def test_a_large_file_arrives_whole(transport, shell, remote_folder, names):
    data = os.urandom(12_345_678)
    pieces = [data[start : start + 1_000_003] for start in range(0, len(data), 1_000_003)]
    result = await transport.files().put(f"{remote_folder}/big", chunks(*pieces), size=len(data))
    sha256 = hashlib.sha256(data).hexdigest()
    assert (result.remote_path, result.size, result.sha256) == (f"{remote_folder}/big", len(data), sha256)
    there = (await shell(transport, "sha256sum < big", cwd=remote_folder)).stdout.split()[0].decode()
    assert there == sha256
    assert await names() == ["big"]


async def test_one_huge_chunk_and_an_empty_file(put, content, names):
    data = b"z" * 9_000_001
    await put("one", data)
    assert await content("one") == data
    result = await put("empty", b"")
    assert (result.size, result.sha256) == (0, hashlib.sha256(b"").hexdigest())
    assert await content("empty") == b""
    assert await names() == ["empty", "one"]


async def test_a_source_without_chunks(transport, remote_folder, content):
    await transport.files().put(f"{remote_folder}/none", chunks(), size=0)
    assert await content("none") == b""


async def test_mode_and_time(transport, shell, put, remote_folder):
    await put("script", b"x", mode=0o755, mtime=1_234_567_890.75)
    await put("secret", b"x", mode=0o600)
    await put("plain", b"x")
    stat = "stat -c '%a %Y' script; stat -c %a secret plain; umask"
    found = (await shell(transport, stat, cwd=remote_folder)).stdout.decode().split()
    assert found[:3] == ["755", "1234567890", "600"]
    assert int(found[3], 8) == 0o666 & ~int(found[4], 8)


async def test_replacing_keeps_the_mode_and_follows_a_link(
    transport, shell, put, content, remote_folder, names
):
    await put("old", b"old", mode=0o640)
    await shell(transport, "ln -s old link", cwd=remote_folder)
    await put("link", b"new")
    assert await content("old") == b"new"
    assert (
        await shell(transport, "stat -c %a old; readlink link", cwd=remote_folder)
    ).stdout == b"640\nold\n"
    assert await names() == ["link", "old"]


NAMES = [
    "ünï 日本.txt",
    "-rf",
    'it\'s "a" $(name)',
    "new\nline",
    "back\\slash*?[x]",
    "a" * 255,
    "日" * 85,
    os.fsdecode(b"raw-\xff\xfe"),
]


async def test_names(put, names):
    for name in NAMES:
        await put(name, b"x")
    assert await names() == sorted(NAMES)


def test_temporary_names_fit():
    for name in ("a", "a" * 255, "日" * 85, "é" * 127):
        temporary = ssh_files.temporary_name(name)
        assert len(temporary.encode()) <= 255
        assert temporary.startswith(".")
        assert temporary.endswith(".part")
        assert ssh_files.temporary_name(name) != temporary


async def test_a_path_below_home_and_an_absolute_one(transport, shell, remote_folder):
    home = (await shell(transport, "cd; pwd")).stdout.decode().strip()
    for path in (f"~/{remote_folder}/a", f"{home}/{remote_folder}/b"):
        await transport.files().put(path, chunks(b"x"), size=1)
    assert (await shell(transport, "cat a b", cwd=remote_folder)).stdout == b"xx"


async def test_targets_that_cannot_be(transport, shell, remote_folder, names):
    await shell(transport, "mkdir folder; : > file; mkfifo pipe", cwd=remote_folder)
    for path, code in (
        ("", "transfer_is_folder"),
        ("/folder", "transfer_is_folder"),
        ("/folder/", "transfer_is_folder"),
        ("/missing/x", "transfer_no_such_folder"),
        ("/file/x", "transfer_no_such_folder"),
        ("/pipe", "transfer_not_a_file"),
        ("/..", "transfer_bad_name"),
        ("/.", "transfer_bad_name"),
        ("/a\0b", "transfer_bad_name"),
        ("/" + "a" * 256, "transfer_bad_name"),
        ("/" + "é" * 128, "transfer_bad_name"),
    ):
        with pytest.raises(TransferError) as caught:
            await transport.files().put(remote_folder + path, chunks(b"x"), size=1)
        assert caught.value.code == code, path
        assert caught.value.hint
        assert "\n" not in str(caught.value)
    assert await names() == ["file", "folder", "pipe"]


async def test_a_place_where_nobody_may_write(sshd_transport):
    """The kernel refuses new files in /sys, to root too."""
    with pytest.raises(TransferError) as caught:
        await sshd_transport.files().put("/sys/rmx-test", chunks(b"x"), size=1)
    assert caught.value.code == "transfer_denied"


async def test_a_source_of_another_size(put, content, names):
    await put("f", b"old")
    for size in (0, 2, 4, 10_000_000):
        with pytest.raises(TransferError) as caught:
            await put("f", b"new", size=size)
        assert caught.value.code == "transfer_size_mismatch"
    assert await content("f") == b"old"
    assert await names() == ["f"]


async def test_a_source_that_fails(transport, remote_folder, names, put, content):
    await put("f", b"old")

    async def failing(error):
        yield b"x" * 1_000_000
        raise error

    for error, expected in ((OSError(5, "Input/output error"), TransferError), (KeyError("own"), KeyError)):
        with pytest.raises(expected) as caught:
            await transport.files().put(f"{remote_folder}/f", failing(error), size=2_000_000)
        if expected is TransferError:
            assert caught.value.code == "transfer_source_failed"
    assert await content("f") == b"old"
    assert await names() == ["f"]


async def test_cancelling_leaves_nothing(transport, remote_folder, names, put, content):
    await put("f", b"old")
    begun = asyncio.Event()

    async def stuck():
        yield b"x" * 3_000_000
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(transport.files().put(f"{remote_folder}/f", stuck(), size=9_000_000))
    await begun.wait()
    assert len(await names()) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names() == ["f"]
    assert await content("f") == b"old"
    await put("f", b"again")
    assert await content("f") == b"again"


async def test_cancelling_at_any_moment_leaves_nothing(transport, remote_folder, names):
    for turns in range(0, 60, 3):
        task = asyncio.create_task(
            transport.files().put(f"{remote_folder}/f{turns}", chunks(b"x" * 300_000), size=300_000)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not [name for name in await names() if name.endswith(".part")]


async def test_many_at_once(put, names, content):
    await asyncio.gather(*(put(f"f{n}", bytes([n]) * 400_000) for n in range(12)))
    assert await names() == sorted(f"f{n}" for n in range(12))
    assert await content("f7") == b"\7" * 400_000


async def test_a_cut_link(relay, open_transport, remote_folder, names):
    transport = await open_transport(relay.endpoint)
    begun = asyncio.Event()

    async def endless():
        for _ in range(1000):
            yield b"x" * 1_000_000
            begun.set()

    task = asyncio.create_task(transport.files().put(f"{remote_folder}/f", endless(), size=1_000_000_000))
    await begun.wait()
    relay.cut()
    with pytest.raises(TransportError) as caught:
        await asyncio.wait_for(task, 60)
    assert caught.value.code == "ssh_connection_lost"
    assert "f" not in await names()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("no-kernel-feature: only root may mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "rmx-test", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no-kernel-feature: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk(sshd_transport, small_disk):
    target = small_disk / "data.bin"
    target.write_bytes(b"old")
    with pytest.raises(TransferError) as caught:
        await sshd_transport.files().put(str(target), chunks(*[b"x" * 500_000] * 20), size=10_000_000)
    assert caught.value.code == "transfer_disk_full"
    assert str(caught.value) == (
        "The disk of the machine is full. Free space there, then upload again; nothing was left of data.bin."
    )
    assert os.listdir(small_disk) == ["data.bin"]
    assert target.read_bytes() == b"old"
    await sshd_transport.files().put(str(target), chunks(b"x" * 1_000_000), size=1_000_000)
    assert target.stat().st_size == 1_000_000


async def test_a_disk_that_is_full_already(sshd_transport, small_disk):
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"x" * (free.f_bavail * free.f_frsize))
    with pytest.raises(TransferError) as caught:
        await sshd_transport.files().put(str(small_disk / "new"), chunks(b"x"), size=1)
    assert caught.value.code == "transfer_disk_full"
    assert os.listdir(small_disk) == ["filler"]
