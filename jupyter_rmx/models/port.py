"""A link to a port of a machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any


@dataclass(frozen=True)
class PortLink:
    """Where a browser finds one loopback port of one machine.

    `url` is the alias URL without a secret; `open_url` carries the single-use ticket and dies at `expires_at`.
    `shown` is the address as the user thinks of it (`http://localhost:8000/`). `open_id` lets one JupyterLab window,
    once, open the tab by itself; it is no secret and means nothing after a minute.
    """

    machine: str
    machine_id: str
    port: int
    url: str
    open_url: str
    shown: str
    expires_at: datetime
    open_id: str

    def __repr__(self) -> str:
        """Without `open_url`, which is a secret."""
        return f"PortLink(machine={self.machine!r}, port={self.port}, url={self.url!r})"

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        wire = asdict(self)
        wire["expires_at"] = self.expires_at.astimezone(timezone.utc).isoformat()
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> PortLink:
        """The inverse of `to_wire`."""
        names = ("machine", "machine_id", "port", "url", "open_url", "shown", "open_id")
        return cls(
            **{name: wire[name] for name in names}, expires_at=datetime.fromisoformat(wire["expires_at"])
        )
