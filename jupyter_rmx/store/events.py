"""Rows of events: what happened, in the order in which followers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, func, not_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyter_rmx.models import Event
from jupyter_rmx.store.database import lock_text
from jupyter_rmx.store.schema import events

_AUDIT = "vm.%"


@dataclass(frozen=True)
class NewEvent:
    """An event that is to be written. `once`: it is written at most once with that text."""

    owner: str
    type: str
    at: datetime
    vm_id: str | None = None
    machine: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    once: str | None = None


class EventRows:
    """The table `events`, in one transaction. What is added is written when the transaction ends."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._added: list[NewEvent] = []

    def add(self, event: NewEvent) -> None:
        """Write it at the end of this transaction."""
        self._added.append(event)

    @property
    def added(self) -> int:
        """How many wait to be written."""
        return len(self._added)

    async def flush(self) -> None:
        """Write what was added; a failure takes back only this.

        On PostgreSQL writers of events queue for a lock until they commit: an id never becomes visible after a higher
        one was, so a follower that remembers the last id misses nothing. It is taken last, so it cannot deadlock.
        """
        if not self._added:
            return
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        values = [
            {
                "owner": event.owner,
                "type": event.type,
                "at": event.at,
                "vm_id": event.vm_id,
                "machine": event.machine,
                "data": event.data,
                "once": event.once,
            }
            for event in self._added
        ]
        query = dialect.insert(events).values(values).on_conflict_do_nothing(index_elements=["once"])
        if dialect is sqlite:  # a statement that fails takes back only itself there, and this is one
            await self._connection.execute(query)
            return
        async with self._connection.begin_nested():
            await lock_text(self._connection, "rmx events")
            await self._connection.execute(query)

    async def after(self, owner: str, last: int, *, limit: int) -> list[Event]:
        """Events of the owner after that id, oldest first."""
        query = (
            select(events)
            .where(events.c.owner == owner, events.c.id > last)
            .order_by(events.c.id)
            .limit(limit)
        )
        return [
            Event(row.id, row.type, row.at, row.owner, row.machine, dict(row.data or {}))
            for row in await self._connection.execute(query)
        ]

    async def bounds(self, owner: str) -> tuple[int, int]:
        """The lowest and highest id there is; (0, 0) if there is none."""
        query = select(func.min(events.c.id), func.max(events.c.id)).where(events.c.owner == owner)
        low, high = (await self._connection.execute(query)).one()
        return int(low or 0), int(high or 0)

    async def audit(self, owner: str, *, vm_id: str | None = None) -> list[Event]:
        """The `vm.*` events, oldest first."""
        query = select(events).where(events.c.owner == owner, events.c.type.like(_AUDIT))
        if vm_id is not None:
            query = query.where(events.c.vm_id == vm_id)
        return [
            Event(row.id, row.type, row.at, row.owner, row.machine, dict(row.data or {}))
            for row in await self._connection.execute(query.order_by(events.c.id))
        ]

    async def forget(self, before: datetime) -> int:
        """Delete events older than that, but for the `vm.*` ones, which are the record of use."""
        query = delete(events).where(and_(events.c.at < before, not_(events.c.type.like(_AUDIT))))
        return int((await self._connection.execute(query)).rowcount)
