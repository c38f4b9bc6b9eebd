"""Fake: what the fakes of services have in common: a journal of calls and vices, both on disk.

A vice is set at run time and seen by every process at its next call. `times` is for how many calls it holds, None: for
ever; with `about` only calls count that have this value (a key, an id) among their arguments. A call suffers at most
one vice of a kind; two of a kind wait in line. `method` is one of the fake's methods, or ALL.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

from jupyter_rmx.errors import ProviderError, RmxError
from jupyter_rmx.testing import fake_truth
from jupyter_rmx.testing.fake_truth import FakeCall, Outcome, Truth

Moment = Literal["called", "committed"]
MOMENTS: tuple[Moment, ...] = ("called", "committed")
"""When `probe` is called: nothing is done yet; all is done and on disk, but not answered."""

Probe = Callable[[str, str], None]
ALL = "*"
_POLL_S = 0.005
_ORDER = ("down", "hang", "slow", "fail", "lost", "nonsense")
_Answer = TypeVar("_Answer")
_Done = TypeVar("_Done")


class Fake:
    """A service whose truth is one file. `probe(method, moment)` is called synchronously at the moments of MOMENTS."""

    methods: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, schema: Sequence[str], probe: Probe | None) -> None:
        self._truth = Truth(path, schema)
        self._probe = probe or _no_probe

    # --- what happened

    def calls(
        self,
        method: str | None = None,
        outcome: Outcome | None = None,
        *,
        committed: bool | None = None,
        about: str | None = None,
    ) -> list[FakeCall]:
        """The calls of all processes, oldest first.

        All of them, or those of one method, with one outcome, with their effect on disk or not, about one key or id.
        """
        found = [fake_truth.call_of(row) for row in self._truth.look("SELECT * FROM calls ORDER BY number")]
        return [
            call
            for call in found
            if method in (None, call.method)
            and outcome in (None, call.outcome)
            and committed in (None, call.committed)
            and (about is None or about in call.arguments.values())
        ]

    def most_at_once(self, method: str, *, about: str | None = None) -> int:
        """The highest number of calls of this method that were under way at one moment, over all processes."""
        return fake_truth.most_at_once(self.calls(method, about=about))

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._truth.close()

    # --- vices

    def slow(
        self,
        method: str,
        seconds: float,
        moment: Moment = "called",
        *,
        times: int | None = 1,
        about: str | None = None,
    ) -> None:
        """Take longer, before (`called`) or after (`committed`) the effect is on disk."""
        self._add("slow", method, moment, times, about, seconds)

    def hang(
        self, method: str, moment: Moment = "called", *, times: int | None = 1, about: str | None = None
    ) -> None:
        """Never answer, or not before `release`; with the effect done (`committed`) or not."""
        self._add("hang", method, moment, times, about, None)

    def held(self, method: str | None = None) -> int:
        """How many calls hang at this moment."""
        rows = self._truth.look(
            "SELECT held.method FROM held JOIN calls ON number = call WHERE ended IS NULL"
        )
        return sum(method in (None, row["method"]) for row in rows)

    def release(self, method: str | None = None) -> None:
        """Let the calls that hang go on, and no further one hang."""
        which, values = ("", ()) if method is None else (" AND method = ?", (method,))
        with self._truth.change() as db:
            db.execute(f"DELETE FROM vices WHERE kind = 'hang'{which}", values)  # noqa: S608 - our own words
            db.execute(f"DELETE FROM held WHERE 1{which}", values)  # noqa: S608

    def fail_before(
        self,
        method: str,
        error: Exception | None = None,
        *,
        times: int | None = 1,
        about: str | None = None,
    ) -> None:
        """Raise and do nothing: `error`, or one of the service's own that can be retried."""
        self._add("fail", method, "called", times, about, error or self._unavailable("refused"))

    def lost_answer(
        self,
        method: str,
        error: Exception | None = None,
        *,
        times: int | None = 1,
        about: str | None = None,
    ) -> None:
        """Do it, then raise: `error`, as an OSError of a careless driver, or one of its own that can be retried."""
        self._add("lost", method, "committed", times, about, error or self._unavailable("gave no answer"))

    def nonsense(
        self,
        method: str,
        value: object = None,
        *,
        replace: Mapping[str, Any] | None = None,
        times: int | None = 1,
        about: str | None = None,
    ) -> None:
        """Do it, then answer `value`; or, with `replace`, the true answer with these fields changed."""
        self._add("nonsense", method, "committed", times, about, (value, dict(replace) if replace else None))

    def down(self) -> None:
        """Every call raises an error that can be retried, and does nothing, until `up`."""
        self._add("down", ALL, "called", None, None, self._unavailable("is down"))

    def up(self) -> None:
        """End `down`."""
        with self._truth.change() as db:
            db.execute("DELETE FROM vices WHERE kind = 'down'")

    def behave(self) -> None:
        """End all vices; calls that hang go on."""
        with self._truth.change() as db:
            db.execute("DELETE FROM vices")
            db.execute("DELETE FROM held")
            self._behave(db)

    def _unavailable(self, what: str) -> RmxError:
        """The error of a service that cannot be used now."""
        return ProviderError(f"The fake provider {what}.", hint="Try again in a few seconds.", retryable=True)

    def _behave(self, db: sqlite3.Connection) -> None:
        """End what further vices a fake has."""

    def _add(
        self, kind: str, method: str, moment: Moment, times: int | None, about: str | None, data: object
    ) -> None:
        assert method == ALL or method in self.methods, f"{method!r} is none of {self.methods}"
        assert moment in MOMENTS, f"{moment!r} is none of {MOMENTS}"
        assert times is None or times > 0
        with self._truth.change() as db:
            db.execute(
                "INSERT INTO vices (method, kind, moment, about, left, data) VALUES (?, ?, ?, ?, ?, ?)",
                (method, kind, moment, about, times, pickle.dumps(data)),
            )

    # --- one call

    async def _call(
        self,
        method: str,
        arguments: Mapping[str, Any],
        work: Callable[[sqlite3.Connection], _Done],
        finish: Callable[[_Done], Awaitable[_Answer]] | None = None,
    ) -> _Answer:
        """Do `work` in one transaction, with journal, probe and vices around it; `finish` makes its result the answer."""
        with self._truth.change() as db:
            number = fake_truth.begin(db, method, arguments)
            vices = _take(db, number, method, arguments, "called")
        try:
            self._probe(method, "called")
            await self._suffer(number, vices, None)
            with self._truth.change() as db:
                done = work(db)
                fake_truth.mark_committed(db, number)
                vices = _take(db, number, method, arguments, "committed")
            self._probe(method, "committed")
            answer = cast("_Answer", done if finish is None else await finish(done))
            answer = cast("_Answer", await self._suffer(number, vices, answer))
        except BaseException as error:
            with self._truth.change() as db:
                fake_truth.end(db, number, "raised", error)
            raise
        with self._truth.change() as db:
            fake_truth.end(db, number, "answered")
        return answer

    async def _suffer(self, number: int, vices: Mapping[str, Any], answer: object) -> object:
        """Act out the vices of one moment; the answer, or what is given in its place."""
        await asyncio.sleep(0)  # a real service never answers within one turn of the event loop
        for kind in (kind for kind in _ORDER if kind in vices):
            data = vices[kind]
            if kind == "hang":
                await self._hang(number)
            elif kind == "slow":
                await asyncio.sleep(data)
            elif kind == "nonsense":
                value, fields = data
                answer = value if fields is None else dataclasses.replace(cast("Any", answer), **fields)
            else:
                raise data
        return answer

    async def _hang(self, number: int) -> None:
        # Released by another process, perhaps: there is nothing in this one to wait for.
        while self._truth.look("SELECT 1 FROM held WHERE call = ?", number):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)


def _take(
    db: sqlite3.Connection, number: int, method: str, arguments: Mapping[str, Any], moment: Moment
) -> dict[str, Any]:
    """The vices of this call at this moment, one of each kind, each used up by one."""
    rows: Iterable[sqlite3.Row] = db.execute(
        "SELECT * FROM vices WHERE method IN (?, ?) AND moment = ? ORDER BY id", (method, ALL, moment)
    ).fetchall()
    taken: dict[str, Any] = {}
    for row in rows:
        if row["kind"] in taken or row["about"] not in (None, *arguments.values()):
            continue
        taken[row["kind"]] = pickle.loads(row["data"])  # noqa: S301 - what a test of ours wrote
        db.execute("UPDATE vices SET left = left - 1 WHERE id = ?", (row["id"],))
        if row["kind"] == "hang":  # here, so that no `release` falls between
            db.execute("INSERT OR REPLACE INTO held VALUES (?, ?)", (number, method))
    db.execute("DELETE FROM vices WHERE left = 0")
    return taken


def _no_probe(method: str, moment: str) -> None:
    pass
