"""From the files that a user named to the paths on the machine. Pure: sizes and kinds come with the items."""

from __future__ import annotations

from collections.abc import Sequence

from jupyter_rmx.models import FileItem, Rejection, TransferPlan, Upload

NAME_MAX = 255
"""Bytes of one name on every file system that is in common use."""


def plan_upload(items: Sequence[FileItem], *, directory: str = "", max_bytes: int) -> TransferPlan:
    """Send each regular file to `<directory>/<name>` and say of every other item why not.

    `directory` is a folder on the machine, relative to the home directory there or absolute; empty is the home
    directory. `max_bytes` is the largest size of one file. Nothing of a local path but its last part becomes part of
    a remote path. Uploads and rejections keep the order of `items`, and every item is in exactly one of them.
    """
    uploads: list[Upload] = []
    rejections: list[Rejection] = []
    taken: set[str] = set()
    for item in items:
        rejection = _reject(item, taken, max_bytes)
        if rejection is not None:
            rejections.append(rejection)
            continue
        taken.add(item.name)
        uploads.append(Upload(item, _join(directory, item.name)))
    return TransferPlan(tuple(uploads), tuple(rejections))


def _join(directory: str, name: str) -> str:
    if not directory:
        return name
    return f"{directory.rstrip('/')}/{name}"


def _shown(text: str) -> str:
    """For a message: on one line and not endless."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= 120 else f"…{shown[-119:]}"


def _length(name: str) -> int:
    """Bytes of `name` on a disk; -1 if it has half of a surrogate pair, which no disk can hold."""
    try:
        return len(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return -1


def _bytes(count: int) -> str:
    """A size for people, as `1.5 GiB`."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def _reject(item: FileItem, taken: set[str], max_bytes: int) -> Rejection | None:
    return _reject_kind(item) or _reject_name(item, taken) or _reject_size(item, max_bytes)


def _reject_kind(item: FileItem) -> Rejection | None:
    source = _shown(item.source)
    if item.kind == "folder":
        folder = source.rstrip("/") or "/"
        pack = f"tar czf {_shown(item.name) or 'folder'}.tgz {folder}"
        return Rejection(
            item,
            "transfer_is_folder",
            f"{folder.rstrip('/')}/ is a folder.",
            f"Upload its files ({folder.rstrip('/')}/*), or pack it: {pack}",
        )
    if item.kind == "missing":
        return Rejection(
            item, "transfer_missing_file", f"There is no file {source}.", "Check the spelling and the folder."
        )
    if item.kind != "file":
        return Rejection(
            item,
            "transfer_not_a_file",
            f"{source} is not a regular file.",
            "Only regular files are sent; pipes, sockets and devices are left alone.",
        )
    return None


def _reject_name(item: FileItem, taken: set[str]) -> Rejection | None:
    name = item.name
    if name in {"", ".", ".."} or "\0" in name or "/" in name or _length(name) < 0:
        return Rejection(
            item, "transfer_bad_name", f"{_shown(name)!r} cannot be the name of a file.", "Rename it first."
        )
    if _length(name) > NAME_MAX:
        return Rejection(
            item,
            "transfer_bad_name",
            f"The name {_shown(name)} is too long.",
            f"A name has at most {NAME_MAX} bytes; rename it first.",
        )
    if name in taken:
        return Rejection(
            item,
            "transfer_same_name",
            f"Another file of this upload is called {_shown(name)} too.",
            "Upload it by itself to another folder, or rename it.",
        )
    return None


def _reject_size(item: FileItem, max_bytes: int) -> Rejection | None:
    if item.size <= max_bytes:
        return None
    return Rejection(
        item,
        "transfer_too_large",
        f"{_shown(item.name)} has {_bytes(item.size)}; at most {_bytes(max_bytes)} are allowed.",
        "Raise the setting upload_max_bytes, or fetch the file from the machine itself.",
    )
