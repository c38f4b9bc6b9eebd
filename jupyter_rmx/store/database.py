"""One database: connections, transactions, and its errors in our words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store.schema import metadata

BUSY_TIMEOUT_S = 30.0
LOCKED = "store_locked"
DISK_FULL = "store_disk_full"
LOG_PAGES = 16


class TakenError(StoreError):
    """A unique value is there already; never leaves the store."""


class Database:
    """A database by its SQLAlchemy URL. Opened (and migrated) by the first use; every method may raise StoreError."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()

    @property
    def is_sqlite(self) -> bool:
        """True on SQLite: one writer, one computer."""
        return self._url.drivername.startswith("sqlite")

    async def open(self) -> None:
        """Connect and bring the tables up to date; safe to call again."""
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
        if not self.is_sqlite:
            return create_async_engine(self._url)
        self._make_private_folder()
        engine = create_async_engine(self._url, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
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
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        await self.open()
        assert self._engine is not None
        async with mapped_errors(), self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes: all of it or nothing is kept.

        On SQLite it is the only writer from its first moment, so what it reads stays true until it ends.
        """
        await self.open()
        assert self._engine is not None
        if not self.is_sqlite:
            async with mapped_errors(), self._engine.begin() as connection:
                yield connection
            return
        # SQLite has one writer, and its busy handler is not fair: writers of one process queue here, in order.
        async with self._writing, mapped_errors(), self._engine.connect() as plain:
            connection = await plain.execution_options(rmx_write=True)
            async with connection.begin():
                yield connection

    async def aclose(self) -> None:
        """Close the connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Transactions are begun by `_begin_sqlite`, not by the driver's guess at the first word of a statement.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Several Jupyter servers of one user share the file: readers must not block the writer.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    # Folded back early: a log that does not grow can be written on a full disk, on which machines are being ended.
    cursor.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A writer takes the lock at once: a transaction that reads and then writes would be refused without waiting.
    writes = connection.get_execution_options().get("rmx_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


async def _prepare(engine: AsyncEngine) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            async with mapped_errors(), engine.connect() as plain:
                connection = await plain.execution_options(rmx_write=True)
                async with connection.begin():
                    await connection.run_sync(metadata.create_all)
        except StoreError as error:
            if error.code != LOCKED or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


@asynccontextmanager
async def mapped_errors() -> AsyncIterator[None]:
    """Errors of SQLAlchemy as errors of our tree."""
    try:
        yield
    except IntegrityError as error:
        raise TakenError("That name or key is taken.", code="store_taken", retryable=False) from error
    except SQLAlchemyError as error:
        raise _map(str(getattr(error, "orig", None) or error)) from error


def _map(text_: str) -> StoreError:
    if "disk is full" in text_ or "disk I/O error" in text_:
        return StoreError(
            "The list of machines cannot be written: the disk is full.",
            hint="Free some space in your home directory (or set JUPYTER_RMX_DATA_DIR), then try again.",
            code=DISK_FULL,
        )
    if "locked" in text_:
        return StoreError(
            "The list of machines is locked by another process.",
            hint="Try again in a moment.",
            code=LOCKED,
        )
    if "readonly" in text_ or "unable to open" in text_:
        return StoreError(
            "The list of machines cannot be opened.",
            hint="Make your data directory writable, or set JUPYTER_RMX_DATA_DIR to another folder.",
            code="store_not_writable",
        )
    return StoreError(
        f"The list of machines failed: {text_.splitlines()[0]}.", hint="Try again; then look at Jupyter's log."
    )


async def lock_text(connection: AsyncConnection, name: str) -> None:
    """Hold a lock on any text until the transaction ends; on SQLite the write transaction is that lock."""
    if connection.dialect.name == "postgresql":
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
        )
