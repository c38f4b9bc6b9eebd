"""Local files as the source of an upload: what a path names, and its bytes, read in threads."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from jupyter_rmx.errors import TransferError
from jupyter_rmx.models import FileItem
from jupyter_rmx.models.transfer import FileKind

CHUNK = 1024 * 1024


def describe(path_text: str) -> FileItem:
    """What `path_text` names. Links are followed, `~` is the home directory here.

    A path that cannot be looked at (too long, a loop of links, no right to enter its folder) is `missing`.
    """
    path = expanded(path_text)
    name = path.name or path_text
    if not path_text:  # pathlib takes it for "."
        return FileItem(source="", name="", kind="missing")
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL character
        return FileItem(source=path_text, name=name, kind="missing")
    kind: FileKind = "other"
    if stat.S_ISREG(found.st_mode):
        kind = "file"
    elif stat.S_ISDIR(found.st_mode):
        kind = "folder"
        name = path.name or Path(os.path.realpath(path)).name  # "." and ".." have a name too
    return FileItem(source=path_text, name=name, kind=kind, size=found.st_size if kind == "file" else 0)


def expanded(path_text: str) -> Path:
    """The path with `~` expanded; as it is where there is no such user."""
    try:
        return Path(path_text).expanduser()
    except RuntimeError:
        return Path(path_text)


def _unreadable(path: Path, error: OSError) -> TransferError:
    return TransferError(
        f"{path.name} cannot be read: {error.strerror or error}.",
        hint="Check that it is there and that you may read it.",
        code="transfer_source_failed",
    )


class _Source:
    """A file that is opened, read and closed in threads; closing it never pulls it from under a read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._closed = False
        self._lock = threading.Lock()

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes; empty at the end, or once closed."""
        try:
            with self._lock:
                if self._closed:
                    return b""
                if self._file is None:
                    self._file = _open_regular(self._path)
                return os.read(self._file, limit)
        finally:
            if self._closed:  # asked for while we held the lock
                with self._lock:
                    self._close_file()

    def close(self) -> None:
        """Close now, or at the end of the read that is under way (its waiter was cancelled, its thread goes on)."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._close_file()
            finally:
                self._lock.release()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _open_regular(path: Path) -> int:
    # O_NONBLOCK: a pipe put in place of the file after `describe` must not hang the open. Windows lacks both.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, os.O_RDONLY | flags)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


async def read_chunks(path: Path | str, size: int, chunk: int = CHUNK) -> AsyncIterator[bytes]:
    """The file's bytes in pieces of at most `chunk`, `size` of them in all.

    Raises TransferError `transfer_size_mismatch` if the file has become shorter or longer than `size`, and
    `transfer_source_failed` if it cannot be read.
    """
    path = expanded(os.fspath(path))
    source = _Source(path)
    left = size
    try:
        # One byte more than is left is asked for, so that a file that grew is noticed.
        while data := await asyncio.to_thread(source.read, min(chunk, left + 1)):
            left -= len(data)
            if left < 0:
                break
            yield data
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        source.close()
    if left != 0:
        raise TransferError(
            f"{path.name} is {'shorter' if left > 0 else 'longer'} than the {size} bytes it had at the start.",
            hint="Upload it again when nothing writes to it.",
            code="transfer_size_mismatch",
            retryable=True,
        )
