"""Errors of SQLite and PostgreSQL in our words: the one file that knows theirs."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from jupyter_rmx.errors import StoreError

LOCKED = "store_locked"
DISK_FULL = "store_disk_full"
DAMAGED = "store_damaged"
MOVED = "store_moved"
NO_TABLES = "store_no_tables"
NOT_WRITABLE = "store_not_writable"
UNREACHABLE = "store_unreachable"


class TakenError(StoreError):
    """A unique value is there already; never leaves the store."""


@dataclass(frozen=True)
class _Failure:
    code: str
    message: str
    hint: str
    retryable: bool = True

    def error(self) -> StoreError:
        return StoreError(self.message, hint=self.hint, code=self.code, retryable=self.retryable)


_OTHER_FOLDER = "or set JUPYTER_RMX_DATA_DIR to another folder"
_FILE_FULL = _Failure(
    DISK_FULL,
    "The list of machines cannot be written: the disk is full.",
    "Free some space in your home directory (or set JUPYTER_RMX_DATA_DIR), then try again.",
)
_FILE_FAILS = _Failure(
    DISK_FULL,
    "The list of machines cannot be read or written: the disk is full or fails.",
    f"Free some space and look at the disk ({_OTHER_FOLDER}), then try again.",
)
_FILE_LOCKED = _Failure(
    LOCKED, "The list of machines is locked by another process.", "Try again in a moment."
)
_FILE_NOT_WRITABLE = _Failure(
    NOT_WRITABLE,
    "The list of machines cannot be opened for writing.",
    f"Make your data directory writable, {_OTHER_FOLDER}.",
    retryable=False,
)
_FILE_DAMAGED = _Failure(
    DAMAGED,
    "The file of the list of machines is damaged, or is no such file.",
    "Move the file away, or put a back-up in its place; the machines themselves are not touched.",
    retryable=False,
)
_GONE_TABLES = _Failure(
    NO_TABLES, "The tables of the list of machines are gone.", "Try again: they are made anew, empty."
)

# Part of SQLite's message -> what it means. Its texts are the same in all languages, and in Python 3.10 all we have.
_SQLITE = {
    "disk is full": _FILE_FULL,
    # A transaction that met a full or failing disk is undone by SQLite itself, and its end is then refused so.
    "no transaction is active": _FILE_FAILS,
    "no such savepoint": _FILE_FAILS,
    "disk i/o error": _FILE_FAILS,
    "locked": _FILE_LOCKED,
    "readonly": _FILE_NOT_WRITABLE,
    "unable to open": _FILE_NOT_WRITABLE,
    "not a database": _FILE_DAMAGED,
    "malformed": _FILE_DAMAGED,
    "no such table": _GONE_TABLES,
}

_SERVER_GONE = _Failure(
    UNREACHABLE,
    "The database server cannot be reached.",
    "See that PostgreSQL runs and that RmxExtension.database_url names it, then try again.",
)
_SERVER_FULL = _Failure(
    DISK_FULL,
    "The list of machines cannot be written: the disk of the database server is full.",
    "Ask its administrator to free some space, then try again.",
)
_SERVER_LOCKED = _Failure(
    LOCKED, "The list of machines is in use by another request.", "Try again in a moment."
)
_SERVER_READ_ONLY = _Failure(
    NOT_WRITABLE,
    "The database server lets us only read.",
    "Point RmxExtension.database_url to the primary server, not to a standby.",
    retryable=False,
)
_NO_RIGHTS = _Failure(
    NOT_WRITABLE,
    "The database user may not do this.",
    "Make the user of RmxExtension.database_url the owner of its database.",
    retryable=False,
)
_REFUSED = _Failure(
    "store_refused",
    "The database server refuses the log-in.",
    "Look at the user, the password and the database in RmxExtension.database_url.",
    retryable=False,
)
_BAD_OPTION = _Failure(
    "store_bad_url",
    "The database URL has an option that PostgreSQL does not know.",
    "Look at what follows the question mark in RmxExtension.database_url.",
    retryable=False,
)

# SQLSTATE, or its first two characters, which are its class (PostgreSQL's manual, appendix A).
_POSTGRES = {
    "08": _SERVER_GONE,
    "57P": _SERVER_GONE,
    "53300": _SERVER_GONE,
    "53100": _SERVER_FULL,
    "25006": _SERVER_READ_ONLY,
    "42501": _NO_RIGHTS,
    "28": _REFUSED,
    "3D000": _REFUSED,
    "40001": _SERVER_LOCKED,
    "40P01": _SERVER_LOCKED,
    "55P03": _SERVER_LOCKED,
    "42P01": _GONE_TABLES,
}
# While connecting, libpq gives no SQLSTATE. Where the server speaks another language, "cannot be reached" remains.
_LOG_IN_REFUSED = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")

_BUSY = _Failure(
    "store_busy",
    "The list of machines is in use by too many requests at once.",
    "Try again in a moment.",
)


@asynccontextmanager
async def mapped_errors() -> AsyncIterator[None]:
    """Errors of SQLAlchemy as errors of our tree."""
    try:
        yield
    except SQLAlchemyError as error:
        raise mapped(error) from error


def mapped(error: Exception) -> StoreError:
    """What an error of SQLAlchemy, of sqlite3 or of the file system means."""
    if isinstance(error, OSError):
        return (_FILE_FULL if error.errno in {errno.ENOSPC, errno.EDQUOT} else _FILE_NOT_WRITABLE).error()
    if isinstance(error, PoolTimeoutError):
        return _BUSY.error()
    cause = error.orig if isinstance(error, DBAPIError) else error
    if cause is not None and hasattr(cause, "sqlstate"):
        return _of_postgres(error, cause.sqlstate)
    return _of_sqlite(str(cause))


def _of_sqlite(text: str) -> StoreError:
    if text.startswith("UNIQUE constraint failed"):
        return _taken()
    lowered = text.lower()
    for part, failure in _SQLITE.items():
        if part in lowered:
            return failure.error()
    return _unknown(text)


def _of_postgres(error: Exception, state: str | None) -> StoreError:
    if state == "23505":
        return _taken()
    for known, failure in _POSTGRES.items():
        if state is not None and state.startswith(known):
            return failure.error()
    if state is not None:
        return _unknown(f"PostgreSQL says {state}")
    connecting = isinstance(error, DBAPIError) and error.statement is None
    if connecting and isinstance(error, ProgrammingError):
        return _BAD_OPTION.error()
    if connecting and any(part in str(error) for part in _LOG_IN_REFUSED):
        return _REFUSED.error()
    if isinstance(error, OperationalError) or connecting:
        return _SERVER_GONE.error()
    return _unknown(type(error).__name__)


def _taken() -> TakenError:
    return TakenError("That name or key is taken.", code="store_taken", retryable=False)


def _unknown(text: str) -> StoreError:
    first = (text.splitlines() or [""])[0]
    return StoreError(f"The list of machines failed: {first}.", hint="Try again; then look at Jupyter's log.")
