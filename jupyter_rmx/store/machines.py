"""MachineStore: what we know of each machine, kept through crashes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, event, insert, or_, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateTable

from jupyter_rmx.errors import StoreError
from jupyter_rmx.models import VM, VMStatus
from jupyter_rmx.store.schema import SCHEMA_VERSION, metadata, schema_info, vms

BUSY_TIMEOUT_S = 30.0
LOCKED = "store_locked"
DISK_FULL = "store_disk_full"
LOG_PAGES = 16


@dataclass(frozen=True)
class MachineRecord:
    """A machine with what only the control plane needs: its key, its parameters' fingerprint, who works on it."""

    vm: VM
    key: str
    fingerprint: str
    worker: str | None = None


class MachineStore:
    """Rows of machines in one database. Opened on first use; every method may raise StoreError."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        """Connect and make the tables; safe to call again."""
        async with self._opening:
            if self._engine is not None:
                return
            engine = self._build_engine()
            try:
                await _prepare(engine)
            except BaseException:
                await engine.dispose()
                raise
            self._engine = engine

    def _build_engine(self) -> AsyncEngine:
        if not self._url.drivername.startswith("sqlite"):
            return create_async_engine(self._url)
        self._make_private_folder()
        engine = create_async_engine(self._url, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine

    def _make_private_folder(self) -> None:
        if not self._url.database:
            return
        folder = Path(self._url.database).parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The folder for the list of machines cannot be made: {error.strerror}.",
                hint=f"Make {folder} writable, or set JUPYTER_RMX_DATA_DIR to another folder.",
                code="store_no_folder",
                retryable=False,
            ) from error

    @asynccontextmanager
    async def _writes(self) -> AsyncIterator[AsyncConnection]:
        # SQLite has one writer, and its busy handler is not fair: writers of one process queue here, in order.
        async with self._writing, self._transaction() as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        await self.open()
        assert self._engine is not None
        async with _mapped_errors(), self._engine.begin() as connection:
            yield connection

    async def reserve(self, record: MachineRecord) -> bool:
        """Insert a new row; False if the owner has that name or key already."""
        vm = record.vm
        values = {
            "id": vm.id,
            "owner": vm.owner,
            "name": vm.name,
            "status": vm.status,
            "provider": vm.provider,
            "provider_vm_id": vm.provider_vm_id,
            "image": vm.image,
            "details": vm.details,
            "created_at": vm.created_at,
            "idempotency_key": record.key,
            "fingerprint": record.fingerprint,
            "worker": record.worker,
        }
        try:
            async with self._writes() as connection:
                await connection.execute(insert(vms).values(values))
        except _TakenError:
            return False
        return True

    async def by_key(self, owner: str, key: str) -> MachineRecord | None:
        """The row that this idempotency key made."""
        return await self._one(and_(vms.c.owner == owner, vms.c.idempotency_key == key))

    async def find(self, owner: str, machine: str) -> MachineRecord | None:
        """The row with that name or id."""
        return await self._one(and_(vms.c.owner == owner, or_(vms.c.name == machine, vms.c.id == machine)))

    async def list(self, owner: str) -> list[MachineRecord]:
        """All rows of the owner, newest first."""
        query = select(vms).where(vms.c.owner == owner).order_by(vms.c.created_at.desc(), vms.c.id)
        async with self._transaction() as connection:
            return [_record(row) for row in await connection.execute(query)]

    async def save(
        self,
        vm_id: str,
        status: VMStatus,
        *,
        provider_vm_id: str | None = None,
        details: dict[str, Any] | None = None,
        image: str | None = None,
        worker: str | None = None,
    ) -> None:
        """Set the status and the worker; the other values only where given."""
        values: dict[str, Any] = {"status": status, "worker": worker}
        given = {"provider_vm_id": provider_vm_id, "details": details, "image": image}
        values.update({name: value for name, value in given.items() if value is not None})
        async with self._writes() as connection:
            await connection.execute(update(vms).where(vms.c.id == vm_id).values(values))

    async def remove(self, vm_id: str) -> None:
        """Forget the machine."""
        async with self._writes() as connection:
            await connection.execute(delete(vms).where(vms.c.id == vm_id))

    async def _one(self, condition: ColumnElement[bool]) -> MachineRecord | None:
        async with self._transaction() as connection:
            row = (await connection.execute(select(vms).where(condition))).first()
        return _record(row) if row is not None else None

    async def aclose(self) -> None:
        """Close the connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()


class _TakenError(StoreError):
    """A unique value is there already; never leaves this file."""


def _record(row: Row[Any]) -> MachineRecord:
    created_at: datetime = row.created_at
    if created_at.tzinfo is None:  # SQLite keeps no zone; what we wrote was UTC
        created_at = created_at.replace(tzinfo=timezone.utc)
    vm = VM(
        id=row.id,
        name=row.name,
        owner=row.owner,
        provider=row.provider,
        status=row.status,
        created_at=created_at,
        provider_vm_id=row.provider_vm_id,
        image=row.image,
        details=dict(row.details or {}),
    )
    return MachineRecord(vm=vm, key=row.idempotency_key, fingerprint=row.fingerprint, worker=row.worker)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Several Jupyter servers of one user share the file: readers must not block the writer.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    # Folded back early: a log that does not grow can be written on a full disk, on which machines are being ended.
    cursor.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


async def _prepare(engine: AsyncEngine) -> None:
    """Make the tables; another Jupyter may do the same at this moment, and nothing here minds that it was first.

    SQLite says `locked` at once, without its busy time-out, where two switch a new file to WAL or both want to write
    after reading: then it is tried again.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            async with _mapped_errors(), engine.begin() as connection:
                for table in metadata.sorted_tables:
                    await connection.execute(CreateTable(table, if_not_exists=True))
                await _check_version(connection)
        except StoreError as error:
            if error.code != LOCKED or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


async def _check_version(connection: AsyncConnection) -> None:
    read = select(schema_info.c.version)
    found = (await connection.execute(read)).scalar()
    if found is None:
        try:
            async with connection.begin_nested():
                await connection.execute(insert(schema_info).values(version=SCHEMA_VERSION))
        except IntegrityError:
            pass  # written by another process since we looked
        found = (await connection.execute(read)).scalar()
    if found is not None and found > SCHEMA_VERSION:
        raise StoreError(
            f"The list of machines was written by a newer jupyter_rmx (schema {found}, this one knows {SCHEMA_VERSION}).",
            hint="Update jupyter_rmx here: pip install --upgrade jupyter_rmx",
            code="store_newer_schema",
            retryable=False,
        )


@asynccontextmanager
async def _mapped_errors() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise _TakenError("That name or key is taken.", code="store_taken", retryable=False) from error
    except SQLAlchemyError as error:
        raise _map(str(getattr(error, "orig", None) or error)) from error


def _map(text: str) -> StoreError:
    if "disk is full" in text or "disk I/O error" in text:
        return StoreError(
            "The list of machines cannot be written: the disk is full.",
            hint="Free some space in your home directory (or set JUPYTER_RMX_DATA_DIR), then try again.",
            code=DISK_FULL,
        )
    if "locked" in text:
        return StoreError(
            "The list of machines is locked by another process.",
            hint="Try again in a moment.",
            code=LOCKED,
        )
    if "readonly" in text or "unable to open" in text:
        return StoreError(
            "The list of machines cannot be opened.",
            hint="Make your data directory writable, or set JUPYTER_RMX_DATA_DIR to another folder.",
            code="store_not_writable",
        )
    return StoreError(
        f"The list of machines failed: {text.splitlines()[0]}.", hint="Try again; then look at Jupyter's log."
    )
