"""Store: all tables in one transaction at a time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyter_rmx.store.database import Database, lock_text
from jupyter_rmx.store.events import EventRows
from jupyter_rmx.store.leases import LeaseRows, SnapshotRows
from jupyter_rmx.store.machines import MachineRows
from jupyter_rmx.store.operations import OperationRows, WorkerRows
from jupyter_rmx.store.workspaces import WorkspaceRows

log = logging.getLogger(__name__)


class Transaction:
    """The tables, in one transaction: all that is done with it is kept, or nothing is."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.machines = MachineRows(connection)
        self.operations = OperationRows(connection)
        self.workers = WorkerRows(connection)
        self.events = EventRows(connection)
        self.leases = LeaseRows(connection)
        self.snapshots = SnapshotRows(connection)
        self.workspaces = WorkspaceRows(connection)

    async def lock_owner(self, owner: str) -> None:
        """Be the only one that counts, adds or names machines of this owner, until the transaction ends."""
        await lock_text(self._connection, f"rmx owner {owner}")


class Store:
    """What we know, kept through crashes. Opened by the first use; everything may raise StoreError.

    `on_events` is called after a transaction that wrote events.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.on_events: Callable[[], None] = _nobody

    @property
    def is_shared(self) -> bool:
        """True where several computers may use it (PostgreSQL)."""
        return not self._database.is_sqlite

    async def open(self) -> None:
        """Connect and bring the tables up to date; safe to call again."""
        await self._database.open()

    async def hold_reserve(self) -> None:
        """Keep room for ends and undoings; StoreError `store_disk_full` if nothing new may be begun."""
        await self._database.hold_reserve()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A transaction that only reads."""
        async with self._database.read() as connection:
            yield Transaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that writes. Events that cannot be written do not undo the rest."""
        async with self._database.write() as connection:
            transaction = Transaction(connection)
            yield transaction
            try:
                await transaction.events.flush()
            except SQLAlchemyError as error:
                log.warning("%d events could not be written: %s", transaction.events.added, error)
        if transaction.events.added:
            self.on_events()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()


def _nobody() -> None:
    """Nobody follows."""
