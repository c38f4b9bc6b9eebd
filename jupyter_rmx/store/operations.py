"""Rows of operations, and of the processes that work on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyter_rmx.models import Operation
from jupyter_rmx.store.schema import operations, roles, workers

UNFINISHED = ("running", "undoing")


@dataclass(frozen=True)
class OperationRecord:
    """An operation with what its steps remember (`data`), who works on it, and when it is tried again."""

    operation: Operation
    data: dict[str, Any] = field(default_factory=dict)
    worker: str | None = None
    retry_at: datetime | None = None
    attempts: int = 0


class OperationRows:
    """The table `operations`, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, record: OperationRecord) -> None:
        """A new row."""
        values = {name: getattr(record.operation, name) for name in _COLUMNS} | {
            "data": record.data,
            "worker": record.worker,
            "retry_at": record.retry_at,
            "attempts": record.attempts,
        }
        await self._connection.execute(insert(operations).values(values))

    async def get(self, operation_id: str) -> OperationRecord | None:
        """The row of that id."""
        query = select(operations).where(operations.c.id == operation_id)
        row = (await self._connection.execute(query)).first()
        return _record(row) if row is not None else None

    async def unfinished(self, owner: str) -> list[OperationRecord]:
        """Operations that are not over, oldest first."""
        query = (
            select(operations)
            .where(operations.c.owner == owner, operations.c.state.in_(UNFINISHED))
            .order_by(operations.c.created_at, operations.c.id)
        )
        return [_record(row) for row in await self._connection.execute(query)]

    async def change(self, operation_id: str, *, worker: str | None, values: dict[str, Any]) -> bool:
        """Change a row on which `worker` (None: nobody) still works; False if another one took it over."""
        return await self._change(operations.c.id == operation_id, _same_worker(worker), values=values)

    async def _change(self, *conditions: Any, values: dict[str, Any]) -> bool:
        query = update(operations).where(*conditions, operations.c.state.in_(UNFINISHED))
        return (await self._connection.execute(query.values(values))).rowcount > 0

    async def forget_over(self, before: datetime) -> int:
        """Delete operations that were over before that time; how many."""
        query = delete(operations).where(
            operations.c.state.not_in(UNFINISHED), operations.c.updated_at < before
        )
        return int((await self._connection.execute(query)).rowcount)


@dataclass(frozen=True)
class WorkerRecord:
    """A process that works, or worked: `host` is its computer since its last start, `beat` grows while it lives."""

    id: str
    host: str
    process: str
    beat: int = 0


class WorkerRows:
    """The tables `workers` and `roles`, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, record: WorkerRecord) -> None:
        """A new row; one that is there already stays."""
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        values = {"id": record.id, "host": record.host, "process": record.process, "beat": record.beat}
        await self._connection.execute(dialect.insert(workers).values(values).on_conflict_do_nothing())

    async def all(self) -> dict[str, WorkerRecord]:
        """All rows by id."""
        rows = await self._connection.execute(select(workers))
        return {row.id: WorkerRecord(row.id, row.host, row.process, row.beat) for row in rows}

    async def beat(self, worker_id: str) -> bool:
        """Say that it lives; False if it was taken for dead and forgotten."""
        query = update(workers).where(workers.c.id == worker_id).values(beat=workers.c.beat + 1)
        return (await self._connection.execute(query)).rowcount > 0

    async def remove(self, worker_ids: Collection[str]) -> None:
        """Forget them."""
        await self._connection.execute(delete(workers).where(workers.c.id.in_(worker_ids)))

    async def take_role(self, name: str, worker_id: str, alive: Collection[str]) -> bool:
        """True if the role is this worker's: it was before, or is nobody's of `alive`."""
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        # A row first, whoever makes it: of several that come first at once, the update lets one win.
        await self._connection.execute(
            dialect.insert(roles).values(name=name, worker=None).on_conflict_do_nothing()
        )
        free = or_(roles.c.worker.is_(None), roles.c.worker == worker_id, roles.c.worker.not_in(alive))
        query = update(roles).where(roles.c.name == name, free).values(worker=worker_id)
        return (await self._connection.execute(query)).rowcount > 0

    async def leave_roles(self, worker_id: str) -> None:
        """Give all its roles back."""
        await self._connection.execute(update(roles).where(roles.c.worker == worker_id).values(worker=None))


_COLUMNS = ("id", "kind", "owner", "vm_id", "state", "step", "created_at", "updated_at", "error")


def _same_worker(worker: str | None) -> Any:
    return operations.c.worker.is_(None) if worker is None else operations.c.worker == worker


def _record(row: Row[Any]) -> OperationRecord:
    return OperationRecord(
        operation=Operation(**{name: getattr(row, name) for name in _COLUMNS}),
        data=dict(row.data or {}),
        worker=row.worker,
        retry_at=row.retry_at,
        attempts=row.attempts,
    )
