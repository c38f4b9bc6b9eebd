"""A machine that a provider made, and the wish for one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from jupyter_rmx.models.names import machine_label

VMStatus = Literal["creating", "running", "paused", "destroying", "destroyed", "failed"]


@dataclass(frozen=True)
class VMSpec:
    """What a user asks for. `name` None: one is chosen. `image` None: the provider's default.

    `snapshot` is the id of a snapshot of ours that the machine starts from; `source` the id of the VM that it is a
    fork of.
    """

    name: str | None = None
    provider: str | None = None
    image: str | None = None
    snapshot: str | None = None
    source: str | None = None

    def fingerprint(self) -> str:
        """SHA-256 over the parameters: equal for equal wishes, so a repeated create can be told from another one."""
        wish = asdict(self)
        for name in (
            "snapshot",
            "source",
        ):  # left out where not set: older stores hold fingerprints without them
            if wish[name] is None:
                del wish[name]
        return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class VM:
    """A machine made by a provider, as our store knows it."""

    id: str
    name: str
    owner: str
    provider: str
    status: VMStatus
    created_at: datetime
    provider_vm_id: str | None = None
    image: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """What the provider wants shown, free of secrets; of the embedded one `isolation` and `shared_loopback`."""
    image_version: str | None = None
    reason_code: str | None = None
    """Why the machine is `failed` or `destroyed`, or was found otherwise than we left it; with `reason` in words."""
    reason: str | None = None
    destroyed_at: datetime | None = None

    @property
    def label(self) -> str:
        """Host-name label of this machine."""
        return machine_label(self.name, self.id)

    def to_wire(self) -> dict[str, Any]:
        """JSON form: snake_case, time in ISO 8601 UTC."""
        wire = asdict(self)
        wire["created_at"] = self.created_at.astimezone(timezone.utc).isoformat()
        wire["destroyed_at"] = self.destroyed_at and self.destroyed_at.astimezone(timezone.utc).isoformat()
        wire["kind"] = "vm"
        wire["label"] = self.label
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> VM:
        """The inverse of `to_wire`; fields that are not known are ignored."""
        return cls(
            id=wire["id"],
            name=wire["name"],
            owner=wire["owner"],
            provider=wire["provider"],
            status=wire["status"],
            created_at=datetime.fromisoformat(wire["created_at"]),
            provider_vm_id=wire.get("provider_vm_id"),
            image=wire.get("image"),
            details=dict(wire.get("details") or {}),
            image_version=wire.get("image_version"),
            reason_code=wire.get("reason_code"),
            reason=wire.get("reason"),
            destroyed_at=_time(wire.get("destroyed_at")),
        )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
