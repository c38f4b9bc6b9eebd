"""Pause and resume, and how a machine that is to be used is made to run.

| workflow | begin                                    | done by the provider | after a kill                        |
| -------- | ---------------------------------------- | -------------------- | ----------------------------------- |
| pause    | nobody else has the machine              | pause                | again: the user wanted it to rest   |
| resume   | nobody else has it; it counts to the limit | resume             | look: it runs, or stays paused      |

A failure leaves the row as the provider says the machine is.
"""

from __future__ import annotations

from jupyter_rmx.control import failures
from jupyter_rmx.control.context import Context
from jupyter_rmx.control.destroy import BusyError
from jupyter_rmx.control.observe import Observer
from jupyter_rmx.control.states import ACTIVE
from jupyter_rmx.control.steps import Run, Step, Workflow
from jupyter_rmx.models import VMStatus, new_id
from jupyter_rmx.providers.base import ProviderStatus
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction

_AS_SEEN: dict[ProviderStatus, VMStatus] = {
    "running": "running",
    "creating": "running",
    "paused": "paused",
    "stopped": "paused",
}


class PowerFlow:
    """The workflows that stop a machine's cost and start it again."""

    def __init__(self, context: Context, observer: Observer) -> None:
        self._context = context
        self._observer = observer
        pause = Step("provider_pause", self._pause, undo=self._see, after_kill="again")
        resume = Step("provider_resume", self._resume, undo=self._see, after_kill="look", found=self._runs)
        context.engine.add(
            Workflow(
                "pause",
                (pause,),
                begin=self._begin_pause,
                finish=self._paused,
                failed=self._as_seen,
            )
        )
        context.engine.add(
            Workflow(
                "resume",
                (resume,),
                begin=self._begin_resume,
                finish=self._resumed,
                failed=self._as_seen,
            )
        )

    async def pause(self, record: MachineRecord) -> MachineRecord:
        """Freeze it; BusyError if it is not running, or another operation has it."""
        self._context.gateway(record.vm.provider).need("pause")
        return self._result(await self._context.engine.run(_run("pause", record, "request")))

    async def resume(self, record: MachineRecord, *, source: str) -> MachineRecord:
        """Let it go on; `source` is why (`request`, `exec`, `attach` …). BusyError as for `pause`."""
        self._context.gateway(record.vm.provider).need("resume")
        return self._result(await self._context.engine.run(_run("resume", record, source)))

    def _result(self, run: Run) -> MachineRecord:
        record: MachineRecord = run.memory["record"]
        return record

    # -- pause --------------------------------------------------------------------------------------------------

    async def _begin_pause(self, tx: Transaction, run: Run) -> None:
        if not await tx.machines.change(run.vm_id, values={"operation_id": run.id}, statuses={"running"}):
            raise BusyError(await tx.machines.get(run.vm_id))

    async def _pause(self, run: Run) -> None:
        await self._context.gateway(run.data["provider"]).pause(run.data["provider_vm_id"])

    async def _paused(self, tx: Transaction, run: Run) -> None:
        await self._end(tx, run, "paused", "vm.paused")

    # -- resume -------------------------------------------------------------------------------------------------

    async def _begin_resume(self, tx: Transaction, run: Run) -> None:
        """It counts to the limit from now on, so that two resumes at once cannot pass it."""
        await tx.lock_owner(run.owner)
        limit = self._context.settings.max_active_owner
        full = await tx.machines.count_active(run.owner) >= limit
        values = {"operation_id": run.id, "active": True}
        if not await tx.machines.change(run.vm_id, values=values, statuses={"paused"}):
            raise BusyError(await tx.machines.get(run.vm_id))
        if full:
            raise failures.limit_exceeded(limit)

    async def _resume(self, run: Run) -> None:
        await self._context.gateway(run.data["provider"]).resume(run.data["provider_vm_id"])

    async def _runs(self, run: Run) -> bool:
        status = await self._context.gateway(run.data["provider"]).status(run.data["provider_vm_id"])
        return status == "running"

    async def _resumed(self, tx: Transaction, run: Run) -> None:
        await self._end(tx, run, "running", "vm.resumed")

    # -- either -------------------------------------------------------------------------------------------------

    async def _end(self, tx: Transaction, run: Run, status: VMStatus, told: str) -> None:
        values = {
            "status": status,
            "active": status in ACTIVE,
            "operation_id": None,
            "reason_code": None,
            "reason": None,
            "checked_at": self._context.clock.now(),
        }
        await tx.machines.change(run.vm_id, values=values, operation=run.id)
        record = await tx.machines.get(run.vm_id)
        assert record is not None
        run.memory["record"] = record
        self._context.tell_state(tx, record.vm)
        self._context.tell_use(tx, record.vm, told, {"source": run.data["source"]}, once=run.id)

    async def _see(self, run: Run) -> None:
        """Ask how the machine is after a failure; if nobody says, the operation is put off until somebody does."""
        gateway = self._context.gateway(run.data["provider"])
        run.memory["seen"] = await gateway.status(run.data["provider_vm_id"])

    async def _as_seen(self, tx: Transaction, run: Run) -> None:
        """The row as the machine is; one that is gone is left to `Observer`, which says so."""
        before = await tx.machines.get(run.vm_id)
        if before is None or before.operation_id != run.id:
            return
        status = _AS_SEEN.get(run.memory["seen"], before.vm.status)
        values = {"status": status, "active": status in ACTIVE, "operation_id": None}
        await tx.machines.change(run.vm_id, values=values, operation=run.id)
        after = await tx.machines.get(run.vm_id)
        if after is not None and after.vm.status != before.vm.status:
            self._context.tell_state(tx, after.vm)


def _run(kind: str, record: MachineRecord, source: str) -> Run:
    vm = record.vm
    data = {
        "machine": vm.name,
        "provider": vm.provider,
        "provider_vm_id": vm.provider_vm_id,
        "source": source,
    }
    return Run(new_id("op"), kind, vm.owner, vm.id, data)  # type: ignore[arg-type]  # one of two kinds
