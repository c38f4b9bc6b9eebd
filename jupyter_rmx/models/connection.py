"""The state of a machine's connection, and what is asked of a person while it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

ConnectionStatus = Literal["idle", "connecting", "ready", "reconnecting", "blocked"]
PromptKind = Literal["password", "passphrase", "answer", "new_password"]


@dataclass(frozen=True)
class ConnectionState:
    """How the connection of a machine is; the data of a `machine.connection` event.

    `attempt` counts from 1 while `reconnecting`, and `next_in_s` are the seconds until it. `code`, `reason` and `hint`
    are those of the error that came last; set while `reconnecting` and `blocked`.
    """

    status: ConnectionStatus = "idle"
    attempt: int = 0
    next_in_s: float | None = None
    code: str | None = None
    reason: str | None = None
    hint: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> ConnectionState:
        """The inverse of `to_wire`; fields that are not known are ignored."""
        return cls(**{name: wire[name] for name in cls.__dataclass_fields__ if name in wire})


@dataclass(frozen=True)
class Prompt:
    """One line that a person is asked for. `echo` False: it is masked, and the answer is a secret."""

    text: str
    echo: bool = False
    kind: PromptKind = "answer"


@dataclass(frozen=True)
class Question:
    """What a server asks before it lets somebody in (RFC 4256): all prompts are answered together.

    No prompts: there is nothing to type, only to read or do, as touching a security key.
    """

    id: str
    machine: str
    title: str
    instructions: str = ""
    prompts: tuple[Prompt, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self) | {"prompts": [asdict(prompt) for prompt in self.prompts]}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Question:
        """The inverse of `to_wire`; fields that are not known are ignored."""
        prompts = (
            Prompt(one["text"], bool(one.get("echo")), one.get("kind", "answer")) for one in wire["prompts"]
        )
        return cls(wire["id"], wire["machine"], wire["title"], wire.get("instructions") or "", tuple(prompts))
