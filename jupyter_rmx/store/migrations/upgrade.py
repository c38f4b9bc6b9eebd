"""Bring a database to the newest revision: one process at a time, all of it or nothing. Blocks; runs in a thread."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store.engines import one_writer
from jupyter_rmx.store.failures import mapped
from jupyter_rmx.store.migrations import HEAD, REVISIONS
from jupyter_rmx.store.migrations.back_up import back_up
from jupyter_rmx.store.schema import metadata
from jupyter_rmx.store.urls import file_of

# As alembic makes it. It is made here for new databases, so that opening one does not wait for alembic's import.
versions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
_FIRST = REVISIONS[0]
# alembic keeps what it works on in its modules: one at a time in this process.
_alembic = threading.Lock()

log = logging.getLogger(__name__)


def upgrade(url: URL, lock_timeout_s: float) -> None:
    """Make or upgrade the tables; raises StoreError, and then the database is as it was.

    `lock_timeout_s`: how long another process may hold the database.
    """
    engine = one_writer(url, lock_timeout_s)
    try:
        with engine.begin() as connection:
            _lock(connection, lock_timeout_s)
            found = _revision(connection)
            if found is None:
                _create(connection)
            elif found != HEAD:
                _upgrade(connection, found, file_of(url))
    except SQLAlchemyError as error:
        raise mapped(error) from error
    finally:
        engine.dispose()


def _lock(connection: Connection, timeout_s: float) -> None:
    # On SQLite the transaction has begun as the only writer.
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = {max(1, int(timeout_s * 1000))}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('rmx migrations', 0))"))


def _revision(connection: Connection) -> str | None:
    """What is there; None: nothing."""
    names = set(inspect(connection).get_table_names())
    if versions.name in names:
        stored = connection.execute(select(versions.c.version_num)).scalars().all()
        if any(revision not in REVISIONS for revision in stored):
            raise _newer(", ".join(stored), HEAD)
        if stored:
            return str(max(stored))
    if {"schema_info", "vms"} <= names:
        # The first release wrote no revision, but a version of its own, which was 1.
        version = connection.execute(text("SELECT max(version) FROM schema_info")).scalar()
        if version is not None and version > 1:
            raise _newer(str(version), "1")
        return _FIRST
    if foreign := sorted(names & set(metadata.tables)):
        raise StoreError(
            f"The database has a table of another program: {foreign[0]}.",
            hint="Give jupyter_rmx a database of its own (RmxExtension.database_url).",
            code="store_not_ours",
            retryable=False,
        )
    return None


def _newer(found: str, known: str) -> StoreError:
    return StoreError(
        f"The list of machines was written by a newer jupyter_rmx (schema {found}, this one knows {known}).",
        hint="Update jupyter_rmx here: pip install --upgrade jupyter_rmx",
        code="store_newer_schema",
        retryable=False,
    )


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    _stamp(connection, HEAD)


def _stamp(connection: Connection, revision: str) -> None:
    versions.create(connection, checkfirst=True)
    connection.execute(delete(versions))
    connection.execute(insert(versions).values(version_num=revision))


def _upgrade(connection: Connection, found: str, file: Path | None) -> None:
    # The lock is held: what is copied is what is upgraded.
    copy = back_up(file, HEAD) if file is not None else None
    try:
        _stamp(connection, found)
        _run_alembic(connection)
    except BaseException:
        # The file stays as it is, so the copy is of no use; each new try would leave one.
        if copy is not None:
            copy.unlink()
        raise
    if copy is not None:
        log.warning("The list of machines was upgraded (%s to %s); before it: %s", found, HEAD, copy)


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        with _alembic:
            command.upgrade(config, HEAD)
    except CommandError as error:
        raise StoreError(
            "The list of machines cannot be upgraded: the installation of jupyter_rmx is not whole.",
            hint="Install it again: pip install --force-reinstall jupyter_rmx",
            code="store_upgrade_failed",
            retryable=False,
        ) from error
