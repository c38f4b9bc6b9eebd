"""Machines as line magics show them: one as a card, all as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from typing import Any

from jupyter_rmx.magics.display import MUTED, Shown
from jupyter_rmx.models import VM, Machine
from jupyter_rmx.wording import facts_of, kind_of, line_of, reason_of, status_of, table_of, where_of

_CELL = "text-align:left;padding:2px 16px 2px 0"
_GOOD = "var(--jp-success-color1,#388e3c)"
_UNDER_WAY = "var(--jp-warn-color1,#f57c00)"
_BAD = "var(--jp-error-color1,#d32f2f)"
_DOT = {
    "running": _GOOD,
    "creating": _UNDER_WAY,
    "destroying": _UNDER_WAY,
    "failed": _BAD,
    "ready": _GOOD,
    "connecting": _UNDER_WAY,
    "reconnecting": _UNDER_WAY,
    "blocked": _BAD,
}
_OTHER_DOT = "var(--jp-ui-font-color3,#9e9e9e)"
_HEADS = ("Name", "Status", "Kind", "Where", "Created")


def state_key(machine: Machine) -> str:
    """The one word of its state."""
    return machine.status if isinstance(machine, VM) else machine.connection.status


def _state(machine: Machine) -> str:
    colour = _DOT.get(state_key(machine), _OTHER_DOT)
    return f'<span style="color:{colour}">●</span> {escape(status_of(machine))}'


def _age(moment: datetime, now: datetime) -> str:
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def next_step(machine: Machine) -> tuple[str, str]:
    """What a user may do with a machine in this state: in words, and the line to type."""
    name = machine.name
    steps = {
        "running": ("run a cell there with", f"%%vm {name}"),
        "ready": ("run a cell there with", f"%%vm {name}"),
        "paused": ("it goes on when it is used, or with", f"%vm resume {name}"),
        "destroyed": ("make a new one with", f"%vm create {name}"),
        "failed": ("try again with", f"%vm create {name}"),
        "idle": ("it is connected when it is used, or with", f"%vm attach {name}"),
        "blocked": ("try again with", f"%vm attach {name}"),
        "reconnecting": ("try now with", f"%vm attach {name}"),
    }
    return steps.get(state_key(machine), ("see its state with", f"%vm info {name}"))


class MachineCard(Shown):
    """One machine; `notice` is what its provider wants said of it, if anything. `full`: all that is known of it."""

    def __init__(self, machine: Machine, notice: str = "", *, full: bool = False) -> None:
        self.machine = machine
        self.notice = notice
        self.name = machine.name
        self.id = machine.id
        self.status = state_key(machine)
        self._full = full

    def _said(self) -> list[str]:
        """Why it is so, if that is not plain, and what else is to be said."""
        facts = [f"{name}: {value}" for name, value in facts_of(self.machine)] if self._full else []
        return [text for text in (reason_of(self.machine), self.notice, *facts) if text]

    def text(self) -> str:
        """Its name, state and place, what to do where it does not run, and why."""
        words, line = next_step(self.machine)
        steps = [] if self.status in {"running", "ready"} else [f"{words[:1].upper()}{words[1:]}: {line}"]
        reason = reason_of(self.machine)
        rest = [text for text in self._said() if text != reason]
        return "\n".join([line_of(self.machine), *filter(None, [reason]), *steps, *rest])

    def html(self) -> str:
        """The same, with a first step."""
        words, line = next_step(self.machine)
        said = "".join(f'<div style="{MUTED}">{escape(text)}</div>' for text in self._said())
        return (
            f"<div><b>{escape(self.name)}</b> &nbsp; {_state(self.machine)} &nbsp; "
            f'<span style="{MUTED}">{escape(where_of(self.machine))} · {escape(words)}</span> '
            f"<code>{escape(line)}</code></div>{said}"
        )


_TERMINAL = "rmx:open-terminal"
"""The command of our JupyterLab extension (labextension/src/tokens.ts)."""


def _terminal_link(name: str) -> str:
    """A button of JupyterLab's own kind that runs a command: in an output that is trusted, and in JupyterLab only."""
    args = escape(json.dumps({"machine": name}), quote=True)
    return (
        f'<button type="button" class="jp-mod-styled jp-mod-minimal" data-commandlinker-command="{_TERMINAL}" '
        f'data-commandlinker-args="{args}">Open a terminal on it</button>'
    )


class DefaultCard(MachineCard):
    """A machine that has just become the default one, and what can be done with it."""

    def _steps(self) -> list[tuple[str, str]]:
        return [
            ("It is the default machine now; a cell runs there with", "%%vm"),
            ("Show a port of it as a tab", f"%vm open {self.name} 8000"),
            ("Give it another name", f"%vm rename {self.name} NEW"),
        ]

    def text(self) -> str:
        """Its line, and the next steps."""
        steps = [f"{words}: {line}" for words, line in self._steps()]
        return "\n".join([line_of(self.machine), *self._said(), *steps])

    def html(self) -> str:
        """The same."""
        said = "".join(f'<div style="{MUTED}">{escape(text)}</div>' for text in self._said())
        steps = "".join(
            f'<div style="{MUTED}">{escape(words)} <code>{escape(line)}</code></div>'
            for words, line in self._steps()
        )
        return (
            f"<div><b>{escape(self.name)}</b> &nbsp; {_state(self.machine)} &nbsp; "
            f'<span style="{MUTED}">{escape(where_of(self.machine))}</span></div>{said}{steps}'
            f"<div>{_terminal_link(self.name)}</div>"
        )


class MachineTable(Shown, Sequence[Machine]):
    """All machines, newest first; also a sequence of them. `default` is the name of the default one."""

    def __init__(
        self, machines: Sequence[Machine], now: datetime | None = None, *, default: str | None = None
    ) -> None:
        self._machines = list(machines)
        self._now = now or datetime.now(timezone.utc)
        self._default = default

    def __getitem__(self, index: Any) -> Any:
        return self._machines[index]

    def __len__(self) -> int:
        return len(self._machines)

    def _row(self, machine: Machine) -> tuple[str, ...]:
        age = _age(machine.created_at, self._now)
        return machine.name, status_of(machine), kind_of(machine), where_of(machine), age

    def _notes(self) -> list[str]:
        """Why a machine is as it is, for those of which it is not plain; and which one is the default."""
        notes = [f"{one.name}: {reason_of(one)}" for one in self._machines if reason_of(one)]
        if self._default in {one.name for one in self._machines}:
            notes.append(f"Default machine: {self._default}")
        return notes

    def text(self) -> str:
        """A table, or what to do next."""
        if not self._machines:
            return "No machines yet. Make one: %vm create demo, or attach a host of yours: %vm attach me@host"
        heads = tuple(head.upper() for head in _HEADS)
        return "\n".join([*table_of([heads, *map(self._row, self._machines)]), *self._notes()])

    def html(self) -> str:
        """The same as a table."""
        if not self._machines:
            return (
                "<div>No machines yet. Make one: <code>%vm create demo</code>, "
                "or attach a host of yours: <code>%vm attach me@host</code></div>"
            )
        head = "".join(f'<th style="{_CELL};{MUTED};font-weight:normal">{name}</th>' for name in _HEADS)
        body = "".join(map(self._html_row, self._machines))
        notes = "".join(f'<div style="{MUTED}">{escape(note)}</div>' for note in self._notes())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"

    def _html_row(self, machine: Machine) -> str:
        name, _, kind, where, age = map(escape, self._row(machine))
        cells = (
            ("", f"<b>{name}</b>"),
            ("", _state(machine)),
            (MUTED, kind),
            ("", where),
            (MUTED, age),
        )
        return f"<tr>{''.join(f'<td style={chr(34)}{_CELL};{style}{chr(34)}>{text}</td>' for style, text in cells)}</tr>"
