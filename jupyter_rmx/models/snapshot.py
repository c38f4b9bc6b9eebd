"""A kept copy of a machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal

SnapshotStatus = Literal["creating", "ready", "failed"]


@dataclass(frozen=True)
class Snapshot:
    """A copy of a machine's disk, kept by its provider under `provider_snapshot_id`; `vm_id` is what it was made of."""

    id: str
    owner: str
    provider: str
    vm_id: str
    status: SnapshotStatus
    created_at: datetime
    provider_snapshot_id: str | None = None
    name: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        wire = asdict(self)
        wire["created_at"] = self.created_at.astimezone(timezone.utc).isoformat()
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Snapshot:
        """The inverse of `to_wire`."""
        names = ("id", "owner", "provider", "vm_id", "status", "provider_snapshot_id", "name")
        return cls(
            **{name: wire.get(name) for name in names},  # type: ignore[arg-type]  # as they were on the wire
            created_at=datetime.fromisoformat(wire["created_at"]),
        )
