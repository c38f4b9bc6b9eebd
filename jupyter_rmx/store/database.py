"""One database: its transactions, and its errors in our words."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store import files
from jupyter_rmx.store.engines import Engines
from jupyter_rmx.store.failures import (
    DAMAGED,
    DISK_FULL,
    LOCKED,
    MOVED,
    NO_TABLES,
    NOT_WRITABLE,
    UNREACHABLE,
    TakenError,
    mapped,
    mapped_errors,
)
from jupyter_rmx.store.migrations import HEAD
from jupyter_rmx.store.urls import file_of, load_driver, parse_url

__all__ = ["DISK_FULL", "LOCKED", "Database", "TakenError", "lock_text", "mapped_errors"]

BUSY_TIMEOUT_S = 30.0
_RETRY_S = 0.05
# After these the connections are of no more use: the next request opens the database anew.
_STALE = {DAMAGED, NO_TABLES, NOT_WRITABLE, UNREACHABLE}

log = logging.getLogger(__name__)


class Database:
    """A database by its URL (see `urls`). Opened and migrated by the first use; every method may raise StoreError.

    `busy_timeout_s` is how long a writer waits for other processes. A transaction must not be begun inside another
    one: it would wait for itself. The file of SQLite must lie on a disk of this computer (see `files`).
    """

    def __init__(self, url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._text = url
        # What is wrong with it is said when it is opened: a server that starts must be able to say it too.
        self._url = _parsed(url)
        self._busy_timeout_s = busy_timeout_s
        self._engines: Engines | None = None
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()

    @property
    def is_sqlite(self) -> bool:
        """True on SQLite: one writer, one computer."""
        return self._url is not None and file_of(self._url) is not None

    async def open(self) -> None:
        """Connect and bring the tables up to date; safe to call again."""
        await self._ready()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads; all of it sees one moment."""
        engines = await self._ready()
        async with self._use(engines), engines.connection(engines.reader) as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes: all of it or nothing is kept.

        On SQLite it is the only writer from its first moment, so what it reads stays true until it ends.
        """
        engines = await self._ready()
        async with self._use(engines):
            begin = self._only_writer if self.is_sqlite else _any_writer
            async with begin(engines) as connection:
                yield connection
        if engines.is_moved:
            raise StoreError(
                "The file of the list of machines was taken away while it was written.",
                hint="Look at what was done, then try again.",
                code=MOVED,
            )

    @asynccontextmanager
    async def _only_writer(self, engines: Engines) -> AsyncIterator[AsyncConnection]:
        deadline = time.monotonic() + self._busy_timeout_s
        # SQLite's busy handler is not fair: writers of one process queue here, in order.
        async with self._writing, engines.connection(engines.writer) as connection:
            # Waited for in short tries: a thread that waits in SQLite cannot be cancelled.
            while True:
                try:
                    await connection.begin()
                    break
                except OperationalError as error:
                    if mapped(error).code != LOCKED or time.monotonic() > deadline:
                        raise
            yield connection
            # SQLite takes a transaction back by itself where the disk is full, also if somebody swallowed that error.
            raw = await connection.get_raw_connection()
            if not getattr(raw.driver_connection, "in_transaction", True):
                raise StoreError(
                    "The list of machines cannot be written: the disk is full, or failed.",
                    hint="Free some space in your home directory (or set JUPYTER_RMX_DATA_DIR), then try again.",
                    code=DISK_FULL,
                )
            await connection.commit()

    @asynccontextmanager
    async def _use(self, engines: Engines) -> AsyncIterator[None]:
        try:
            async with mapped_errors():
                yield
        except StoreError as error:
            self._explain(error)
            if error.code == DISK_FULL:
                self._free_reserve()
            if error.code in _STALE:
                await self._forget(engines)
            raise

    async def hold_reserve(self) -> None:
        """Keep room for what must be written on a full disk; StoreError `store_disk_full` if there is none.

        To be called before something new is begun; PostgreSQL sees to its own disk.
        """
        file = file_of(self._url) if self._url is not None else None
        if file is not None and file.exists():
            await asyncio.to_thread(files.hold_reserve, file)

    def _free_reserve(self) -> None:
        file = file_of(self._url) if self._url is not None else None
        if file is not None:
            files.free_reserve(file)

    def _explain(self, error: StoreError) -> None:
        if error.code == DAMAGED and self._url is not None:
            file = file_of(self._url)
            error.hint = (
                f"Move {file} away, or put a back-up in its place; the machines themselves are not touched."
            )

    async def _ready(self) -> Engines:
        engines = self._engines
        if engines is not None and not engines.is_moved:
            return engines
        async with self._opening:
            if self._engines is not None and self._engines.is_moved:
                log.warning("The file of the list of machines was taken away or replaced; it is opened anew.")
                await self._forget(self._engines)
            if self._engines is None:
                self._engines = await self._open()
            return self._engines

    async def _open(self) -> Engines:
        url = self._url or parse_url(self._text)
        await asyncio.to_thread(load_driver, url)
        file = file_of(url)
        if file is not None:
            await asyncio.to_thread(files.make_private, file)
        engines = Engines(url, self._busy_timeout_s)
        try:
            await self._migrate(url, engines)
        except BaseException as error:
            if isinstance(error, StoreError):
                self._explain(error)
            await engines.retire()
            raise
        engines.remember_file()
        return engines

    async def _migrate(self, url: URL, engines: Engines) -> None:
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                async with mapped_errors():
                    if await _stored_revision(engines) == HEAD:
                        return
                    await self._upgrade(url)
                    return
            except StoreError as error:
                # Switching a new file to the write-ahead log does not wait for another process that does the same.
                if error.code != LOCKED or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def _upgrade(self, url: URL) -> None:
        from jupyter_rmx.store.migrations.upgrade import upgrade

        # In a thread: alembic takes a while to import, and so may the tables. If we are cancelled it goes on alone.
        await asyncio.to_thread(upgrade, url, self._busy_timeout_s)

    async def _forget(self, engines: Engines) -> None:
        if self._engines is engines:
            self._engines = None
        await engines.retire()

    async def aclose(self) -> None:
        """Close the connections; those in use when their transactions are over."""
        async with self._opening:
            if self._engines is not None:
                await self._forget(self._engines)


def _parsed(text_: str) -> URL | None:
    try:
        return parse_url(text_)
    except StoreError:
        return None


@asynccontextmanager
async def _any_writer(engines: Engines) -> AsyncIterator[AsyncConnection]:
    async with engines.connection(engines.writer) as connection, connection.begin():
        yield connection


async def _stored_revision(engines: Engines) -> str | None:
    """The revision in the database; None if it must be looked at more closely."""
    try:
        async with engines.connection(engines.reader) as connection:
            found = (
                (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
            )
    except (OperationalError, ProgrammingError) as error:
        if mapped(error).code != NO_TABLES:
            raise
        return None
    return found[0] if len(found) == 1 else None


async def lock_text(connection: AsyncConnection, name: str) -> None:
    """Hold a lock on any text until the transaction ends; on SQLite the write transaction is that lock."""
    if connection.dialect.name == "postgresql":
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
        )
