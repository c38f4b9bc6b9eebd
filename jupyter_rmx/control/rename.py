"""Another name for a machine; its id stays, and so does its host name at the provider."""

from __future__ import annotations

from dataclasses import replace

from jupyter_rmx.control import failures
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.states import SETTLED
from jupyter_rmx.models import VM, check_machine_name

ROUNDS = 10


async def rename(control: MachineControl, machine: str, name: str) -> VM:
    """Give the machine that name, and return it; one that has it already stays as it is.

    UsageError `usage_bad_name`; WorkflowError `vm_not_found`, `vm_name_taken`, `vm_busy`.
    """
    check_machine_name(name)
    record = await control.known(machine)
    context = control.context
    for _ in range(ROUNDS):
        record = await control.when_free(record)
        if record.vm.name == name:
            return record.vm
        async with context.store.write() as tx:
            await tx.lock_owner(
                context.owner
            )  # so that nobody takes the name between the look and the change
            other = await tx.machines.find(context.owner, name)
            if other is not None:
                raise failures.name_taken(name)
            workspace = await tx.workspaces.find(context.owner, name)
            if workspace is not None:
                raise failures.name_in_use(workspace)
            if await tx.machines.change(record.vm.id, values={"name": name}, statuses=SETTLED):
                vm = replace(record.vm, name=name)
                context.tell_state(tx, vm)
                context.tell_use(tx, vm, "vm.renamed", {"was": record.vm.name})
                return vm
        record = await control.known(record.vm.id)
    raise failures.busy(record.vm.name, "changing too often")
