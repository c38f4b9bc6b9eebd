"""The terminals of this process, machine by machine. They end with it."""

from __future__ import annotations

import asyncio
import re
from typing import Protocol

from jupyter_rmx.clock import Clock
from jupyter_rmx.errors import TransportError, UsageError
from jupyter_rmx.terminals.terminal import Pace, Place, RemoteTerminal
from jupyter_rmx.terminals.view import Ending
from jupyter_rmx.transports.base import Transport

LIMIT = 64
"""Terminals that one machine may have."""
_NAME = re.compile(r"[A-Za-z0-9_]{1,32}", re.ASCII)


class Machines(Protocol):
    """What the terminals need of the machines."""

    async def find(self, machine: str) -> Place:
        """The machine of that name or id; `vm_not_found` otherwise. Nothing is connected."""
        ...

    async def connect(self, machine_id: str, *, wake: bool) -> Transport:
        """Its live transport; see `terminal.Connect`."""
        ...


class Terminals:
    """All methods belong to one event loop, and raise errors of `errors.py` only."""

    def __init__(
        self, machines: Machines, clock: Clock, *, limit: int = LIMIT, pace: Pace | None = None
    ) -> None:
        self._machines = machines
        self._clock = clock
        self._limit = limit
        self._pace = pace
        self._all: dict[str, dict[str, RemoteTerminal]] = {}
        self._opening: dict[str, set[str]] = {}
        self._closed = False

    async def list(self, machine: str) -> list[RemoteTerminal]:
        """The terminals of a machine, in the order in which they were opened."""
        place = await self._machines.find(machine)
        return list(self._all.get(place.id, {}).values())

    async def get(self, machine: str, name: str) -> RemoteTerminal:
        """One of them; TransportError `ssh_no_such_terminal` (404)."""
        place = await self._machines.find(machine)
        found = self._all.get(place.id, {}).get(name)
        if found is None:
            raise _no_such(place, name)
        return found

    async def open(self, machine: str, name: str | None = None) -> RemoteTerminal:
        """A new terminal, or the one of that name; a machine that is paused is resumed.

        Raises UsageError `usage_bad_name`, TransportError `ssh_too_many_terminals` (409), and what keeps the machine
        from being reached.
        """
        if name is not None and _NAME.fullmatch(name) is None:
            raise UsageError(
                "This is no name for a terminal.",
                hint="Use up to 32 letters, digits and '_', or leave it out.",
                code="usage_bad_name",
            )
        place = await self._machines.find(machine)
        there = self._all.get(place.id, {})
        if name is not None and name in there:
            return there[name]
        opening = self._opening.setdefault(place.id, set())
        if self._closed:
            raise TransportError(
                "This Jupyter is shutting down.", hint="Try again when it runs.", code="ssh_closed"
            )
        if len(there) + len(opening) >= self._limit:
            raise _too_many(place, self._limit)
        name = name or _free_name({*there, *opening})
        opening.add(name)
        try:
            return await self._start(name, place)
        finally:
            opening.discard(name)

    async def _start(self, name: str, place: Place) -> RemoteTerminal:
        terminal = RemoteTerminal(
            name, place, self._machines.connect, self._clock, on_end=self._forget, pace=self._pace
        )
        await terminal.start()
        # Under another's feet: the same name was opened meanwhile, or Jupyter has begun to stop.
        there = self._all.setdefault(place.id, {})
        if self._closed or name in there:
            await terminal.aclose()
            if name in there:
                return there[name]
            raise TransportError(
                "This Jupyter is shutting down.", hint="Try again when it runs.", code="ssh_closed"
            )
        if terminal.state != "ended":
            there[name] = terminal
        return terminal

    def _forget(self, terminal: RemoteTerminal) -> None:
        there = self._all.get(terminal.place.id, {})
        if there.get(terminal.name) is terminal:
            del there[terminal.name]
        if not there:
            self._all.pop(terminal.place.id, None)

    async def close(self, machine: str, name: str) -> None:
        """Hang up; TransportError `ssh_no_such_terminal` (404)."""
        await (await self.get(machine, name)).aclose()

    async def close_machine(self, machine_id: str, why: Ending = "ended") -> None:
        """Hang up all of a machine."""
        there = list(self._all.get(machine_id, {}).values())
        await asyncio.gather(*(terminal.aclose(why) for terminal in there))

    async def aclose(self) -> None:
        """Hang up all; Jupyter stops."""
        self._closed = True
        await asyncio.gather(*(self.close_machine(machine_id, "closed") for machine_id in list(self._all)))


def _free_name(taken: set[str]) -> str:
    return next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)


def _no_such(place: Place, name: str) -> TransportError:
    return TransportError(
        f"{place.name} has no terminal {name[:40]!r}.",
        hint="It may have ended; open a new one.",
        code="ssh_no_such_terminal",
        status=404,
        retryable=False,
    )


def _too_many(place: Place, limit: int) -> TransportError:
    return TransportError(
        f"{place.name} has {limit} terminals, and more are not opened.",
        hint="Close some of its terminal tabs with “Shut Down Terminal”, or exit their shells.",
        code="ssh_too_many_terminals",
        status=409,
        retryable=False,
        details={"limit": limit},
    )
