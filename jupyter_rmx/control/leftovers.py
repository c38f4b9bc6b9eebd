"""Leftovers: operations on which nobody works any more, and who may take them up."""

from __future__ import annotations

from datetime import timedelta

from jupyter_rmx.control.context import Context
from jupyter_rmx.control.engine import LONGEST_RETRY_S
from jupyter_rmx.control.worker import Watch
from jupyter_rmx.store.operations import UNFINISHED, OperationRecord
from jupyter_rmx.store.store import Transaction

LONGEST_AHEAD = timedelta(seconds=2 * LONGEST_RETRY_S)


class Leftovers:
    """Finds operations whose worker is dead or that were put off, and has them taken up."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._watch = Watch(context.clock)

    async def settle(self, operation_id: str | None) -> bool:
        """Take the operation up now if nobody works on it (also before its next try is due); False if somebody does."""
        if operation_id is None:
            return True
        async with self._context.store.read() as tx:
            record = await tx.operations.get(operation_id)
            alive = await self._alive(tx)
        if record is None or record.operation.state not in UNFINISHED:
            return True
        if not self._is_free(record, alive):
            return False
        await self._context.engine.take_up(record)
        return True

    async def take_up_due(self) -> int:
        """Take up all operations of this owner whose worker is dead, or whose next try is due; how many."""
        context = self._context
        async with context.store.read() as tx:
            records = await tx.operations.unfinished(context.owner)
            alive = await self._alive(tx)
        due = [record for record in records if self._is_due(record, alive)]
        for record in due:
            await context.engine.take_up(record)
        return len(due)

    async def dead_workers(self) -> set[str]:
        """Ids of workers from which nothing can still come."""
        async with self._context.store.read() as tx:
            return set(await tx.workers.all()) - await self._alive(tx)

    async def _alive(self, tx: Transaction) -> set[str]:
        # In the transaction that reads the operations: a worker is listed before its first operation is.
        workers = await tx.workers.all()
        return {id_ for id_, worker in workers.items() if not self._watch.is_dead(worker)}

    def _is_free(self, record: OperationRecord, alive: set[str]) -> bool:
        engine = self._context.engine
        if record.worker is None:
            return True
        if record.worker == engine.worker.id:
            return record.operation.id in engine.loose
        return record.worker not in alive  # dead, or it went away in order

    def _is_due(self, record: OperationRecord, alive: set[str]) -> bool:
        if not self._is_free(record, alive):
            return False
        if record.worker is not None or record.retry_at is None:
            return True
        now = self._context.clock.now()
        # A time that lies further ahead than any wait is one of a clock that went back since.
        return record.retry_at <= now or record.retry_at > now + LONGEST_AHEAD
