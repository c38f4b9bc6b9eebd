"""The SQLite file: private, and the one that we opened.

The file must lie on a disk of this computer. On a network file system (NFS, SMB, sshfs) the memory that SQLite's
write-ahead log shares between processes does not reach another computer, and locks are often not kept: two computers
on one file damage it. It cannot be told reliably from here, so it is not refused; PostgreSQL is for that.
"""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store.failures import mapped

_PRIVATE = 0o600
# What SQLite keeps beside the file while it is open.
_COMPANIONS = ("", "-wal", "-shm")

RESERVE_BYTES = 128 * 1024
"""Enough for a few dozen rows and the log that they are written through."""

Identity = tuple[int, int] | None
"""Which file stands under a path: device and inode; None if there is none."""


def make_private(file: Path) -> None:
    """Make the folder (0700) and the file (0600) where they are missing; take the rights of others from the file."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder for the list of machines cannot be made: {error.strerror}.",
            hint=f"Make {file.parent} writable, or set JUPYTER_RMX_DATA_DIR to another folder.",
            code="store_no_folder",
            retryable=False,
        ) from error
    try:
        # SQLite would make it with the rights that the umask leaves; its companions take those of the file.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
    except FileExistsError:
        _close_to_others(file)
    except OSError as error:
        raise mapped(error) from error


def identity(file: Path | None) -> Identity:
    """Which file is there now."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _close_to_others(file: Path) -> None:
    for name in _COMPANIONS:
        companion = file.with_name(file.name + name)
        try:
            if companion.stat().st_mode & 0o077:
                companion.chmod(_PRIVATE)
        except OSError:
            continue  # not there, or not ours to change; SQLite says whether it can be used


def hold_reserve(file: Path) -> None:
    """Keep some room beside the file, for what must be written on a full disk; StoreError if there is none.

    What begins something new asks for it; what ends something may use it up (`free_reserve`).
    """
    reserve = _reserve_of(file)
    try:
        if reserve.stat().st_size >= RESERVE_BYTES:
            return
    except OSError:
        pass  # not there yet
    try:
        descriptor = os.open(reserve, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _PRIVATE)
        with os.fdopen(descriptor, "wb") as room:
            room.write(b"\0" * RESERVE_BYTES)
    except OSError as error:
        reserve.unlink(missing_ok=True)
        raise mapped(error) from error


def free_reserve(file: Path) -> None:
    """Give the room to the next writers."""
    try:
        _reserve_of(file).unlink(missing_ok=True)
    except OSError:
        return  # a folder that nobody may write: then it was not the room that was missing


def _reserve_of(file: Path) -> Path:
    return file.with_name(file.name + ".reserve")
