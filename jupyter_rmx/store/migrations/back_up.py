"""A copy of the SQLite file, beside it, made by SQLite itself: whole, whatever others read or wrote before."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store.failures import DISK_FULL, mapped


def back_up(file: Path, revision: str) -> Path:
    """Copy the file to `<file>.before-<revision>-<UTC time>`, mode 0600; raises StoreError and leaves no part of it.

    The caller keeps others from writing meanwhile.
    """
    try:
        copy = _new_file(file, revision)
        try:
            _copy(file, copy)
        except BaseException:
            _remove(copy)
            raise
    except (sqlite3.Error, OSError) as error:
        raise _explained(mapped(error)) from error
    return copy


def _new_file(file: Path, revision: str) -> Path:
    stem = f"{file.name}.before-{revision}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
    for number in count(1):
        copy = file.with_name(stem if number == 1 else f"{stem}-{number}")
        try:
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            continue
        return copy
    raise AssertionError  # `count` has no end


def _copy(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        # One whole file, which can be moved: no write-ahead log beside it.
        target.execute("PRAGMA journal_mode=DELETE")


def _remove(copy: Path) -> None:
    for name in ("", "-journal", "-wal", "-shm"):
        copy.with_name(copy.name + name).unlink(missing_ok=True)


def _explained(error: StoreError) -> StoreError:
    if error.code == DISK_FULL:
        error.message = (
            "The list of machines is not upgraded: the disk has no room for the back-up made before."
        )
        error.args = (error.message,)
    return error
