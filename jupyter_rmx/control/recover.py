"""Finishes or undoes what a killed process left behind (law 1 of `machines.py`).

| row                         | machine at the provider | what is done           |
| --------------------------- | ----------------------- | ---------------------- |
| `creating`, worker dead     | there                   | row becomes `running`  |
| `creating`, worker dead     | not there               | row is removed         |
| `destroying`, worker dead   | any                     | destroyed, row removed |
| none                        | there                   | row is made: adopted   |
"""

from __future__ import annotations

import logging
from datetime import datetime

from jupyter_rmx.control.worker import worker_is_alive
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import VM, VMSpec
from jupyter_rmx.providers.base import ProviderVM, VMProvider
from jupyter_rmx.store.machines import MachineRecord, MachineStore

log = logging.getLogger(__name__)
HALF_DONE = frozenset({"creating", "destroying"})


async def recover(store: MachineStore, provider: VMProvider, owner: str, now: datetime) -> None:
    """Bring rows and machines of one provider back together. A row that cannot be mended is left for the next time."""
    # Machines first: a row that is reserved after this look cannot be taken for a lost one.
    found = {machine.key: machine for machine in await provider.list_owned(owner)}
    rows = {record.vm.id: record for record in await store.list(owner) if record.vm.provider == provider.name}
    for record in rows.values():
        if record.vm.status not in HALF_DONE or worker_is_alive(record.worker):
            continue
        try:
            await _mend(store, provider, record, found.get(record.vm.id))
        except RmxError as error:
            log.warning("Machine %s could not be mended: %s", record.vm.name, error)
    for key, machine in found.items():
        # Asked again: another Jupyter may have destroyed it since we looked.
        if key not in rows and await provider.status(machine.provider_vm_id) != "gone":
            await _adopt(store, provider, machine, now)


async def _mend(
    store: MachineStore, provider: VMProvider, record: MachineRecord, machine: ProviderVM | None
) -> None:
    vm = record.vm
    if vm.status == "creating" and machine is not None and machine.status != "gone":
        await store.save(
            vm.id,
            "running",
            provider_vm_id=machine.provider_vm_id,
            details=machine.details,
            image=machine.image,
        )
        return
    if machine is not None:
        await provider.destroy(machine.provider_vm_id)
    await store.remove(vm.id)


async def settle(store: MachineStore, provider: VMProvider, record: MachineRecord) -> MachineRecord | None:
    """One row on which nobody works, mended if it is half-done; None if it is gone then."""
    if record.vm.status not in HALF_DONE:
        return record
    found = {machine.key: machine for machine in await provider.list_owned(record.vm.owner)}
    await _mend(store, provider, record, found.get(record.vm.id))
    return await store.find(record.vm.owner, record.vm.id)


async def _adopt(store: MachineStore, provider: VMProvider, machine: ProviderVM, now: datetime) -> None:
    vm = VM(
        id=machine.key,
        name=machine.name,
        owner=machine.owner,
        provider=provider.name,
        status="running",
        created_at=now,
        provider_vm_id=machine.provider_vm_id,
        image=machine.image,
        details=machine.details,
    )
    fingerprint = VMSpec(name=machine.name, image=machine.image).fingerprint()
    if await store.reserve(MachineRecord(vm=vm, key=f"adopted-{machine.key}", fingerprint=fingerprint)):
        log.info("Machine %s was found without a record and is listed again.", machine.name)
    else:
        log.warning(
            "Machine %s (%s) runs without a record, and its name is used by another; remove it with the provider's own tools.",
            machine.name,
            machine.provider_vm_id,
        )
