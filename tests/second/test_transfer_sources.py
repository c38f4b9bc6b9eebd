"""Local files as the source of an upload."""

import asyncio
import os
import socket

import pytest

from jupyter_rmx.errors import TransferError
from jupyter_rmx.transfer.sources import describe, read_chunks


async def _read(path, size, chunk=1000):
    return [part async for part in read_chunks(path, size, chunk)]


def _open_files():
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)}


def _is_open(fd):
    try:
        os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return False
    return True


def test_what_a_path_names(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"12345")
    (tmp_path / "d").mkdir()
    (tmp_path / "to-f").symlink_to("f")
    (tmp_path / "to-d").symlink_to("d")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
        found = {
            text: (describe(text).kind, describe(text).name, describe(text).size)
            for text in ("f", "./f", "~/f", "d", "d/", ".", "to-f", "to-d", "pipe", "sock", "/dev/null")
        }
    assert found == {
        "f": ("file", "f", 5),
        "./f": ("file", "f", 5),
        "~/f": ("file", "f", 5),
        "d": ("folder", "d", 0),
        "d/": ("folder", "d", 0),
        ".": ("folder", tmp_path.name, 0),
        "to-f": ("file", "to-f", 5),
        "to-d": ("folder", "to-d", 0),
        "pipe": ("other", "pipe", 0),
        "sock": ("other", "sock", 0),
        "/dev/null": ("other", "null", 0),
    }
    for text in ("nope", "broken", "loop", "x" * 5000, "nul\0", "f/below", "~no-such-user/f", ""):
        assert describe(text).source == text
        assert describe(text).kind == "missing"


async def test_pieces(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(os.urandom(2500))
    parts = await _read(path, 2500)
    assert [len(part) for part in parts] == [1000, 1000, 500]
    assert b"".join(parts) == path.read_bytes()
    path.write_bytes(b"")
    assert await _read(path, 0) == []


@pytest.mark.parametrize("size", [0, 2499, 2501, 1999, 5000])
async def test_a_file_that_changed(tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 2500)
    with pytest.raises(TransferError) as caught:
        await _read(path, size)
    assert caught.value.code == "transfer_size_mismatch"
    assert ("longer" if size < 2500 else "shorter") in caught.value.message


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
async def test_what_cannot_be_read(tmp_path, kind):
    path = tmp_path / "f"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(TransferError) as caught:
        await asyncio.wait_for(_read(path, 1), 60)
    assert caught.value.code == "transfer_source_failed"
    assert caught.value.hint


async def test_stopping_early_closes_the_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 5000)
    reading = read_chunks(path, 5000, 1000)
    await reading.__anext__()
    assert str(path) in _open_files()
    await reading.aclose()
    assert str(path) not in _open_files()


async def test_cancelling_in_a_read_closes_the_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 5000)
    for turns in range(8):
        task = asyncio.create_task(_read(path, 5000))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(500):  # threads end by themselves
        if str(path) not in _open_files():
            break
        await asyncio.sleep(0.02)
    assert str(path) not in _open_files()
