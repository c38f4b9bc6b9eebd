"""Snapshot: a copy of a machine, kept by its provider and listed here.

The provider is given our snapshot's id as key, so a process killed in the middle is followed by one that asks again and
gets the same snapshot.
"""

from __future__ import annotations

from jupyter_rmx.control.context import Context
from jupyter_rmx.control.steps import Run, Step, Workflow
from jupyter_rmx.errors import UsageError, WorkflowError
from jupyter_rmx.models import Snapshot, new_id
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction

NAME_MAX = 200


class SnapshotFlow:
    """The workflow that keeps a copy."""

    def __init__(self, context: Context) -> None:
        self._context = context
        step = Step("provider_snapshot", self._snapshot, after_kill="again")
        context.engine.add(
            Workflow("snapshot", (step,), begin=self._begin, finish=self._finish, failed=self._failed)
        )

    async def snapshot(self, record: MachineRecord, name: str | None) -> Snapshot:
        """Keep a copy of the machine."""
        self._context.gateway(record.vm.provider).need("snapshot")
        vm = record.vm
        data = {
            "machine": vm.name,
            "provider": vm.provider,
            "provider_vm_id": vm.provider_vm_id,
            "snapshot": new_id("snap"),
            "name": _checked(name),
        }
        run = await self._context.engine.run(Run(new_id("op"), "snapshot", vm.owner, vm.id, data))
        made: Snapshot = run.memory["snapshot"]
        return made

    async def find(self, snapshot_id: str) -> Snapshot:
        """A snapshot of the owner that is ready; WorkflowError `vm_snapshot_not_found` otherwise."""
        async with self._context.store.read() as tx:
            found = await tx.snapshots.get(snapshot_id)
        if found is None or found.owner != self._context.owner or found.status != "ready":
            raise WorkflowError(
                f"There is no snapshot {snapshot_id[:60]!r}.",
                hint="Take one with: %vm snapshot NAME",
                code="vm_snapshot_not_found",
                status=404,
                details={"snapshot_id": snapshot_id[:128]},
            )
        return found

    async def list(self) -> list[Snapshot]:
        """All of the owner, newest first."""
        async with self._context.store.read() as tx:
            return await tx.snapshots.list(self._context.owner)

    async def _begin(self, tx: Transaction, run: Run) -> None:
        data, now = run.data, self._context.clock.now()
        await tx.snapshots.insert(
            Snapshot(
                data["snapshot"], run.owner, data["provider"], run.vm_id, "creating", now, name=data["name"]
            )
        )

    async def _snapshot(self, run: Run) -> None:
        data = run.data
        data["made"] = await self._context.gateway(data["provider"]).snapshot(
            data["provider_vm_id"] or "", key=data["snapshot"], name=data["name"]
        )

    async def _finish(self, tx: Transaction, run: Run) -> None:
        data = run.data
        values = {"status": "ready", "provider_snapshot_id": data["made"]}
        await tx.snapshots.change(data["snapshot"], values)
        run.memory["snapshot"] = await tx.snapshots.get(data["snapshot"])
        record = await tx.machines.get(run.vm_id)
        if record is not None:
            told = {"snapshot_id": data["snapshot"], "named": data["name"] is not None, "name": data["name"]}
            self._context.tell_use(tx, record.vm, "vm.snapshot.created", told, once=run.id)

    async def _failed(self, tx: Transaction, run: Run) -> None:
        await tx.snapshots.change(run.data["snapshot"], {"status": "failed"})


def _checked(name: str | None) -> str | None:
    name = (name or "").strip() or None
    if name is not None and (len(name) > NAME_MAX or not name.isprintable()):
        raise UsageError(
            "This is no name for a snapshot.",
            hint=f"A name is up to {NAME_MAX} printable characters.",
            code="vm_invalid_request",
            details={"field": "name"},
        )
    return name
