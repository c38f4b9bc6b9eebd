"""Older databases become what the schema says: all of it or nothing, once, with a back-up before."""

import asyncio
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store import migrations
from jupyter_rmx.store.database import Database
from jupyter_rmx.store.engines import one_writer
from jupyter_rmx.store.migrations import HEAD, REVISIONS
from jupyter_rmx.store.migrations.back_up import back_up
from jupyter_rmx.store.migrations.upgrade import upgrade
from jupyter_rmx.store.schema import metadata
from jupyter_rmx.store.urls import parse_url

SCRIPTS = str(Path(migrations.__file__).parent)
ROWS = 5


def first_release(number):
    """A row as the first release wrote it."""
    status = ("running", "paused", "creating", "destroying", "failed")[number]
    made = f"p-{number}" if status != "creating" else None
    worker = None if number < 2 else "12-3.5"
    return (f"vm_{number}", "me", f"demo-{number}", status, "local", made, "debian",
            f'{{"isolation": "none", "n": [{number}]}}', f"2026-11-23 12:00:0{number}.000000",
            f"key-{number}", str(number) * 64, worker)  # fmt: skip


# What `.dump` said of a file that the first release (commit 26b5386) made; rows are those that it wrote there.
FIRST_RELEASE = """
CREATE TABLE schema_info (
	version INTEGER NOT NULL,
	PRIMARY KEY (version)
);
INSERT INTO "schema_info" VALUES(1);
CREATE TABLE vms (
	id VARCHAR(40) NOT NULL,
	owner VARCHAR(128) NOT NULL,
	name VARCHAR(40) NOT NULL,
	status VARCHAR(16) NOT NULL,
	provider VARCHAR(64) NOT NULL,
	provider_vm_id VARCHAR(256),
	image VARCHAR(256),
	details JSON NOT NULL,
	created_at DATETIME NOT NULL,
	idempotency_key VARCHAR(128) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	worker VARCHAR(64),
	PRIMARY KEY (id),
	CONSTRAINT vms_owner_name UNIQUE (owner, name),
	CONSTRAINT vms_owner_key UNIQUE (owner, idempotency_key)
);
"""


def make_old_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(FIRST_RELEASE)
        marks = ", ".join("?" * 12)
        connection.executemany(f"INSERT INTO vms VALUES ({marks})", map(first_release, range(ROWS)))
        connection.commit()
    return f"sqlite:///{path}"


def run_alembic(url, revision):
    """Step by step, from whatever is there."""
    engine = one_writer(parse_url(url), 30)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", SCRIPTS)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def run_sql(url, *statements):
    engine = one_writer(parse_url(url), 30)
    with engine.begin() as connection:
        rows = [connection.execute(text(statement)) for statement in statements]
        found = rows[-1].fetchall() if rows[-1].returns_rows else []
    engine.dispose()
    return [tuple(row) for row in found]


def catalog(url):
    """Everything that the database knows of its tables, so that two of them can be compared."""
    if url.startswith("sqlite"):
        found = run_sql(url, "SELECT type, name, sql FROM sqlite_master WHERE tbl_name != 'alembic_version'")
        return sorted((kind, name, re.sub(r"\s+", " ", sql or "")) for kind, name, sql in found)
    columns = (
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = 'public'"
    )
    indexes = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    rules = "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype <> 'n'"
    return sorted(map(str, run_sql(url, columns) + run_sql(url, indexes) + run_sql(url, rules)))


@pytest.fixture
def second_url(store_url, request, tmp_path):
    """Another empty database of the same kind."""
    if store_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path}/second.sqlite3"
    else:
        with request.getfixturevalue("postgres_cluster").database() as url:
            yield url


def test_the_program_knows_exactly_the_revisions_there_are():
    scripts = ScriptDirectory(SCRIPTS)
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS
    assert scripts.get_heads() == [HEAD]


async def test_migrations_from_nothing_make_what_the_schema_says(store_url, second_url):
    database = Database(store_url)
    await database.open()
    await database.aclose()
    run_alembic(second_url, "head")
    engine = one_writer(parse_url(second_url), 30)
    with engine.begin() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    assert catalog(second_url) == catalog(store_url)
    assert run_sql(second_url, "SELECT * FROM alembic_version") == [(HEAD,)]
    assert run_sql(store_url, "SELECT * FROM alembic_version") == [(HEAD,)]


async def test_the_first_revision_is_the_first_release(tmp_path):
    url = make_old_file(tmp_path / "old.sqlite3")
    run_alembic(f"sqlite:///{tmp_path}/steps.sqlite3", "0001")
    made = [(kind, name, sql.replace(" ", "")) for kind, name, sql in catalog(url)]
    steps = [
        (kind, name, sql.replace(" ", ""))
        for kind, name, sql in catalog(f"sqlite:///{tmp_path}/steps.sqlite3")
    ]
    assert steps == made
    assert run_sql(f"sqlite:///{tmp_path}/steps.sqlite3", "SELECT * FROM schema_info") == [(1,)]


KEPT = "id, owner, name, status, provider, provider_vm_id, image, idempotency_key, fingerprint"


async def test_a_database_of_the_first_release_is_upgraded_with_its_rows(store_url, second_url, tmp_path):
    if store_url.startswith("sqlite"):
        make_old_file(Path(store_url.removeprefix("sqlite:///")))
    else:
        run_alembic(store_url, "0001")
        run_sql(store_url, "DROP TABLE alembic_version")
        for number in range(ROWS):
            values = ", ".join("NULL" if value is None else f"'{value}'" for value in first_release(number))
            run_sql(store_url, f"INSERT INTO vms VALUES ({values})")
    before = run_sql(store_url, f"SELECT {KEPT}, details, created_at FROM vms ORDER BY id")
    database = Database(store_url)
    async with database.read() as connection:
        query = f"SELECT {KEPT}, details, created_at FROM vms ORDER BY id"
        assert [tuple(row) for row in await connection.execute(text(query))] == before
        query = "SELECT status, active, operation_id, version, checked_at, destroyed_at FROM vms ORDER BY id"
        assert [tuple(row) for row in await connection.execute(text(query))] == [
            ("running", 1, None, 0, None, None),
            ("paused", 0, None, 0, None, None),
            ("creating", 1, None, 0, None, None),
            ("destroying", 1, None, 0, None, None),
            ("failed", 0, None, 0, None, None),
        ]
    await database.aclose()
    assert len(before) == ROWS
    run_alembic(second_url, "head")
    assert catalog(store_url) == catalog(second_url)


SECOND_RELEASE = (
    (
        "INSERT INTO vms (id, owner, name, status, active, provider, details, created_at, fingerprint, version) "
        "VALUES ('vm_1', 'me', 'demo', 'running', {true}, 'local', '{{}}', '2026-11-24 12:00:00', 'f', 3)"
    ),
    "INSERT INTO events (owner, type, at, data) VALUES ('me', 'vm.created', '2026-11-24 12:00:00', '{{}}')",
)


async def test_a_database_with_operations_is_upgraded_with_its_rows(store_url, second_url, tmp_path):
    if store_url.startswith("sqlite"):
        Path(store_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    run_alembic(store_url, "0002")
    true = "1" if store_url.startswith("sqlite") else "true"
    run_sql(store_url, *(statement.format(true=true) for statement in SECOND_RELEASE))
    rows = ("SELECT * FROM vms", "SELECT * FROM events")
    before = [run_sql(store_url, query) for query in rows]
    database = Database(store_url)
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT * FROM workspaces"))).all() == []
    await database.aclose()
    assert [len(found) for found in before] == [1, 1]
    assert [run_sql(store_url, query) for query in rows] == before
    assert run_sql(store_url, "SELECT * FROM alembic_version") == [(HEAD,)]
    run_alembic(second_url, "head")
    assert catalog(store_url) == catalog(second_url)
    if store_url.startswith("sqlite"):
        folder = Path(store_url.removeprefix("sqlite:///")).parent
        assert len(list(folder.glob(f"*before-{HEAD}-*"))) == 1


async def test_a_back_up_is_made_before_an_upgrade(tmp_path):
    file = tmp_path / "store.sqlite3"
    url = make_old_file(file)
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("SELECT * FROM vms").fetchone()  # keeps the last write in the log, beside the file
        with closing(sqlite3.connect(file)) as writer:
            writer.execute("UPDATE vms SET name = 'late' WHERE id = 'vm_0'")
            writer.commit()
        database = Database(url)
        await database.open()
        await database.aclose()
    (copy,) = tmp_path.glob("store.sqlite3.before-*")
    assert re.fullmatch(rf"store\.sqlite3\.before-{HEAD}-\d{{8}}T\d{{6}}Z", copy.name)
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        rows = connection.execute("SELECT * FROM vms ORDER BY id").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert rows == [("vm_0", "me", "late", *first_release(0)[3:]), *map(first_release, range(1, ROWS))]
    assert {path.name for path in tmp_path.iterdir()} <= {
        "store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm", copy.name, "rmx-data",
    }  # fmt: skip


async def test_a_new_database_has_no_back_up(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/store.sqlite3")
    await database.open()
    await database.aclose()
    assert [path.name for path in tmp_path.iterdir()] == ["store.sqlite3"]


def test_a_back_up_never_overwrites_another(tmp_path):
    make_old_file(tmp_path / "store.sqlite3")
    copies = [back_up(tmp_path / "store.sqlite3", "0002") for _ in range(20)]
    assert len(set(copies)) == 20
    assert all(copy.stat().st_size > 4096 for copy in copies)


async def test_a_failed_upgrade_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "store.sqlite3"
    url = make_old_file(file)
    run_sql(url, "CREATE TABLE snapshots (of_someone_else INTEGER)")
    with closing(sqlite3.connect(file)) as connection:
        before = list(connection.iterdump())
    database = Database(url)
    for _ in range(3):
        with pytest.raises(StoreError):
            await database.open()
        with closing(sqlite3.connect(file)) as connection:
            assert list(connection.iterdump()) == before
        assert list(tmp_path.glob("*before*")) == []
    run_sql(url, "DROP TABLE snapshots")
    await database.open()
    await database.aclose()
    assert run_sql(url, "SELECT count(*) FROM vms") == [(ROWS,)]


async def test_a_failed_upgrade_leaves_the_server_as_it_was(postgres_url):
    run_alembic(postgres_url, "0001")
    run_sql(postgres_url, "CREATE TABLE snapshots (of_someone_else INTEGER)")
    before = catalog(postgres_url)
    database = Database(postgres_url)
    with pytest.raises(StoreError):
        await database.open()
    assert catalog(postgres_url) == before
    run_sql(postgres_url, "DROP TABLE snapshots")
    await database.open()
    await database.aclose()


async def test_without_room_for_the_back_up_nothing_is_upgraded(full_disk):
    file = full_disk.folder / "store.sqlite3"
    url = make_old_file(file)
    full_disk.fill(leave=44 << 10)  # enough for the shared memory of the log, not for a copy
    database = Database(url)
    with pytest.raises(StoreError) as caught:
        await database.open()
    assert caught.value.code == "store_disk_full"
    assert "back-up" in caught.value.message
    assert list(full_disk.folder.glob("*before*")) == []
    full_disk.free()
    assert run_sql(url, "SELECT version FROM schema_info") == [(1,)]
    await database.open()
    await database.aclose()
    assert len(list(full_disk.folder.glob("*before*"))) == 1


@pytest.mark.parametrize(
    "change",
    ["UPDATE alembic_version SET version_num = '0099'", "UPDATE alembic_version SET version_num = '1a2b3c'"],
)
async def test_a_newer_schema_is_refused_with_a_plain_line(store_url, change):
    database = Database(store_url)
    await database.open()
    await database.aclose()
    run_sql(store_url, change)
    with pytest.raises(StoreError) as caught:
        await database.open()
    assert (caught.value.code, caught.value.retryable) == ("store_newer_schema", False)
    assert "pip install --upgrade jupyter_rmx" in caught.value.hint
    assert "newer" in caught.value.message


async def test_a_newer_line_of_the_first_release_is_refused(tmp_path):
    url = make_old_file(tmp_path / "store.sqlite3")
    run_sql(url, "UPDATE schema_info SET version = 2")
    with pytest.raises(StoreError) as caught:
        await Database(url).open()
    assert (caught.value.code, caught.value.retryable) == ("store_newer_schema", False)
    assert list(tmp_path.glob("*before*")) == []


async def test_tables_of_another_program_are_not_touched(store_url):
    if store_url.startswith("sqlite"):
        Path(store_url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    run_sql(store_url, "CREATE TABLE roles (theirs INTEGER)")
    before = catalog(store_url)
    with pytest.raises(StoreError) as caught:
        await Database(store_url).open()
    assert (caught.value.code, caught.value.retryable) == ("store_not_ours", False)
    assert "roles" in caught.value.message
    assert catalog(store_url) == before


OPEN = """
import asyncio, sys
from sqlalchemy import text
from jupyter_rmx.store.database import Database

async def main():
    database = Database(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    async with database.read() as connection:
        await connection.execute(text("SELECT * FROM operations"))
    await database.aclose()
    print("alembic" in sys.modules)

asyncio.run(main())
"""


async def open_in_processes(url, number):
    """Open from several processes at one moment; returns what each printed."""
    pipe = asyncio.subprocess.PIPE
    children = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", OPEN, url, stdin=pipe, stdout=pipe)
        for _ in range(number)
    ]
    for child in children:
        assert await child.stdout.readline() == b"ready\n"
    for child in children:
        child.stdin.write(b"\n")
    outputs = [(await child.communicate())[0].decode().strip() for child in children]
    assert [child.returncode for child in children] == [0] * number
    return outputs


async def test_processes_that_start_together_make_the_tables_once(store_url):
    await open_in_processes(store_url, 4)
    assert run_sql(store_url, "SELECT * FROM alembic_version") == [(HEAD,)]


async def test_processes_that_start_together_upgrade_once(store_url, tmp_path):
    if store_url.startswith("sqlite"):
        make_old_file(Path(store_url.removeprefix("sqlite:///")))
    else:
        run_alembic(store_url, "0001")
    outputs = await open_in_processes(store_url, 4)
    assert outputs.count("True") == 1  # the one that ran a migration
    assert run_sql(store_url, "SELECT * FROM alembic_version") == [(HEAD,)]
    if store_url.startswith("sqlite"):
        assert len(list((tmp_path / "deep/er").glob("*before*"))) == 1


async def test_opening_does_not_import_alembic_for_nothing(store_url):
    assert await open_in_processes(store_url, 1) == ["False"]  # new
    assert await open_in_processes(store_url, 1) == ["False"]  # up to date


async def test_many_old_files_are_upgraded_at_once_in_one_process(tmp_path):
    # alembic works in module variables: two threads of one process must not meet there.
    urls = [make_old_file(tmp_path / f"{number}" / "store.sqlite3") for number in range(8)]
    await asyncio.gather(*(asyncio.to_thread(upgrade, parse_url(url), 30) for url in urls * 2))
    for url in urls:
        assert run_sql(url, "SELECT count(*), sum(active) FROM vms") == [(ROWS, 3)]


async def test_many_may_open_a_new_file_at_once(tmp_path):
    # As two Jupyter servers that start together for the first time.
    for number in range(10):
        opened = [Database(f"sqlite:///{tmp_path}/{number}/store.sqlite3") for _ in range(8)]
        try:
            await asyncio.gather(*(database.open() for database in opened))
        finally:
            await asyncio.gather(*(database.aclose() for database in opened))
