"""Transactions on SQLite and PostgreSQL: all or nothing, one moment, never left locked, whoever is cancelled."""

import asyncio
import gc
import random
import sqlite3
from contextlib import closing

import psutil
import pytest
from sqlalchemy import text

from jupyter_rmx.errors import StoreError
from jupyter_rmx.store import engines
from jupyter_rmx.store.database import Database, TakenError, lock_text, mapped_errors

FAIL_SAFE_S = 60


@pytest.fixture
def database(store_url, jp_asyncio_loop):
    made = Database(store_url)
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


@pytest.fixture
def file_database(tmp_path, jp_asyncio_loop):
    made = Database(f"sqlite:///{tmp_path}/data/store.sqlite3", busy_timeout_s=0.3)
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


async def add(database, name):
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO roles (name) VALUES (:name)"), {"name": name})


async def names(database):
    async with database.read() as connection:
        return list((await connection.execute(text("SELECT name FROM roles ORDER BY name"))).scalars())


def connections(database):
    """How many connections are in use."""
    opened = database._engines
    return opened.reader.pool.checkedout() + opened.writer.pool.checkedout()


async def is_free(database, postgres_cluster=None):
    """No connection is in use, none is in a transaction, and the next writer gets through."""
    assert connections(database) == 0
    await asyncio.wait_for(add(database, "after"), FAIL_SAFE_S)
    if postgres_cluster is not None:
        # The server hears of a cut connection a moment later.
        query = "SELECT state, query FROM pg_stat_activity WHERE application_name = 'jupyter_rmx' AND state <> 'idle'"
        deadline = asyncio.get_running_loop().time() + FAIL_SAFE_S
        while left := postgres_cluster.run_sql(query):
            assert asyncio.get_running_loop().time() < deadline, left
            await asyncio.sleep(0.02)


@pytest.fixture
def server(store_url, request):
    """The cluster where there is one."""
    return None if store_url.startswith("sqlite") else request.getfixturevalue("postgres_cluster")


async def test_an_error_undoes_all_of_a_transaction(database):
    with pytest.raises(ZeroDivisionError):
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))
            1 / 0  # noqa: B018
    assert await names(database) == []
    assert connections(database) == 0


async def test_a_savepoint_is_undone_alone(database):
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))
        with pytest.raises(TakenError):
            async with mapped_errors(), connection.begin_nested():
                await connection.execute(text("INSERT INTO roles (name) VALUES ('b')"))
                await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))
        async with connection.begin_nested():
            await connection.execute(text("INSERT INTO roles (name) VALUES ('c')"))
    assert await names(database) == ["a", "c"]


async def test_a_value_that_is_there_is_taken(database):
    await add(database, "a")
    with pytest.raises(TakenError) as caught:
        await add(database, "a")
    assert (caught.value.code, caught.value.retryable) == ("store_taken", False)


async def test_a_rule_of_another_kind_is_not_called_taken(database):
    with pytest.raises(StoreError) as caught:
        await add(database, None)
    assert not isinstance(caught.value, TakenError)


async def test_a_reader_sees_one_moment(database):
    await add(database, "a")
    async with database.read() as connection:
        query = text("SELECT count(*) FROM roles")
        assert (await connection.execute(query)).scalar() == 1
        await add(database, "b")
        assert (await connection.execute(query)).scalar() == 1
    assert await names(database) == ["a", "b"]


async def test_a_reader_on_a_server_cannot_write(postgres_url):
    database = Database(postgres_url)
    with pytest.raises(StoreError):
        async with database.read() as connection:
            await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))
    assert await names(database) == []
    await add(database, "a")  # the same connection may write in `write`
    await database.aclose()


async def test_readers_do_not_wait_for_a_writer(database):
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))
        assert await asyncio.wait_for(names(database), FAIL_SAFE_S) == []
    assert await names(database) == ["a"]


async def test_what_a_writer_reads_stays_true(database):
    async def count_up():
        async with database.write() as connection:
            await lock_text(connection, "beat")
            beat = (await connection.execute(text("SELECT beat FROM workers"))).scalar()
            await asyncio.sleep(0)
            await connection.execute(text("UPDATE workers SET beat = :beat"), {"beat": beat + 1})

    async with database.write() as connection:
        await connection.execute(text("INSERT INTO workers VALUES ('w', 'h', 'p', 0)"))
    await asyncio.gather(*(count_up() for _ in range(60)))
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT beat FROM workers"))).scalar() == 60


async def test_two_locks_of_one_text_wait_and_of_two_do_not(postgres_url):
    database = Database(postgres_url)
    order = []

    async def hold(name, until, taken):
        async with database.write() as connection:
            await lock_text(connection, name)
            order.append(name)
            taken.set()
            await until.wait()

    go, first, other, again = (asyncio.Event() for _ in range(4))
    holder = asyncio.create_task(hold("a", go, first))
    await first.wait()
    waiting = asyncio.create_task(hold("a", go, again))
    free = asyncio.create_task(hold("b", go, other))
    await asyncio.wait_for(other.wait(), FAIL_SAFE_S)
    assert order == ["a", "b"]
    go.set()
    await asyncio.gather(holder, waiting, free)
    assert order == ["a", "b", "a"]
    await database.aclose()


async def test_a_transaction_that_is_cancelled_in_its_body_is_undone(database, server):
    inside = asyncio.Event()

    async def work():
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO roles (name) VALUES ('lost')"))
            inside.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, FAIL_SAFE_S)
    await is_free(database, server)
    assert await names(database) == ["after"]


async def test_a_statement_that_is_cancelled_on_a_server_ends_there(postgres_url, postgres_cluster):
    database = Database(postgres_url)
    await database.open()
    for begin in (database.read, database.write):

        async def work(begin=begin):
            async with begin() as connection:
                await connection.execute(text("SELECT pg_sleep(3600)"))

        task = asyncio.create_task(work())
        running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND state = 'active' AND pid <> pg_backend_pid()"
        while not postgres_cluster.run_sql(running):
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, FAIL_SAFE_S)
        assert postgres_cluster.run_sql(running) == []
    await is_free(database, postgres_cluster)
    await database.aclose()


async def test_cancelled_at_any_moment_nothing_stays_locked(database, server, caplog):
    """Requests are cancelled at random moments, some twice: every one of them is there as a whole or not at all."""
    await database.open()
    chance = random.Random(3)

    async def request(number):
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO roles (name) VALUES (:n)"), {"n": f"{number:03}-a"})
            await connection.execute(text("INSERT INTO roles (name) VALUES (:n)"), {"n": f"{number:03}-b"})
        async with database.read() as connection:
            await connection.execute(text("SELECT * FROM roles"))

    async def cancelled(number):
        task = asyncio.create_task(request(number))
        for _ in range(chance.choice((1, 1, 2))):
            # From at once to after its end, on a fast computer and on a slow one.
            await asyncio.sleep(chance.choice((0.002, 0.01, 0.03, 0.1, 0.3)) * chance.random())
            task.cancel()
        await asyncio.wait([task], timeout=FAIL_SAFE_S)
        assert task.done()
        return task.cancelled()

    ended = []
    for start in range(0, 200, 8):
        ended += await asyncio.gather(*(cancelled(number) for number in range(start, start + 8)))
    assert any(ended)
    found = await names(database)
    assert 0 < len(found) < 400
    assert all(name[:-1] + other in found for name in found for other in "ab")
    await is_free(database, server)
    gc.collect()  # a connection that nobody gave back is told of by SQLAlchemy when it is swept up
    assert "garbage collector" not in caplog.text


async def test_connecting_that_is_cancelled_leaves_no_connection(postgres_url, postgres_cluster):
    """Not even until the garbage is collected: a server has room for a hundred."""
    database = Database(postgres_url)
    await database.open()
    chance = random.Random(7)
    gc.disable()
    try:
        for _ in range(40):
            await database.aclose()  # so that each of the next ones connects
            await database.open()
            tasks = [asyncio.create_task(names(database)) for _ in range(8)]
            await asyncio.sleep(chance.random() * 0.03)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=FAIL_SAFE_S)
        await asyncio.wait_for(names(database), FAIL_SAFE_S)
        await database.aclose()
        deadline = asyncio.get_running_loop().time() + FAIL_SAFE_S
        while left := sockets_to(postgres_cluster.port):
            assert asyncio.get_running_loop().time() < deadline, left
            await asyncio.sleep(0.05)
    finally:
        gc.enable()


def sockets_to(port):
    """Our open connections to that port."""
    process = psutil.Process()
    connections = process.net_connections if hasattr(process, "net_connections") else process.connections
    return [one for one in connections("tcp") if one.raddr and one.raddr.port == port]


async def test_opening_may_be_cancelled(store_url):
    chance = random.Random(4)
    for _ in range(20):
        database = Database(store_url)
        task = asyncio.create_task(database.open())
        await asyncio.sleep(chance.random() * 0.1)
        task.cancel()
        await asyncio.wait([task], timeout=FAIL_SAFE_S)
        assert task.done()
        await asyncio.wait_for(database.open(), FAIL_SAFE_S)
        await database.aclose()


async def test_too_many_at_once_are_told_so(store_url, monkeypatch):
    monkeypatch.setattr(engines, "POOL_TIMEOUT_S", 0.2)
    database = Database(store_url)
    full = engines.KEPT + engines.MORE
    inside = asyncio.Semaphore(0)
    go = asyncio.Event()

    async def hold():
        async with database.read():
            inside.release()
            await go.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(full)]
    for _ in tasks:
        await inside.acquire()
    with pytest.raises(StoreError) as caught:
        await names(database)
    assert (caught.value.code, caught.value.retryable) == ("store_busy", True)
    go.set()
    await asyncio.gather(*tasks)
    assert await names(database) == []
    await database.aclose()


async def test_closing_waits_for_nobody_and_leaves_nothing(database):
    inside, go = asyncio.Event(), asyncio.Event()

    async def work():
        async with database.write() as connection:
            inside.set()
            await go.wait()
            await connection.execute(text("INSERT INTO roles (name) VALUES ('a')"))

    task = asyncio.create_task(work())
    await inside.wait()
    opened = database._engines
    await database.aclose()
    go.set()
    await task
    assert opened.writer.pool.checkedin() == opened.reader.pool.checkedin() == 0
    assert await names(database) == ["a"]  # opened anew by its use


# SQLite's one writer


def hold_lock(path):
    """Another process that writes, as far as SQLite can tell."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return closing(connection)


async def test_a_file_that_another_process_keeps_locked_is_said_to_be(file_database, tmp_path):
    await file_database.open()
    with hold_lock(tmp_path / "data/store.sqlite3"):
        with pytest.raises(StoreError) as caught:
            await add(file_database, "a")
        assert (caught.value.code, caught.value.retryable) == ("store_locked", True)
        assert "another process" in caught.value.message
        assert await names(file_database) == []  # readers are not disturbed
    await add(file_database, "b")
    assert await names(file_database) == ["b"]


async def test_a_writer_waits_for_another_process(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/store.sqlite3", busy_timeout_s=FAIL_SAFE_S)
    await database.open()
    with hold_lock(tmp_path / "store.sqlite3"):
        task = asyncio.create_task(add(database, "a"))
        await asyncio.sleep(engines.TRY_S * 3)  # it has tried, and tries again
        assert not task.done()
    await task
    assert await names(database) == ["a"]
    await database.aclose()


async def test_a_writer_that_waits_can_be_cancelled(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/store.sqlite3", busy_timeout_s=36000)
    await database.open()
    with hold_lock(tmp_path / "store.sqlite3"):
        tasks = [asyncio.create_task(add(database, f"{number}")) for number in range(5)]
        await asyncio.sleep(engines.TRY_S)
        for task in tasks:
            task.cancel()
        done, pending = await asyncio.wait(tasks, timeout=FAIL_SAFE_S)
        assert not pending
        assert all(task.cancelled() for task in done)
    await is_free(database)
    assert await names(database) == ["after"]
    await database.aclose()


async def test_a_long_reader_does_not_stop_writers(file_database):
    async with file_database.read() as connection:
        await connection.execute(text("SELECT * FROM roles"))
        for number in range(50):
            await add(file_database, f"{number}")
    assert len(await names(file_database)) == 50


async def test_a_writer_waits_its_turn_in_this_process(file_database):
    # Many more than the time-out for other processes would let through if each tried by itself.
    await asyncio.gather(*(add(file_database, f"{number}") for number in range(300)))
    assert len(await names(file_database)) == 300
