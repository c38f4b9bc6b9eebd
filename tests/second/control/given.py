"""What the tests of the control plane have in common beside `plane.py`: a clock to set, errors by code, half-done work."""

import contextlib
from datetime import datetime, timedelta, timezone

import pytest
from plane import OWNER, Plane

from jupyter_rmx.control.engine import Engine
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import new_id
from jupyter_rmx.store.operations import WorkerRecord

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
FAIL_SAFE_S = 60
SOME_HOST = "elsewhere 1 pid:[1]"


class ManualClock:
    """Both clocks go on only when they are told to; the wall clock can be set, also back."""

    def __init__(self):
        self._now, self._monotonic = NOON, 1000.0

    def now(self):
        return self._now

    def monotonic(self):
        return self._monotonic

    def go_on(self, seconds):
        """Time passes."""
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

    def set_back(self, **ago):
        """Somebody sets the wall clock (negative: ahead); no time passes."""
        self._now -= timedelta(**ago)


def plane_with_clock(folder, clock, **options):
    """A control plane whose provider has the same time."""
    plane = Plane(folder, clock=clock, **options)
    plane.provider._now = clock.now
    return plane


@contextlib.contextmanager
def planes(folder, loop, **fixed):
    """Makes control planes on one folder, and closes them all."""
    made = []

    def make(**options):
        made.append(Plane(folder, **(fixed | options)))
        return made[-1]

    try:
        yield make
    finally:
        for plane in made:
            plane.provider.behave()
            plane.credits.behave()
            loop.run_until_complete(plane.aclose())


async def fails(code, awaitable):
    """The error of that code with which it fails; it says what to do."""
    with pytest.raises(RmxError) as caught:
        await awaitable
    assert caught.value.code == code, repr(caught.value)
    assert caught.value.hint or code == "vm_invalid_provider"  # of the stand-in for the registry
    return caught.value


async def until(true, what=""):
    """Wait until it is true."""
    import asyncio
    import time

    deadline = time.monotonic() + FAIL_SAFE_S
    while not true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


async def settled(plane, rounds=3):
    """As after some rounds of the reconciler, with nothing in its way."""
    plane.provider.behave()
    plane.credits.behave()
    for _ in range(rounds):
        plane.reconciler._last.clear()
        await plane.reconciler.round()
    await plane.reconciler._look_for_orphans()


async def one_row(plane):
    """The only row, history too."""
    (record,) = (await plane.rows()).values()
    return record


async def last_operation(plane, kind):
    """The operation of that kind, over or not."""
    from sqlalchemy import select

    from jupyter_rmx.store.schema import operations

    async with plane.store.read() as tx:
        query = (
            select(operations.c.id).where(operations.c.kind == kind).order_by(operations.c.created_at.desc())
        )
        id_ = (await tx.operations._connection.execute(query)).scalars().first()
        return await tx.operations.get(id_) if id_ else None


async def worker_elsewhere(plane, worker_id=None):
    """A worker on another computer, listed."""
    worker = WorkerRecord(worker_id or new_id("worker"), SOME_HOST, "1-1.00")
    async with plane.store.write() as tx:
        await tx.workers.insert(worker)
    return worker


def dies(plane):
    """The process is gone: what it worked on stays as it is, and its worker does not live."""
    engine: Engine = plane.control.context.engine
    for task in list(engine._tasks.values()):
        task.cancel()


__all__ = ["OWNER", "ManualClock", "Plane", "fails", "one_row", "planes", "settled", "until"]
