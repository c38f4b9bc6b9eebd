"""Orphans: machines at the provider that no row of ours stands for, as its list shows them.

| our row of its key                 | what is done                                                       |
| ---------------------------------- | ------------------------------------------------------------------ |
| none                               | adopted: a row is made, under a free name if its own is taken      |
| ended, nothing under way           | destroyed: it was to be gone, and came up late                     |
| any other, or an operation has it  | left alone: its operation, or the next look, sees to it            |

A machine without a row may also be one of another store of the same person (an office computer, another Jupyter): it is
shown, never ended unasked.
"""

from __future__ import annotations

import logging

from jupyter_rmx.control.context import Context
from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import VM, VMSpec, VMStatus, check_machine_name
from jupyter_rmx.providers.base import ProviderVM
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction

log = logging.getLogger(__name__)
NAME_TRIES = 100


class Orphans:
    """Brings the provider's list and our rows together."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def look(self, provider: str) -> int:
        """Adopt or end what has no row that stands for it; how many. Raises what the provider raises."""
        gateway = self._context.gateway(provider)
        found = [
            machine for machine in await gateway.list_owned(self._context.owner) if machine.status != "gone"
        ]
        # Rows are read after the list: a row that is made in between cannot be missed.
        done = 0
        for machine in found:
            async with self._context.store.read() as tx:
                record = await tx.machines.get(machine.key)
            if record is None:
                done += await self._adopt(provider, machine)
            elif record.vm.status in {"destroyed", "failed"} and record.operation_id is None:
                done += await self._end(provider, record, machine)
        return done

    async def _adopt(self, provider: str, machine: ProviderVM) -> bool:
        gateway = self._context.gateway(provider)
        status = await gateway.status(
            machine.provider_vm_id
        )  # it may have been destroyed since it was listed
        if status == "gone":
            return False
        context = self._context
        async with context.store.write() as tx:
            await tx.lock_owner(context.owner)
            if await tx.machines.get(machine.key) is not None:
                return False
            name = await self._free_name(tx, machine.name)
            vm = self._vm(provider, machine, name, "paused" if status in {"paused", "stopped"} else "running")
            fingerprint = VMSpec(name=name, image=machine.image).fingerprint()
            record = MachineRecord(vm, None, fingerprint, active=vm.status == "running")
            if not await tx.machines.insert(record):
                return False
            context.tell_state(tx, vm)
            context.tell_use(tx, vm, "vm.adopted", {"provider_vm_id": machine.provider_vm_id})
        log.warning(
            "Machine %s was found at %s without a record and is listed as %s.", machine.name, provider, name
        )
        return True

    def _vm(self, provider: str, machine: ProviderVM, name: str, status: VMStatus) -> VM:
        return VM(
            id=machine.key,
            name=name,
            owner=self._context.owner,
            provider=provider,
            status=status,
            created_at=self._context.clock.now(),
            provider_vm_id=machine.provider_vm_id,
            image=machine.image,
            image_version=machine.image_version,
            details=machine.details,
            reason_code="vm_adopted",
            reason="It was found at its provider without a record here.",
        )

    async def _free_name(self, tx: Transaction, name: str) -> str:
        try:
            base = check_machine_name(name)
        except UsageError:
            base = "found"
        free = base
        for number in range(2, NAME_TRIES):
            if await tx.machines.find(self._context.owner, free) is None:
                return free
            free = f"{base[:36].rstrip('-')}-{number}"
        return free

    async def _end(self, provider: str, record: MachineRecord, machine: ProviderVM) -> bool:
        log.warning("Machine %s came up at %s after it was given up; it is ended.", record.vm.name, provider)
        await self._context.gateway(provider).destroy(machine.provider_vm_id)
        async with self._context.store.write() as tx:
            data = {"provider_vm_id": machine.provider_vm_id}
            self._context.tell_use(tx, record.vm, "vm.orphan_destroyed", data)
        return True
