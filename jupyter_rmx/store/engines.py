"""The engines of one database: how many connections, and how their transactions begin.

SQLite       one connection writes, at most 10 read (5 are kept); each has a thread
PostgreSQL   at most 10 connections of this process (5 are kept), for reading and writing
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from jupyter_rmx.store.files import Identity, identity
from jupyter_rmx.store.urls import file_of

KEPT = 5
MORE = 5
POOL_TIMEOUT_S = 30.0
LOG_PAGES = 16
# How long one try for SQLite's write lock waits in its thread; a request that is cancelled is free after that.
TRY_S = 0.2

# A server that vanished without a word is noticed within these times; libpq alone would wait for hours.
_POSTGRES = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "jupyter_rmx",
}


class Engines:
    """What a database is read and written with, until it is retired."""

    def __init__(self, url: URL, busy_timeout_s: float) -> None:
        self._file = file_of(url)
        if self._file is not None:
            self.reader = _sqlite_engine(url, busy_timeout_s, "BEGIN", kept=KEPT, more=MORE)
            self.writer = _sqlite_engine(url, min(TRY_S, busy_timeout_s), "BEGIN IMMEDIATE", kept=1, more=0)
        else:
            self.writer = _postgres_engine(url)
            # What a reader sees is one moment, as on SQLite; both words ride on BEGIN and cost nothing.
            self.reader = self.writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._opened: Identity = None
        self._users = 0
        self._retired = False
        self._endings: set[asyncio.Task[None]] = set()

    def remember_file(self) -> None:
        """From now on `is_moved` compares with the file that is there now."""
        self._opened = identity(self._file)

    @property
    def is_moved(self) -> bool:
        """True if the file that was opened is not there any more; what is written to it is lost."""
        return identity(self._file) != self._opened

    @asynccontextmanager
    async def connection(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection of one of the two engines; what was not committed is undone when it goes back.

        A request may be cancelled at any moment. Where that hits the pool or the driver in the middle of connecting,
        they leave a connection behind that nobody closes: so that is never cancelled, and what comes of it late is
        given back.
        """
        taking = asyncio.create_task(self._take(engine))
        try:
            connection = await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._give_back_late)
            raise
        try:
            yield connection
        finally:
            await asyncio.shield(self._end(connection))

    async def _take(self, engine: AsyncEngine) -> AsyncConnection:
        self._users += 1
        try:
            return await engine.connect().start()
        except BaseException:
            self._users -= 1
            await self._close_if_over()
            raise

    def _give_back_late(self, taking: asyncio.Task[AsyncConnection]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            self._end(taking.result())

    def _end(self, connection: AsyncConnection) -> asyncio.Task[None]:
        ending = asyncio.create_task(self._give_back(connection))
        self._endings.add(ending)  # the loop holds tasks only weakly
        ending.add_done_callback(self._endings.discard)
        return ending

    async def _give_back(self, connection: AsyncConnection) -> None:
        try:
            await connection.close()
        finally:
            self._users -= 1
            await self._close_if_over()

    async def retire(self) -> None:
        """Close all connections, those in use when their transactions are over."""
        self._retired = True
        await self._close_if_over()

    async def _close_if_over(self) -> None:
        if self._retired and not self._users:
            await asyncio.shield(self._dispose())

    async def _dispose(self) -> None:
        await self.reader.dispose()
        await self.writer.dispose()


def _sqlite_engine(url: URL, wait_s: float, begin: str, *, kept: int, more: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=kept,
        max_overflow=more,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
        connect_args=_sqlite_arguments(wait_s),
    )
    _listen(engine.sync_engine, begin)
    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=KEPT,
        max_overflow=MORE,
        pool_timeout=POOL_TIMEOUT_S,
        # One round trip more for each transaction, so that a restarted server is not met by a user.
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=_postgres_arguments(url),
    )
    event.listen(engine.sync_engine, "checkout", _leave_writing_to_server)
    return engine


def _leave_writing_to_server(connection: Any, _record: Any, _proxy: Any) -> None:
    # After a reader SQLAlchemy would ask for READ WRITE outright, also of a server that its administrator closed.
    connection.set_read_only(None)


def one_writer(url: URL, wait_s: float) -> Engine:
    """An engine without asyncio and without a pool, for migrations."""
    if file_of(url) is None:
        return create_engine(
            url, poolclass=NullPool, hide_parameters=True, connect_args=_postgres_arguments(url)
        )
    engine = create_engine(
        url.set(drivername="sqlite"), poolclass=NullPool, connect_args=_sqlite_arguments(wait_s)
    )
    _listen(engine, "BEGIN IMMEDIATE")
    return engine


def _sqlite_arguments(wait_s: float) -> dict[str, Any]:
    # Without an isolation level transactions are begun by `_listen`, not by the driver's guess at a statement's word.
    return {"timeout": wait_s, "isolation_level": None}


def _postgres_arguments(url: URL) -> dict[str, Any]:
    return {name: value for name, value in _POSTGRES.items() if name not in url.query}


def _listen(engine: Engine, begin: str) -> None:
    def begin_transaction(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", begin_transaction)


def _prepare_connection(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Several Jupyter servers of one user share the file: readers must not block the writer.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    # Folded back early: a log that does not grow can be written on a full disk, on which machines are being ended.
    cursor.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
