"""What a workflow is made of: steps as data.

A step is written to the store before it is done (`before`, in the same transaction) and after it was (`after`). What
cannot be in a transaction, a call to a provider, is `do`; what takes it back is `undo`. Steps that lie next to each
other share a write: the end of one is the beginning of the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import OperationKind
from jupyter_rmx.store.store import Transaction

AfterKill = Literal["again", "look", "keep", "back"]
Moment = Literal["written", "done", "undoing", "undone"]


@dataclass
class Run:
    """One operation on its way.

    `data` is kept in the store and free of secrets; `memory` is not kept: answers for the caller, secrets too.
    `data["machine"]` is the name of the machine, for those who follow.
    """

    id: str
    kind: OperationKind
    owner: str
    vm_id: str
    data: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def machine(self) -> str | None:
        """The machine's name."""
        return self.data.get("machine")


Write = Callable[[Transaction, Run], Awaitable[None]]
Act = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """One step.

    `after_kill` says what the next process does if this one was killed between `before` and `after`: do it `again`
    (it may be repeated); `look` whether it was done (`found` says, and fills `data`), else go back; `keep` what it makes,
    which nothing takes back (it is done again and written down), then go back; or go `back`.
    `skip`: left out for this run; must depend on `data` alone.
    """

    name: str
    do: Act
    before: Write | None = None
    after: Write | None = None
    undo: Act | None = None
    after_kill: AfterKill = "back"
    found: Callable[[Run], Awaitable[bool]] | None = None
    skip: Callable[[Run], bool] | None = None


@dataclass(frozen=True)
class Workflow:
    """Steps in order. `begin` is written with the operation itself, `finish` with its end; `begin` may refuse.

    `on_error`: `undo` takes back what was done, in reverse order, the failed step included; `retry` leaves the
    operation where it is, to be tried again (what a user must not be able to lose, such as the end of a machine).
    `failing` is written when undoing begins, `failed` when it is over.
    """

    kind: OperationKind
    steps: tuple[Step, ...]
    begin: Write | None = None
    finish: Write | None = None
    on_error: Literal["undo", "retry"] = "undo"
    failing: Callable[[Transaction, Run, RmxError], Awaitable[None]] | None = None
    failed: Write | None = None

    def position(self, name: str) -> int:
        """Where the step of that name stands."""
        return next(index for index, step in enumerate(self.steps) if step.name == name)

    def next_from(self, index: int, run: Run) -> int:
        """The first step from there on that is not left out; the number of steps if there is none."""
        while index < len(self.steps) and self.leaves_out(index, run):
            index += 1
        return index

    def leaves_out(self, index: int, run: Run) -> bool:
        """True if that step is not for this run."""
        skip = self.steps[index].skip
        return skip is not None and skip(run)


@dataclass(frozen=True)
class Boundary:
    """A point at which a process can be killed with the world in a state of its own."""

    kind: OperationKind
    step: str
    moment: Moment


def boundaries(workflow: Workflow) -> Iterator[Boundary]:
    """All of them: before and after each step's act and each undo's."""
    for step in workflow.steps:
        yield Boundary(workflow.kind, step.name, "written")
        yield Boundary(workflow.kind, step.name, "done")
        if workflow.on_error == "undo" and step.undo is not None:
            yield Boundary(workflow.kind, step.name, "undoing")
            yield Boundary(workflow.kind, step.name, "undone")


Probe = Callable[[Boundary], None]


def no_probe(_boundary: Boundary) -> None:
    """Nobody looks."""
