"""What a fake has really done, on disk: one SQLite file that many processes share, whole after SIGKILL at any instant.

No fsync: the page cache outlives a killed process, and nobody cuts the power of a test.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

BUSY_S = 60.0
"""Fail-safe for the wait for another process's transaction."""

Outcome = Literal["started", "committed", "answered", "raised"]

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS calls (number INTEGER PRIMARY KEY AUTOINCREMENT, method TEXT, arguments TEXT,
        pid INTEGER, outcome TEXT, committed INTEGER DEFAULT 0, error TEXT, began INTEGER, ended INTEGER)""",
    "CREATE INDEX IF NOT EXISTS open_calls ON calls (pid) WHERE ended IS NULL",
    """CREATE TABLE IF NOT EXISTS vices (id INTEGER PRIMARY KEY, method TEXT, kind TEXT, moment TEXT, about TEXT,
        left INTEGER, data BLOB)""",
    "CREATE TABLE IF NOT EXISTS held (call INTEGER PRIMARY KEY, method TEXT)",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value)",
)


@dataclass(frozen=True)
class FakeCall:
    """One call of a fake. `number` grows with every call of every process.

    `outcome`: `started` (nothing is done yet), `committed` (its effect is on disk, no answer was given), `answered`, or
    `raised` with `error`; a process that was killed leaves its call at one of the first two. `committed`: its effect is
    on disk, whatever its caller heard. `began` and `ended` count moments of all calls, None while it goes on.
    """

    number: int
    method: str
    arguments: Mapping[str, Any]
    pid: int
    outcome: Outcome
    committed: bool
    error: str | None
    began: int
    ended: int | None


class Truth:
    """The file. Opened at the first use; used by all threads of a process, and again after a fork."""

    def __init__(self, path: Path, schema: Sequence[str] = ()) -> None:
        self.path = path
        self._schema = (*_SCHEMA, *schema)
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._inherited: list[sqlite3.Connection] = []

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is kept, or nothing if the block raises or the process is killed in it."""
        with self._lock:
            db = self._connected()
            with _transaction(db):
                yield db

    def look(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of one query."""
        with self._lock:
            return self._connected().execute(query, values).fetchall()

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            db, self._db = self._db, None
            if db is not None and self._pid == os.getpid():
                db.close()

    def _connected(self) -> sqlite3.Connection:
        if self._db is not None and self._pid == os.getpid():
            return self._db
        if self._db is not None:
            self._inherited.append(self._db)  # closing it here would meddle with our parent's locks
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        _make_wal(db)
        db.execute("PRAGMA synchronous=OFF")
        with _transaction(db):
            for statement in self._schema:
                db.execute(statement)
        self._db, self._pid = db, os.getpid()
        return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _make_wal(db: sqlite3.Connection) -> None:
    """Two processes that meet in a new file: SQLite refuses this change at once, whatever its time-out."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


# --- numbers and settings


def count_up(db: sqlite3.Connection, name: str) -> int:
    """1, 2, 3 … over all processes, for each name."""
    db.execute(
        "INSERT INTO settings VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
        (f"number of {name}",),
    )
    (number,) = db.execute("SELECT value FROM settings WHERE name = ?", (f"number of {name}",)).fetchone()
    return int(number)


def write_setting(db: sqlite3.Connection, name: str, value: Any) -> None:
    """Keep a JSON-able value under a name; None removes it."""
    db.execute("DELETE FROM settings WHERE name = ?", (name,))
    if value is not None:
        db.execute("INSERT INTO settings VALUES (?, ?)", (name, json.dumps(value)))


def read_setting(db: sqlite3.Connection, name: str) -> Any:
    """The value; None if there is none."""
    row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else json.loads(row[0])


# --- the journal of calls


def begin(db: sqlite3.Connection, method: str, arguments: Mapping[str, Any]) -> int:
    """Write down a call; its number."""
    _end_calls_of_the_dead(db)
    done = db.execute(
        "INSERT INTO calls (method, arguments, pid, outcome, began) VALUES (?, ?, ?, 'started', ?)",
        (method, json.dumps(arguments), os.getpid(), count_up(db, "moments")),
    )
    assert done.lastrowid is not None
    return done.lastrowid


def mark_committed(db: sqlite3.Connection, number: int) -> None:
    """Its effect is in this same transaction."""
    db.execute("UPDATE calls SET outcome = 'committed', committed = 1 WHERE number = ?", (number,))


def end(db: sqlite3.Connection, number: int, outcome: Outcome, error: BaseException | None = None) -> None:
    """It has answered or raised."""
    db.execute(
        "UPDATE calls SET outcome = ?, error = ?, ended = ? WHERE number = ?",
        (outcome, None if error is None else repr(error), count_up(db, "moments"), number),
    )
    db.execute("DELETE FROM held WHERE call = ?", (number,))


def _end_calls_of_the_dead(db: sqlite3.Connection) -> None:
    """A call of a killed process is over, though it never came to its end: it overlaps no call that begins now."""
    rows = db.execute("SELECT DISTINCT pid FROM calls WHERE ended IS NULL AND pid != ?", (os.getpid(),))
    for (pid,) in rows.fetchall():
        if not _lives(pid):
            db.execute(
                "UPDATE calls SET ended = ? WHERE ended IS NULL AND pid = ?", (count_up(db, "moments"), pid)
            )


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def call_of(row: sqlite3.Row) -> FakeCall:
    """A row of `calls`."""
    values = dict(row)
    values |= {"arguments": json.loads(values["arguments"]), "committed": bool(values["committed"])}
    return FakeCall(**values)


def most_at_once(calls: Sequence[FakeCall]) -> int:
    """The highest number of these calls that were under way at one moment."""
    steps = [(call.began, 1) for call in calls]
    steps += [(call.ended, -1) for call in calls if call.ended is not None]
    most = now = 0
    for _moment, step in sorted(steps):
        now += step
        most = max(most, now)
    return most
