"""Whatever becomes of the database under us: one clear error with a stable code, and the next request works."""

import asyncio
import logging
import os
import shutil
import socket
import sqlite3
import sys
import traceback
from contextlib import closing

import pytest
from sqlalchemy import text

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store.database import Database
from tests.postgres import PASSWORD, QUOTED_PASSWORD

FAIL_SAFE_S = 120


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data" / "store.sqlite3"


@pytest.fixture
def database(file, jp_asyncio_loop):
    made = Database(f"sqlite:///{file}", busy_timeout_s=0.5)
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


@pytest.fixture
def served(postgres_url, jp_asyncio_loop):
    made = Database(postgres_url)
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


async def add(database, name, size=0):
    async with database.write() as connection:
        await connection.execute(
            text("INSERT INTO events (owner, type, at, data) VALUES (:name, 't', '2026-11-23', :data)"),
            {"name": name, "data": '"' + "x" * size + '"'},
        )


async def names(database):
    async with database.read() as connection:
        return list((await connection.execute(text("SELECT owner FROM events ORDER BY id"))).scalars())


async def failure_of(awaitable):
    with pytest.raises(StoreError) as caught:
        await asyncio.wait_for(awaitable, FAIL_SAFE_S)
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    return caught.value


# SQLite: the file and its folder


async def test_the_file_and_its_folder_are_private(database, file):
    before = os.umask(0)
    try:
        await add(database, "a")
    finally:
        os.umask(before)
    assert file.parent.stat().st_mode & 0o777 == 0o700
    found = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    assert found == dict.fromkeys(("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"), 0o600)


async def test_a_file_that_others_could_read_is_closed_to_them(database, file):
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    file.chmod(0o644)
    await database.open()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_writes_are_synced_into_a_log(database):
    async with database.write() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar() == 2


async def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    error = await failure_of(Database(f"sqlite:///{tmp_path}/file/store.sqlite3").open())
    assert (error.code, error.retryable) == ("store_no_folder", False)
    assert "JUPYTER_RMX_DATA_DIR" in error.hint


async def test_a_relative_path_means_where_we_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///data/store.sqlite3")
    await database.open()
    monkeypatch.chdir("/")
    await add(database, "a")
    await database.aclose()
    assert await names(database) == ["a"]
    await database.aclose()


async def test_a_deleted_file_is_made_anew(database, file, caplog):
    await add(database, "a")
    for path in list(file.parent.iterdir()):
        path.unlink()
    await add(database, "b")
    assert await names(database) == ["b"]
    assert "taken away or replaced" in caplog.text
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT owner FROM events").fetchall() == [("b",)]
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_deleted_file_whose_log_was_left_is_made_anew(database, file):
    await add(database, "a")
    file.unlink()
    await add(database, "b")
    await database.aclose()
    assert await names(database) == ["b"]


async def test_a_deleted_folder_is_made_anew(database, file):
    await add(database, "a")
    shutil.rmtree(file.parent)
    assert await names(database) == []
    await add(database, "b")
    assert await names(database) == ["b"]


async def test_a_file_that_is_deleted_while_it_is_written_is_no_success(database, file):
    await database.open()

    async def write():
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))
            file.unlink()

    error = await failure_of(write())
    assert (error.code, error.retryable) == ("store_moved", True)
    await add(database, "b")
    assert await names(database) == ["b"]


async def test_a_back_up_put_in_its_place_is_read(database, file, tmp_path):
    await add(database, "a")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(tmp_path / "copy")) as copy:
        source.backup(copy)
    await add(database, "b")
    for path in list(file.parent.iterdir()):
        path.unlink()
    (tmp_path / "copy").rename(file)
    assert await names(database) == ["a"]


@pytest.mark.parametrize("garbage", [b"no database\n" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
async def test_a_file_that_is_no_database_is_said_with_its_name(database, file, garbage):
    file.parent.mkdir()
    file.write_bytes(garbage)
    for _ in range(2):
        error = await failure_of(add(database, "a"))
        assert (error.code, error.retryable) == ("store_damaged", False)
        assert str(file) in error.hint
    assert file.read_bytes() == garbage
    file.rename(file.with_name("away"))
    await add(database, "a")
    assert await names(database) == ["a"]


async def test_a_file_that_is_replaced_by_garbage_is_said_with_its_name(database, file):
    await add(database, "a")
    file.unlink()
    file.write_bytes(b"garbage" * 1000)
    error = await failure_of(names(database))
    assert (error.code, error.retryable) == ("store_damaged", False)
    assert str(file) in error.hint
    file.unlink()
    assert await names(database) == []


async def test_garbage_written_into_the_file_is_said_with_its_name(database, file):
    for number in range(60):
        await add(database, f"{number}", size=2000)
    await database.aclose()
    with file.open("r+b") as handle:  # the same file, its first page whole
        handle.seek(4096)
        handle.write(b"\xa5" * (file.stat().st_size - 4096))
    error = await failure_of(names(database))
    assert (error.code, error.retryable) == ("store_damaged", False)
    assert str(file) in error.hint


async def test_a_dropped_table_is_an_error_and_not_a_crash(database, file):
    await database.open()
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("DROP TABLE events; DROP TABLE alembic_version")
    error = await failure_of(names(database))
    assert error.code == "store_no_tables"


# SQLite: the disk


async def test_a_full_disk_is_one_clear_line_and_the_rows_stay_true(full_disk):
    database = Database(f"sqlite:///{full_disk.folder}/store.sqlite3")
    await database.open()
    full_disk.fill(leave=200 << 10)
    kept = 0

    async def add_many():
        nonlocal kept
        for number in range(1000):
            await add(database, f"{number}", size=4000)
            kept += 1

    error = await failure_of(add_many())
    assert (error.code, error.retryable) == ("store_disk_full", True)
    assert "disk is full" in error.message
    assert 0 < kept < 1000
    assert len(await names(database)) == kept
    full_disk.free()
    await add(database, "again")
    assert len(await names(database)) == kept + 1
    await database.aclose()


async def test_a_new_file_on_a_full_disk_is_said(full_disk):
    full_disk.fill()
    database = Database(f"sqlite:///{full_disk.folder}/store.sqlite3")
    error = await failure_of(database.open())
    assert error.code == "store_disk_full"
    full_disk.free()
    await add(database, "a")
    assert await names(database) == ["a"]
    await database.aclose()


async def test_a_disk_that_is_read_only_is_said(full_disk):
    database = Database(f"sqlite:///{full_disk.folder}/data/store.sqlite3")
    await add(database, "a")
    await database.aclose()
    full_disk.remount("ro")
    try:
        error = await failure_of(add(database, "b"))
        assert (error.code, error.retryable) == ("store_not_writable", False)
        assert "JUPYTER_RMX_DATA_DIR" in error.hint
        error = await failure_of(Database(f"sqlite:///{full_disk.folder}/new.sqlite3").open())
        assert (error.code, error.retryable) == ("store_not_writable", False)
        error = await failure_of(Database(f"sqlite:///{full_disk.folder}/new/store.sqlite3").open())
        assert error.code == "store_no_folder"
    finally:
        full_disk.remount("rw")
    await add(database, "c")
    assert await names(database) == ["a", "c"]
    await database.aclose()


# URLs


BAD_URLS = [
    "",
    "nonsense",
    "/home/me/store.sqlite3",
    "sqlite://",
    "sqlite:///:memory:",
    "sqlite://host/file",
    "mysql://me:{}@host/db",
    "postgresql+asyncpg://me:{}@host/db",
    "postgresql://me:{}@host:port/db",
    "postgresql://me:{}@host:99999/db",
    "postgresql://me:{}@host",
    "postgresql://me:{}@word@host/db",
    "postgresql://{}",
    "://me:{}@host/db",
    "postgresql:/me:{}@host/db",
]


def everything_said(error, caplog):
    """All that a log or a face could show of an error."""
    shown = [str(error), repr(error), repr(error.args), repr(error.to_wire()), caplog.text]
    return "\n".join([*shown, *traceback.format_exception(error)])


@pytest.mark.parametrize("url", BAD_URLS)
async def test_an_url_that_cannot_be_used_is_said_without_its_password(url, caplog):
    caplog.set_level(logging.DEBUG)
    database = Database(url.format("hunter2"))
    error = await failure_of(database.open())
    assert (error.code, error.retryable) == ("store_bad_url", False)
    assert "postgresql://user:password@host/database" in error.hint
    assert "hunter2" not in everything_said(error, caplog) + repr(database)
    assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
async def test_each_way_to_write_the_url_of_a_server_works(postgres_url, scheme):
    database = Database(postgres_url.replace("postgresql", scheme, 1))
    assert not database.is_sqlite
    await add(database, "a")
    assert await names(database) == ["a"]
    await database.aclose()


async def test_options_of_libpq_may_stand_in_the_url(postgres_url, postgres_cluster):
    name = postgres_url.rsplit("/", 1)[1]
    database = Database(
        f"postgresql:///{name}?host={postgres_cluster.folder}&port={postgres_cluster.port}"
        f"&user=rmx&password={QUOTED_PASSWORD}&application_name=mine"
    )
    async with database.read() as connection:
        assert (await connection.execute(text("SHOW application_name"))).scalar() == "mine"
    await database.aclose()


async def test_an_option_that_there_is_not_is_a_bad_url(postgres_url, caplog):
    error = await failure_of(Database(postgres_url + "?colour=red").open())
    assert (error.code, error.retryable) == ("store_bad_url", False)
    assert PASSWORD not in everything_said(error, caplog)


async def test_a_driver_that_is_not_installed_is_said(postgres_url, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = await failure_of(Database(postgres_url).open())
    assert (error.code, error.retryable) == ("store_no_driver", False)
    assert error.hint == "pip install 'jupyter_rmx[postgres]'"


# PostgreSQL


async def test_a_server_that_is_not_there_is_said(postgres_url, postgres_cluster, caplog):
    caplog.set_level(logging.DEBUG)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = await failure_of(Database(postgres_url.replace(str(postgres_cluster.port), str(port))).open())
    assert (error.code, error.retryable) == ("store_unreachable", True)
    assert PASSWORD not in everything_said(error, caplog)
    assert QUOTED_PASSWORD not in everything_said(error, caplog)


async def test_a_host_that_there_is_not_is_said(postgres_url):
    error = await failure_of(Database(postgres_url.replace("127.0.0.1", "nowhere.invalid")).open())
    assert (error.code, error.retryable) == ("store_unreachable", True)


async def test_a_wrong_password_is_said_and_not_shown(postgres_url, caplog):
    caplog.set_level(logging.DEBUG)
    error = await failure_of(Database(postgres_url.replace(QUOTED_PASSWORD, "hunter2")).open())
    assert (error.code, error.retryable) == ("store_refused", False)
    assert "hunter2" not in everything_said(error, caplog)


async def test_a_database_that_there_is_not_is_said(postgres_url):
    error = await failure_of(Database(postgres_url + "_not").open())
    assert (error.code, error.retryable) == ("store_refused", False)


async def test_a_server_that_never_answers_is_given_up(postgres_url, postgres_cluster):
    database = Database(postgres_url + "?connect_timeout=2")
    with postgres_cluster.frozen():
        error = await failure_of(database.open())
    assert (error.code, error.retryable) == ("store_unreachable", True)
    await database.open()
    await database.aclose()


async def test_a_server_that_was_restarted_between_two_requests_is_not_noticed(served, postgres_cluster):
    await add(served, "a")
    await asyncio.gather(*(names(served) for _ in range(8)))  # several connections wait in the pool
    with postgres_cluster.stopped():
        pass
    assert await asyncio.gather(*(names(served) for _ in range(8))) == [["a"]] * 8
    await add(served, "b")
    assert await names(served) == ["a", "b"]


async def test_a_server_that_is_away_is_said_until_it_is_back(served, postgres_cluster):
    await add(served, "a")
    with postgres_cluster.stopped():
        for work in (names(served), add(served, "b"), names(served)):
            error = await failure_of(work)
            assert (error.code, error.retryable) == ("store_unreachable", True)
    await add(served, "c")
    assert await names(served) == ["a", "c"]


@pytest.mark.parametrize("begin", ["read", "write"])
async def test_a_connection_that_is_cut_in_the_middle_is_one_error(served, postgres_cluster, begin):
    await add(served, "a")

    async def work():
        async with getattr(served, begin)() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar()
            postgres_cluster.run_sql(f"SELECT pg_terminate_backend({pid})")
            await connection.execute(text("SELECT 1"))

    error = await failure_of(work())
    assert (error.code, error.retryable) == ("store_unreachable", True)
    await add(served, "b")
    assert await names(served) == ["a", "b"]


async def test_a_connection_that_is_cut_before_the_commit_is_one_error(served, postgres_cluster):
    await served.open()

    async def work():
        async with served.write() as connection:
            await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar()
            postgres_cluster.run_sql(f"SELECT pg_terminate_backend({pid})")

    error = await failure_of(work())
    assert error.code == "store_unreachable"
    async with served.read() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM roles"))).scalar() == 0


async def test_a_server_that_dies_in_the_middle_is_one_error(served, postgres_cluster):
    await add(served, "a")

    async def work():
        async with served.write() as connection:
            await connection.execute(text("DELETE FROM events"))
            with postgres_cluster.stopped():
                pass
            await connection.execute(text("SELECT 1"))

    error = await failure_of(work())
    assert (error.code, error.retryable) == ("store_unreachable", True)
    assert await names(served) == ["a"]


async def test_a_server_that_is_read_only_is_said(served, postgres_cluster, postgres_url):
    await add(served, "a")
    name = postgres_url.rsplit("/", 1)[1]
    postgres_cluster.run_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await served.aclose()
    error = await failure_of(add(served, "b"))
    assert (error.code, error.retryable) == ("store_not_writable", False)
    assert await names(served) == ["a"]
    assert (await failure_of(add(served, "b"))).code == "store_not_writable"
    postgres_cluster.run_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    await add(served, "c")  # connections that could only read were not kept
    assert await names(served) == ["a", "c"]


async def test_a_user_without_rights_is_said(postgres_url, postgres_cluster):
    postgres_cluster.run_sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    try:
        database = Database(postgres_url.replace("rmx:", "guest:"))
        error = await failure_of(database.open())
        assert (error.code, error.retryable) == ("store_not_writable", False)
        assert "owner" in error.hint
    finally:
        postgres_cluster.run_sql("DROP ROLE guest")


async def test_two_requests_that_wait_for_each_other_are_told_to_try_again(served):
    async with served.write() as connection:
        await connection.execute(text("INSERT INTO roles (name) VALUES ('a'), ('b')"))
    both = [asyncio.Event(), asyncio.Event()]

    async def work(mine, first, second):
        async with served.write() as connection:
            change = text("UPDATE roles SET worker = 'w' WHERE name = :name")
            await connection.execute(change, {"name": first})
            both[mine].set()
            await both[1 - mine].wait()
            await connection.execute(change, {"name": second})

    results = await asyncio.wait_for(
        asyncio.gather(work(0, "a", "b"), work(1, "b", "a"), return_exceptions=True), FAIL_SAFE_S
    )
    (error,) = [result for result in results if result is not None]
    assert (error.code, error.retryable) == ("store_locked", True)


# Raised by the server itself, in its own words and with its own codes.
STATES = {
    "53100": ("store_disk_full", True),
    "53300": ("store_unreachable", True),
    "57P01": ("store_unreachable", True),
    "57P03": ("store_unreachable", True),
    "08006": ("store_unreachable", True),
    "25006": ("store_not_writable", False),
    "42501": ("store_not_writable", False),
    "40001": ("store_locked", True),
    "40P01": ("store_locked", True),
    "55P03": ("store_locked", True),
    "23505": ("store_taken", False),
    "XX000": ("store_unavailable", True),
}


@pytest.mark.parametrize("state", STATES)
async def test_each_state_of_the_server_has_its_code(served, state):
    async def work():
        async with served.write() as connection:
            await connection.execute(
                text(f"DO $$ BEGIN RAISE EXCEPTION 'secret words' USING ERRCODE = '{state}'; END $$")
            )

    with pytest.raises(StoreError) as caught:
        await work()
    assert (caught.value.code, caught.value.retryable) == STATES[state]
    assert "secret words" not in str(caught.value)
    await add(served, "a")
    assert await names(served) == ["a"]


async def test_values_are_in_no_message(store_url):
    # What is written may be a token's hash or a provider's answer.
    database = Database(store_url)
    with pytest.raises(StoreError) as caught:
        async with database.write() as connection:
            await connection.execute(
                text("INSERT INTO roles (name, nothing) VALUES (:name, 1)"), {"name": "hunter2"}
            )
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    await database.aclose()
