"""What the control plane costs: a page of a long list, what `create` adds to its provider's time, reconciles a second.

Each figure is measured interleaved with its peer (the same thing without us) in one run; `--json` prints the same table
as JSON. Bounds are those of the issue; they are shown, not asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from jupyter_rmx.clock import SystemClock  # noqa: E402 - the tests' cluster is found by the line above
from jupyter_rmx.control.credits import NoCredits  # noqa: E402 - found only after the path is set
from jupyter_rmx.control.plane import build_control  # noqa: E402 - found only after the path is set
from jupyter_rmx.control.reconcile import LOOK_EVERY, Reconciler  # noqa: E402 - found only after the path is set
from jupyter_rmx.control.use import MachineUse  # noqa: E402 - found only after the path is set
from jupyter_rmx.models import VM, VMSpec  # noqa: E402 - found only after the path is set
from jupyter_rmx.providers.base import ProviderSpec  # noqa: E402 - found only after the path is set
from jupyter_rmx.settings import Settings  # noqa: E402 - found only after the path is set
from jupyter_rmx.store.machines import MachineRecord  # noqa: E402 - found only after the path is set
from jupyter_rmx.store.store import Store  # noqa: E402 - found only after the path is set
from jupyter_rmx.testing.fake_provider import FakeProvider  # noqa: E402 - found only after the path is set
from tests.postgres import Cluster  # noqa: E402 - found only after the path is set

OWNER = "bench"
MACHINES = 10_000
PAGE = 100
RECONCILED = 1000
SQLITE, POSTGRES = "SQLite", "PostgreSQL"


@dataclass
class Figure:
    """One row: ours and the peer's median in `unit`, the worst of a hundred of ours, and what was promised."""

    name: str
    unit: str
    ours: float
    worst: float
    peer: float | None
    promised: str
    kept: bool
    runs: int

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.peer else None


def figure(name, unit, ours, peer, promised, kept):
    peer_median = statistics.median(peer) if peer else None
    median, ranked = statistics.median(ours), sorted(ours, reverse=unit == "/s")
    worst = ranked[math.ceil(0.99 * len(ranked)) - 1]
    return Figure(
        name, unit, median, worst, peer_median, promised, kept(median, worst, peer_median), len(ours)
    )


class ShiftedClock(SystemClock):
    """The time, some seconds later."""

    shift = timedelta(0)

    def now(self):
        return super().now() + self.shift


class AtOnceProvider:
    """Knows how its machines are without asking anybody."""

    name = "fake"
    capabilities: frozenset[str] = frozenset()
    status_is_local = False

    def __init__(self):
        self.drifted = {}

    async def status(self, provider_vm_id):
        return self.drifted.get(provider_vm_id, "running")


class OneProvider:
    """A registry with one provider."""

    def __init__(self, provider):
        self._provider = provider

    def get(self, _name):
        return self._provider


class World:
    """A control plane on a store of its own."""

    def __init__(self, folder, url, provider):
        self.store = Store(url)
        self.clock = ShiftedClock()
        settings = Settings(
            owner=OWNER, data_dir=folder, default_provider="fake", max_active_owner=10 * MACHINES
        )
        self.control = build_control(self.store, OneProvider(provider), NoCredits(), settings, self.clock)
        MachineUse(self.control)
        self.reconciler = Reconciler(self.control)

    async def fill(self, number):
        """So many running machines."""
        async with self.store.write() as tx:
            for one in range(number):
                at = self.clock.now() - timedelta(days=1)
                vm = VM(
                    f"vm_{one:05}",
                    f"m{one}",
                    OWNER,
                    "fake",
                    "running",
                    at,
                    provider_vm_id=f"p{one}",
                    image="base",
                )
                await tx.machines.insert(MachineRecord(vm, None, VMSpec(vm.name).fingerprint()))

    async def aclose(self):
        await self.control.context.engine.aclose()
        await self.store.aclose()


@contextmanager
def databases(folder):
    """Gives a function from the kind of database to (URL, a function that asks it one query without us)."""
    with tempfile.TemporaryDirectory(prefix="rmx-bench-pg-", ignore_cleanup_errors=True) as place:
        cluster = Cluster(Path(place))
        try:
            cluster.make()
            cluster.start()
            yield lambda kind, name: _database(cluster, folder, kind, name)
        finally:
            cluster.stop()
            shutil.rmtree(place, ignore_errors=True)


def _database(cluster, folder, kind, name):
    if kind == SQLITE:
        file = folder / f"{name}.sqlite3"
        return f"sqlite:///{file}", lambda: sqlite3.connect(file)
    cluster.run_sql(f"CREATE DATABASE {name}")
    return cluster.url(name), lambda: psycopg.connect(cluster.url(name))


async def timed(work) -> float:
    start = time.perf_counter()
    await work
    return (time.perf_counter() - start) * 1000


async def bench_page(kind, database, folder, runs):
    url, bare = database(kind, "page")
    world = World(folder, url, AtOnceProvider())
    await world.fill(MACHINES)
    with closing(bare()) as connection:
        # So many machines do not come in one second: the server looks at its tables by itself within a minute.
        connection.execute("ANALYZE")
        connection.commit()
        figures = [
            await _page(world, connection, runs, f"first {PAGE} of {MACHINES} machines, {kind}", None),
            await _page(world, connection, runs, f"{PAGE} from the middle, {kind}", MACHINES // 2),
        ]
    await world.aclose()
    return figures


async def _page(world, connection, runs, name, offset):
    after, where = None, ""
    if offset is not None:
        last = (await world.control.page(limit=offset))[-1]
        after, where = (last.created_at, last.id), f"AND id < '{last.id}'"
    query = (
        f"SELECT * FROM vms WHERE owner = '{OWNER}' AND status NOT IN ('destroyed', 'failed') {where} "
        f"ORDER BY created_at DESC, id DESC LIMIT {PAGE}"
    )
    ours, peer = [], []
    for number in range(runs + 1):
        start = time.perf_counter()
        assert len(connection.execute(query).fetchall()) == PAGE
        seconds = time.perf_counter() - start
        took = await timed(world.control.page(limit=PAGE, after=after))
        if number:  # the first pair warms what is compiled once
            peer.append(seconds * 1000)
            ours.append(took)
    kept = lambda _median, worst, _peer: worst < 50  # noqa: E731
    return figure(f"{name} (peer: its query)", "ms", ours, peer, "p99 < 50 ms", kept)


async def bench_create(kind, database, folder, runs):
    url, _ = database(kind, "made")
    provider = FakeProvider(folder / f"provider-{kind}")
    world = World(folder, url, provider)
    ours, peer = [], []
    for number in range(runs + 1):
        bare = provider.create(ProviderSpec(f"bare{number}", "nobody"), key=f"vm_bare{number}")
        peer_took = await timed(bare)
        took = await timed(world.control.create(VMSpec(f"m{number}"), key=f"k{number}"))
        if number:
            peer.append(peer_took)
            ours.append(took)
    await world.aclose()
    provider.close()
    promised = "adds < 20 ms" if kind == SQLITE else "-"
    kept = lambda median, _worst, bare: kind != SQLITE or median - bare < 20  # noqa: E731
    return [figure(f"create, {kind} (peer: the fake provider's own)", "ms", ours, peer, promised, kept)]


async def bench_reconcile(kind, database, folder, runs):
    url, _ = database(kind, "reconciled")
    provider = AtOnceProvider()
    world = World(folder, url, provider)
    await world.fill(RECONCILED)
    still, mixed = [], []
    for number in range(runs + 1):
        for drift, rates in ((False, still), (True, mixed)):
            if drift:  # each tenth machine is in another state than at the last look
                state = "paused" if not number % 2 else "running"
                provider.drifted = {f"p{one}": state for one in range(0, RECONCILED, 10)}
            rate = await _rate(world)
            if number:
                rates.append(rate)
    await world.aclose()
    kept = lambda median, _worst, _peer: median > 200  # noqa: E731
    return [
        figure(f"reconciles, all as they were, {kind}", "/s", still, None, "> 200/s", kept),
        figure(f"reconciles, a tenth drifted, {kind}", "/s", mixed, None, "> 200/s", kept),
    ]


async def _rate(world):
    world.clock.shift += 2 * LOOK_EVERY
    start, looked = time.perf_counter(), 0
    while found := await world.reconciler.look_at_due():
        looked += found
    assert looked == RECONCILED, looked
    return looked / (time.perf_counter() - start)


def show(figures: list[Figure]) -> None:
    print(f"{'':62}{'median':>12}{'p99':>12}{'peer':>12}{'ratio':>9}  promised")
    for row in figures:
        peer = f"{row.peer:9.2f} {row.unit}" if row.peer else f"{'-':>12}"
        ratio = f"{row.ratio:8.1f}x" if row.ratio else f"{'-':>9}"
        times = f"{row.ours:9.2f} {row.unit}{row.worst:9.2f} {row.unit}"
        print(f"{row.name:62}{times}{peer}{ratio}  {row.promised}{'' if row.kept else '  MISSED'}")


async def measure(given, database, folder) -> list[Figure]:
    figures = []
    for kind in (SQLITE, POSTGRES):
        figures += await bench_page(kind, database, folder, given.runs)
        figures += await bench_create(kind, database, folder, given.runs)
        figures += await bench_reconcile(kind, database, folder, max(given.runs // 20, 2))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--runs", type=int, default=200, help="counted runs of each (default 200)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rmx-bench-") as name, databases(Path(name)) as database:
        figures = asyncio.run(measure(given, database, Path(name)))
    # With others at work on the computer these figures are theirs too; on stderr, so that JSON stays JSON.
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", file=sys.stderr)
    if given.json:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in figures], indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
