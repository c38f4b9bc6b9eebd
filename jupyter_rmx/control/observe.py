"""Observer: what the provider says of a machine, and the row that follows it (law 3 of `states.py`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from jupyter_rmx.control.context import Context
from jupyter_rmx.control.states import ACTIVE, SEEN, SETTLED, Seen
from jupyter_rmx.errors import RmxError
from jupyter_rmx.providers.base import ProviderStatus
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction

log = logging.getLogger(__name__)
AT_ONCE = 10
"""How many machines are asked about at the same time."""


class Observer:
    """Asks providers how machines are."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def look(self, record: MachineRecord) -> MachineRecord:
        """The record as it is now, written down where it is new. Raises what the provider raises."""
        vm = record.vm
        if vm.status not in SETTLED or record.operation_id is not None or vm.provider_vm_id is None:
            return record
        status = await self._context.gateway(vm.provider).status(vm.provider_vm_id)
        return await self.believe(record, status)

    async def believe(self, record: MachineRecord, status: ProviderStatus) -> MachineRecord:
        """The record after that answer. A row that was changed since it was read stays as it is."""
        seen = SEEN.get((record.vm.status, status))
        if seen is None or (seen.status == record.vm.status and seen.reason_code == record.vm.reason_code):
            return record
        async with self._context.store.write() as tx:
            if not await tx.machines.change(
                record.vm.id,
                values=self._values(seen),
                statuses={record.vm.status},
                operation=None,
                version=record.version,
            ):
                return await tx.machines.get(record.vm.id) or record
            await self._told(tx, record, seen)
            changed = await tx.machines.get(record.vm.id)
        log.info("Machine %s is %s at its provider: now %s", record.vm.name, status, seen.status)
        return changed or record

    def _values(self, seen: Seen) -> dict[str, object]:
        now = self._context.clock.now()
        values: dict[str, object] = {
            "status": seen.status,
            "reason_code": seen.reason_code,
            "reason": seen.reason,
            "active": seen.status in ACTIVE,
            "checked_at": now,
        }
        if seen.status == "destroyed":
            values |= {"idempotency_key": None, "destroyed_at": now}
        return values

    async def _told(self, tx: Transaction, record: MachineRecord, seen: Seen) -> None:
        vm = replace(record.vm, status=seen.status, reason_code=seen.reason_code, reason=seen.reason)
        self._context.tell_state(tx, vm)
        if seen.status == "destroyed":
            self._context.tell_use(tx, vm, "vm.destroyed", {"source": "provider_status"})
            for lease in await tx.leases.of_machine(vm.id):
                if lease.revoked_at is None and not lease.identity:
                    await tx.leases.change(lease.id, {"revoked_at": self._context.clock.now()})

    async def look_or_keep(self, record: MachineRecord) -> MachineRecord:
        """The record as it is now; as last known if its provider does not say."""
        try:
            return await self.look(record)
        except RmxError as error:
            # A provider that is away, or no longer installed, must not hide the machines of the others.
            log.warning("Status of %s is as last known: %s", record.vm.name, error)
            return record

    async def look_at_all(self, records: Sequence[MachineRecord]) -> list[MachineRecord]:
        """All of them, some at a time, in their order."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(record: MachineRecord) -> MachineRecord:
            async with gate:
                return await self.look_or_keep(record)

        return list(await asyncio.gather(*(one(record) for record in records)))
