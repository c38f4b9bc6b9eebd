"""What an upload will do, decided before anything is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

FileKind = Literal["file", "folder", "missing", "other"]


@dataclass(frozen=True)
class FileItem:
    """One thing that the user named. `source` is what they wrote; `name` its last part; `size` in bytes."""

    source: str
    name: str
    kind: FileKind
    size: int = 0


@dataclass(frozen=True)
class Upload:
    """One regular file that goes to `remote_path` (absolute, or relative to the home directory there)."""

    item: FileItem
    remote_path: str


@dataclass(frozen=True)
class Rejection:
    """One item that is left alone, with a stable `code` and a `reason` and `hint` for the user."""

    item: FileItem
    code: str
    reason: str
    hint: str


@dataclass(frozen=True)
class TransferPlan:
    """All that will be done, and all that will not."""

    uploads: tuple[Upload, ...] = ()
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class FileResult:
    """A file that arrived: its path on the machine, its size in bytes, and its SHA-256 as counted there."""

    remote_path: str
    size: int
    sha256: str

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)
