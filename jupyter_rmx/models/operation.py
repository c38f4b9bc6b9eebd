"""What is being done to a machine, and what the faces are told of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

OperationKind = Literal[
    "create",
    "destroy",
    "exec",
    "attach_endpoint",
    "ssh_endpoint",
    "pause",
    "resume",
    "snapshot",
    "restore",
    "fork",
]
OperationState = Literal["running", "undoing", "done", "failed"]


@dataclass(frozen=True)
class Operation:
    """One workflow on one machine. `step` is the step that is being done, undone, or was last.

    `error` is the envelope of what made it fail; while `undoing`, of what it will fail with.
    """

    id: str
    kind: OperationKind
    owner: str
    vm_id: str
    state: OperationState
    step: str
    created_at: datetime
    updated_at: datetime
    error: dict[str, Any] | None = None

    def to_wire(self) -> dict[str, Any]:
        """JSON form, times in ISO 8601 UTC."""
        wire = asdict(self)
        for name in ("created_at", "updated_at"):
            wire[name] = wire[name].astimezone(timezone.utc).isoformat()
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Operation:
        """The inverse of `to_wire`; fields that are not known are ignored."""
        names = ("id", "kind", "owner", "vm_id", "state", "step", "error")
        times = {name: datetime.fromisoformat(wire[name]) for name in ("created_at", "updated_at")}
        return cls(**{name: wire.get(name) for name in names}, **times)  # type: ignore[arg-type]  # as they were on the wire


@dataclass(frozen=True)
class Event:
    """Something that happened; `id` grows, and a follower resumes after the last one it saw.

    `machine` is the name of the machine; `data` is JSON-able and free of secrets. Types: design.md § 6 (`machine.state`,
    `machine.connection`, `operation.step`), and `vm.*` for what a person did and may be billed for.
    """

    id: int
    type: str
    at: datetime
    owner: str
    machine: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        wire = asdict(self)
        wire["at"] = self.at.astimezone(timezone.utc).isoformat()
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Event:
        """The inverse of `to_wire`."""
        return cls(
            id=int(wire["id"]),
            type=wire["type"],
            at=datetime.fromisoformat(wire["at"]),
            owner=wire["owner"],
            machine=wire.get("machine"),
            data=dict(wire.get("data") or {}),
        )
