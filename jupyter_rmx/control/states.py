"""The states of a VM as a table.

Laws
1. A row is changed only along `MOVES`, by an update that names the states it may come from; `destroyed` and `failed`
   are final.
2. `ACTIVE` states count to the limit; so does a paused machine while it is being resumed, and a failed one until what
   was made of it is removed.
3. What the provider says of a machine is believed (`SEEN`), unless an operation has the machine to itself; a state that
   is not known counts as running. A machine that is gone there becomes `destroyed`, with the reason.
4. `stopped` at the provider (ended, but kept) is `paused` here: it costs no slot, and whoever uses it starts it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_rmx.models import VMStatus
from jupyter_rmx.providers.base import ProviderStatus

MOVES: dict[VMStatus, frozenset[VMStatus]] = {
    "creating": frozenset({"running", "failed"}),
    "running": frozenset({"paused", "destroying", "destroyed"}),
    "paused": frozenset({"running", "destroying", "destroyed"}),
    "destroying": frozenset({"destroyed"}),
    "destroyed": frozenset(),
    "failed": frozenset(),
}

ACTIVE: frozenset[VMStatus] = frozenset({"creating", "running", "destroying"})
SETTLED: frozenset[VMStatus] = frozenset({"running", "paused"})
"""States in which no operation is under way, so that the provider's word counts."""


@dataclass(frozen=True)
class Seen:
    """What a row becomes after a look at the provider; `reason` None: as it should be."""

    status: VMStatus
    reason_code: str | None = None
    reason: str | None = None


_GONE = Seen("destroyed", "vm_gone", "Its provider has it no more: it was ended there, or its time was over.")
_STOPPED = Seen(
    "paused", "vm_stopped", "It was stopped from outside; its files are kept, its processes are not."
)

SEEN: dict[tuple[VMStatus, ProviderStatus], Seen] = {
    ("running", "running"): Seen("running"),
    ("running", "creating"): Seen("running"),
    ("running", "paused"): Seen("paused"),
    ("running", "stopped"): _STOPPED,
    ("running", "gone"): _GONE,
    ("paused", "running"): Seen("running"),
    ("paused", "creating"): Seen("paused"),
    ("paused", "paused"): Seen("paused"),
    ("paused", "stopped"): _STOPPED,
    ("paused", "gone"): _GONE,
}


def sources_of(target: VMStatus) -> frozenset[VMStatus]:
    """The states from which a row may become `target`."""
    return frozenset(state for state, targets in MOVES.items() if target in targets)
