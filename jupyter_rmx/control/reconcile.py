"""Reconciler: brings rows and providers together, in the background, for as long as the server lives.

One round: say that this worker lives; take up what dead ones left, and what was put off; look at machines that were not
looked at for a while; look for orphans; end identities that have expired; forget old history. On SQLite one of the
servers of a store does the looking (role `reconciler`); on PostgreSQL all share it, row by row. Operations that were
left are taken up by all: an update that names the former worker lets one win.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.orphans import Orphans
from jupyter_rmx.control.worker import BEAT_S
from jupyter_rmx.errors import RmxError

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=30)
ORPHANS_EVERY_S = 300.0
PRUNE_EVERY_S = 3600.0
BATCH = 200
KEEP_ENDED = timedelta(days=30)
KEEP_OPERATIONS = timedelta(days=7)
KEEP_EVENTS = timedelta(days=7)
ROLE = "reconciler"


class Reconciler:
    """The background work of one control plane."""

    def __init__(self, control: MachineControl) -> None:
        self._control = control
        self._context = control.context
        self._orphans = Orphans(control.context)
        self._last: dict[str, float] = {}

    async def first_round(self) -> None:
        """What must be mended before the first request is answered: what a killed process left behind."""
        await self._guarded(self._beat)
        await self._guarded(self._control.leftovers.take_up_due)
        await self._guarded(self._look_for_orphans)

    async def run(self) -> None:
        """Rounds, for ever."""
        while True:
            await asyncio.sleep(BEAT_S)
            await self.round()

    async def round(self) -> None:
        """One round; what fails in it is logged, and done in a later one."""
        await self._guarded(self._beat)
        await self._guarded(self._control.leftovers.take_up_due)
        if not await self._guarded(self._is_elected):
            return
        await self._guarded(self.look_at_due)
        if self._is_time("orphans", ORPHANS_EVERY_S):
            await self._guarded(self._look_for_orphans)
        await self._guarded(self._control.leases.sweep)
        if self._is_time("prune", PRUNE_EVERY_S):
            await self._guarded(self._prune)

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> bool:
        try:
            return bool(await work())
        except RmxError as error:
            log.warning("Reconciler: %s", error)
        except Exception:  # one fault must not end the background work
            log.exception("Reconciler")
        return False

    def _is_time(self, what: str, every_s: float) -> bool:
        now = self._context.clock.monotonic()
        if what in self._last and now - self._last[what] < every_s:
            return False
        self._last[what] = now
        return True

    async def _beat(self) -> None:
        dead = await self._control.leftovers.dead_workers()
        context = self._context
        async with context.store.write() as tx:
            if not await tx.workers.beat(context.engine.worker.id):
                # The first beat; or others took us for dead (a laptop that slept), and must not do so any more.
                await tx.workers.insert(context.engine.worker)
            left = {record.worker for record in await tx.operations.unfinished(context.owner)}
            await tx.workers.remove(dead - left)
        context.engine.enlisted()

    async def _is_elected(self) -> bool:
        context = self._context
        if context.store.is_shared:
            return True
        dead = await self._control.leftovers.dead_workers()
        async with context.store.write() as tx:
            alive = set(await tx.workers.all()) - dead
            return await tx.workers.take_role(ROLE, context.engine.worker.id, alive)

    async def look_at_due(self) -> int:
        """Look at the machines that were not looked at for `LOOK_EVERY`; how many."""
        context = self._context
        now = context.clock.now()
        async with context.store.write() as tx:
            due = await tx.machines.take_due(
                context.owner, before=now - LOOK_EVERY, now=now, ahead=LOOK_EVERY, limit=BATCH
            )
        await self._control.observer.look_at_all(due)
        return len(due)

    async def _look_for_orphans(self) -> None:
        context = self._context
        async with context.store.read() as tx:
            names = await tx.machines.providers(context.owner)
        for name in sorted(names | {context.settings.default_provider}):
            try:
                await self._orphans.look(name)
            except RmxError as error:
                # One provider that is away (or no longer installed) must not take the others with it.
                log.warning("Provider %s: %s", name, error)

    async def _prune(self) -> None:
        now = self._context.clock.now()
        async with self._context.store.write() as tx:
            await tx.operations.forget_over(now - KEEP_OPERATIONS)
            await tx.events.forget(now - KEEP_EVENTS)
            await tx.leases.forget_over(now - KEEP_ENDED)
            await tx.snapshots.forget_failed(now - KEEP_ENDED)
            await tx.machines.forget_ended(now - KEEP_ENDED)
