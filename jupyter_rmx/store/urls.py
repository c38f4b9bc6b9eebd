"""The database's URL: what a user may write, and what it never shows.

`sqlite:///<file>` (the folder is made where it is missing) or `postgresql://<user>:<password>@<host>[:<port>]/<database>`
with libpq's options after a question mark, such as `?sslmode=require` or `?host=/run/postgresql`. No error here has a
word of the URL in it: where a URL is badly written, any of them may be the password.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from jupyter_rmx.errors import StoreError

_SQLITE = {"sqlite", "sqlite+aiosqlite"}
_POSTGRES = {"postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg_async"}
_HINT = (
    "Set RmxExtension.database_url to sqlite:////path/of/a/file or postgresql://user:password@host/database; "
    "in the password write @ as %40, / as %2F, : as %3A, # as %23, ? as %3F and % as %25."
)


def parse_url(text: str) -> URL:
    """The URL with the driver that we use; raises StoreError `store_bad_url`."""
    url = _parsed(text)
    if url is None:
        raise _bad("cannot be read")
    if url.drivername in _SQLITE:
        return _sqlite(url)
    if url.drivername in _POSTGRES:
        return _postgres(url)
    raise _bad("is neither of SQLite nor of PostgreSQL")


def file_of(url: URL) -> Path | None:
    """The database's file; None on PostgreSQL."""
    return Path(url.database or "") if url.drivername in _SQLITE else None


def load_driver(url: URL) -> None:
    """Import the driver, which takes a while; raises StoreError `store_no_driver`."""
    if url.drivername in _SQLITE:
        return
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise StoreError(
            "The driver of PostgreSQL is not installed.",
            hint="pip install 'jupyter_rmx[postgres]'",
            code="store_no_driver",
            retryable=False,
        ) from error


def _parsed(text: str) -> URL | None:
    # The errors of SQLAlchemy and of int() quote the URL: they must not even be the context of ours.
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        return None


def _sqlite(url: URL) -> URL:
    name = url.database or ""
    if name in {"", ":memory:"} or name.startswith("file:") or url.host:
        raise _bad("names no file")
    return url.set(drivername="sqlite+aiosqlite", database=str(Path(name).absolute()))


def _postgres(url: URL) -> URL:
    # "postgresql://me:pass/word@host/db" is read as host "me", database "word@host/db".
    if not url.database or "@" in url.database + (url.host or ""):
        raise _bad("names no database, or has a password that is not percent-encoded")
    if url.port is not None and not 0 < url.port < 65536:
        raise _bad("has a port that is none")
    return url.set(drivername="postgresql+psycopg")


def _bad(what: str) -> StoreError:
    return StoreError(f"The database URL {what}.", hint=_HINT, code="store_bad_url", retryable=False)
