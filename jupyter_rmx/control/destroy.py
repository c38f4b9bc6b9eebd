"""Destroy: what a user asked to end is ended, however often it takes.

| step             | what is done                                              | after a kill |
| ---------------- | --------------------------------------------------------- | ------------ |
| (begin)          | row `destroying`, nobody else has the machine             |              |
| revoke           | identities are ended; what fails is left to the sweep     | again        |
| provider_destroy | the provider ends it, by its id or ours; gone is success  | again        |
| (finish)         | row `destroyed`; name and key are free                    |              |

A provider that fails does not turn the row back: it stays `destroying`, and is tried again.
"""

from __future__ import annotations

from jupyter_rmx.control.context import Context
from jupyter_rmx.control.leases import Leases
from jupyter_rmx.control.states import sources_of
from jupyter_rmx.control.steps import Run, Step, Workflow
from jupyter_rmx.models import new_id
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction


class BusyError(Exception):
    """Another operation has the machine, or it is not as the caller thought; never leaves `control`."""

    def __init__(self, record: MachineRecord | None) -> None:
        super().__init__(record.vm.id if record else "")
        self.record = record


class DestroyFlow:
    """The workflow that ends a machine."""

    def __init__(self, context: Context, leases: Leases) -> None:
        self._context = context
        self._leases = leases
        revoke = Step("revoke", self._revoke, after_kill="again", skip=_nothing_to_revoke)
        destroy = Step("provider_destroy", self._destroy, after_kill="again")
        context.engine.add(
            Workflow("destroy", (revoke, destroy), begin=self._begin, finish=self._finish, on_error="retry")
        )

    def run_for(self, record: MachineRecord) -> Run:
        """An operation that ends this machine."""
        vm = record.vm
        data = {"machine": vm.name, "provider": vm.provider, "provider_vm_id": vm.provider_vm_id}
        return Run(new_id("op"), "destroy", vm.owner, vm.id, data)

    async def _begin(self, tx: Transaction, run: Run) -> None:
        values = {"status": "destroying", "active": True, "operation_id": run.id}
        if not await tx.machines.change(run.vm_id, values=values, statuses=sources_of("destroying")):
            raise BusyError(await tx.machines.get(run.vm_id))
        record = await tx.machines.get(run.vm_id)
        assert record is not None
        run.data["provider_vm_id"] = record.vm.provider_vm_id
        run.data["identities"] = len(await tx.leases.identities(run.vm_id))
        self._context.tell_state(tx, record.vm)

    async def _revoke(self, run: Run) -> None:
        await self._leases.revoke_all_of(run.vm_id, run.data["provider"], run.data["provider_vm_id"])

    async def _destroy(self, run: Run) -> None:
        gateway = self._context.gateway(run.data["provider"])
        if run.data["provider_vm_id"] is not None:
            await gateway.destroy(run.data["provider_vm_id"])
            return
        for machine in await gateway.list_owned(run.owner):
            if machine.key == run.vm_id:
                await gateway.destroy(machine.provider_vm_id)

    async def _finish(self, tx: Transaction, run: Run) -> None:
        now = self._context.clock.now()
        values = {
            "status": "destroyed",
            "active": False,
            "operation_id": None,
            "idempotency_key": None,
            "destroyed_at": now,
            "reason_code": "vm_destroyed",
            "reason": "It was destroyed as asked.",
        }
        await tx.machines.change(run.vm_id, values=values, statuses={"destroying"}, operation=run.id)
        for lease in await tx.leases.of_machine(run.vm_id):
            if lease.revoked_at is None and not lease.identity:
                await tx.leases.change(lease.id, {"revoked_at": now})
        record = await tx.machines.get(run.vm_id)
        assert record is not None
        run.memory["vm"] = record.vm
        self._context.tell_state(tx, record.vm)
        self._context.tell_use(tx, record.vm, "vm.destroyed", {"source": "request"}, once=run.id)


def _nothing_to_revoke(run: Run) -> bool:
    return not run.data.get("identities")
