"""A machine that the user already has, reached over SSH."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from jupyter_rmx.models.connection import ConnectionState, Question
from jupyter_rmx.models.names import machine_label
from jupyter_rmx.models.ssh_target import SSHTarget
from jupyter_rmx.models.vm import VM

STARTUP_MAX = 8192
"""Characters of a command that terminals run first."""


@dataclass(frozen=True)
class Workspace:
    """A workspace as our store knows it, with the state of its connection in this process."""

    id: str
    name: str
    owner: str
    target: SSHTarget
    created_at: datetime
    startup: str | None = None
    """A command that its terminals run first."""
    connection: ConnectionState = field(default_factory=ConnectionState)

    @property
    def label(self) -> str:
        """Host-name label of this machine."""
        return machine_label(self.name, self.id)

    def to_wire(self) -> dict[str, Any]:
        """JSON form: snake_case, time in ISO 8601 UTC."""
        return {
            "id": self.id,
            "name": self.name,
            "owner": self.owner,
            "kind": "workspace",
            "label": self.label,
            "target": self.target.to_wire(),
            "created_at": self.created_at.astimezone(timezone.utc).isoformat(),
            "startup": self.startup,
            "connection": self.connection.to_wire(),
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Workspace:
        """The inverse of `to_wire`; fields that are not known are ignored."""
        return cls(
            id=wire["id"],
            name=wire["name"],
            owner=wire["owner"],
            target=SSHTarget.from_wire(wire["target"]),
            created_at=datetime.fromisoformat(wire["created_at"]),
            startup=wire.get("startup"),
            connection=ConnectionState.from_wire(wire.get("connection") or {}),
        )


Machine = VM | Workspace


def machine_from_wire(wire: dict[str, Any]) -> Machine:
    """A VM or a workspace, by its `kind`."""
    return Workspace.from_wire(wire) if wire.get("kind") == "workspace" else VM.from_wire(wire)


@dataclass(frozen=True)
class Attached:
    """What came of `attach`: the machine, and a question if its server wants an answer before it lets anybody in."""

    machine: Machine
    question: Question | None = None

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "machine": self.machine.to_wire(),
            "question": self.question.to_wire() if self.question else None,
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Attached:
        """The inverse of `to_wire`."""
        question = wire.get("question")
        return cls(machine_from_wire(wire["machine"]), Question.from_wire(question) if question else None)


@dataclass(frozen=True)
class SSHHost:
    """A `Host` entry of ssh_config without patterns, for lists and completion; `source` is the file it stands in."""

    name: str
    source: str

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        return {"name": self.name, "source": self.source}
