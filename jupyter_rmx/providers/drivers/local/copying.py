"""Copying and removing a home: links, modes, times and hard links kept; sockets, pipes and devices left out."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path


def copy_home(source: Path, target: Path) -> None:
    """Copy the folder `source` to the new folder `target`. Files that vanish meanwhile are left out."""
    _copy_folder(source, target, {})


def _copy_folder(source: Path, target: Path, linked: dict[tuple[int, int], Path]) -> None:
    target.mkdir(mode=0o700)
    with os.scandir(source) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        try:
            _copy_entry(source / name, target / name, linked)
        except FileNotFoundError:
            if os.path.lexists(source / name):
                raise
    with contextlib.suppress(FileNotFoundError):
        shutil.copystat(source, target)


def _copy_entry(source: Path, target: Path, linked: dict[tuple[int, int], Path]) -> None:
    info = source.lstat()
    if stat.S_ISLNK(info.st_mode):
        target.symlink_to(source.readlink())
        shutil.copystat(source, target, follow_symlinks=False)
    elif stat.S_ISDIR(info.st_mode):
        _copy_folder(source, target, linked)
    elif stat.S_ISREG(info.st_mode):
        first = linked.get((info.st_dev, info.st_ino))
        if first is not None:
            target.hardlink_to(first)
            return
        shutil.copyfile(source, target)
        shutil.copystat(source, target)
        if info.st_nlink > 1:
            linked[info.st_dev, info.st_ino] = target


def remove_tree(folder: Path) -> None:
    """Remove `folder` and all in it, whatever its modes; nothing there is fine."""
    if not os.path.lexists(folder):
        return
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
        return
    for path, names, _ in os.walk(folder):  # folders that their owner may not enter
        for name in names:
            inner = Path(path, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
        Path(path).chmod(0o700)
    shutil.rmtree(folder)
