"""Copies of homes, below `<data_dir>/local/snapshots`. The id follows from the key: one key, one snapshot."""

from __future__ import annotations

from pathlib import Path

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.providers.drivers.local import copying, layout


def exists(root: Path, snapshot_id: str) -> bool:
    """True if there is a whole one."""
    return layout.is_snapshot_id(snapshot_id) and _folder(root, snapshot_id).is_dir()


def take(root: Path, home: Path, snapshot_id: str) -> None:
    """Copy the home, unless that was done; the caller holds its machine's lock. The copy appears whole or not at all."""
    folder = _folder(root, snapshot_id)
    if folder.is_dir():
        return
    part = folder.with_name(f".{snapshot_id}.part")
    copying.remove_tree(part)  # left by a process that was killed in the middle
    try:
        part.mkdir(mode=0o700, parents=True)
        copying.copy_home(home, part / "home")
        part.rename(folder)
    except BaseException:
        copying.remove_tree(part)
        raise


def home_of(root: Path, snapshot_id: str) -> Path:
    """The copied home; ProviderError `vm_snapshot_not_found` if there is none."""
    if not exists(root, snapshot_id):
        raise ProviderError(
            f"There is no snapshot {snapshot_id[:40]!r}.",
            hint="Take one of a machine that exists.",
            code="vm_snapshot_not_found",
            status=404,
        )
    return _folder(root, snapshot_id) / "home"


def _folder(root: Path, snapshot_id: str) -> Path:
    return root / "snapshots" / snapshot_id
