"""Create, restore and fork: a row, credit, a machine, in this order.

| step            | before it                        | what is done                       | undone by                  |
| --------------- | -------------------------------- | ---------------------------------- | -------------------------- |
| (begin)         | row `creating`, key, name, limit |                                    | row `failed`, key set free |
| credit          |                                  | credit is taken under our VM id    | given back                 |
| snapshot        | (fork without the provider's)    | copy of the source                 | (kept: it is listed)       |
| provider_create |                                  | the provider makes one per VM id   | destroyed by id or VM id   |
| (finish)        | row `running`                    |                                    |                            |

A process killed while the provider was asked is followed by one that looks: the machine is there, so the row becomes
`running`; it is not, so all is taken back. Nothing that costs money is begun by a recovery.
"""

from __future__ import annotations

import secrets
from typing import Any

from jupyter_rmx.control import failures
from jupyter_rmx.control.context import Context
from jupyter_rmx.control.gateway import details_of
from jupyter_rmx.control.steps import Run, Step, Workflow
from jupyter_rmx.errors import RmxError, UsageError
from jupyter_rmx.models import VM, OperationKind, Snapshot, new_id
from jupyter_rmx.providers.base import ProviderSpec, ProviderVM
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction

FREE_NAME_TRIES = 20
CREDIT_AMOUNT = 1
REASON_LENGTH = 1000


class KnownError(Exception):
    """The wish met a row that is there; never leaves `control`."""

    def __init__(self, record: MachineRecord, *, by_key: bool) -> None:
        super().__init__(record.vm.id)
        self.record = record
        self.by_key = by_key


class LimitReachedError(Exception):
    """The limit is reached, as far as the rows know; never leaves `control`."""


class CreateFlow:
    """The workflows that make a machine."""

    def __init__(self, context: Context) -> None:
        self._context = context
        kinds: tuple[OperationKind, ...] = ("create", "restore", "fork")
        for kind in kinds:
            context.engine.add(self._workflow(kind))

    def _workflow(self, kind: OperationKind) -> Workflow:
        credit = Step("credit", self._reserve_credit, undo=self._refund, after=self._credit_told, skip=_free)
        snapshot = Step(
            "snapshot",
            self._snapshot,
            before=self._snapshot_begun,
            after=self._snapshot_done,
            after_kill="keep",
            skip=lambda run: not run.data.get("fork_by_snapshot"),
        )
        create = Step(
            "provider_create",
            self._create,
            undo=self._destroy,
            after_kill="look",
            found=self._is_there,
        )
        steps = (credit, snapshot, create) if kind == "fork" else (credit, create)
        return Workflow(
            kind,
            steps,
            begin=self._reserve,
            finish=self._finish,
            failing=self._failing,
            failed=self._failed,
        )

    # -- the row ------------------------------------------------------------------------------------------------

    async def _reserve(self, tx: Transaction, run: Run) -> None:
        """The row, if nothing is in its way: the key is looked at before the name, the name before the limit."""
        data, context = run.data, self._context
        await tx.lock_owner(run.owner)
        if data["key"] is not None:
            known = await tx.machines.by_key(run.owner, data["key"])
            if known is not None:
                raise KnownError(known, by_key=True)
        if data["machine"] is not None:
            known = await tx.machines.find(run.owner, data["machine"])
            if known is not None:
                raise KnownError(known, by_key=False)
            workspace = await tx.workspaces.find(run.owner, data["machine"])
            if workspace is not None:
                raise failures.name_in_use(workspace)
        else:
            data["machine"] = await _free_name(tx, run.owner)
        if await tx.machines.count_active(run.owner) >= context.settings.max_active_owner:
            raise LimitReachedError
        record = MachineRecord(self._new_vm(run), data["key"], data["fingerprint"], run.id)
        if not await tx.machines.insert(record):
            raise failures.busy(data["machine"], "being created by another Jupyter", "vm_create_in_progress")
        context.tell_state(tx, record.vm)
        context.tell_use(tx, record.vm, "vm.create.requested", once=run.id)

    def _new_vm(self, run: Run) -> VM:
        return VM(
            id=run.vm_id,
            name=run.data["machine"],
            owner=run.owner,
            provider=run.data["provider"],
            status="creating",
            created_at=self._context.clock.now(),
            image=run.data["image"],
        )

    async def _finish(self, tx: Transaction, run: Run) -> None:
        values = {"status": "running", "operation_id": None, "checked_at": self._context.clock.now()}
        made = dict(run.data["made"])
        made["image"] = made["image"] or run.data["image"]
        await tx.machines.change(run.vm_id, values=values | made, statuses={"creating"}, operation=run.id)
        record = await tx.machines.get(run.vm_id)
        assert record is not None
        run.memory["vm"] = record.vm
        self._context.tell_state(tx, record.vm)
        self._context.tell_use(tx, record.vm, "vm.created", once=run.id)
        if run.kind == "fork":
            data = {"source": run.data["source"], "native": not run.data.get("fork_by_snapshot")}
            self._context.tell_use(tx, record.vm, "vm.forked", data, once=run.id)

    async def _failing(self, tx: Transaction, run: Run, error: RmxError) -> None:
        """The row says so at once; its name is free, its key and its slot when all is taken back."""
        values = {
            "status": "failed",
            "reason_code": error.code[:64],
            "reason": str(error.message)[:REASON_LENGTH],
        }
        if not await tx.machines.change(run.vm_id, values=values, statuses={"creating"}, operation=run.id):
            return
        record = await tx.machines.get(run.vm_id)
        assert record is not None
        self._context.tell_state(tx, record.vm)
        type_ = "vm.create.billing_failed" if error.code in _BILLING else "vm.create.failed"
        self._context.tell_use(tx, record.vm, type_, {"code": error.code}, once=run.id)

    async def _failed(self, tx: Transaction, run: Run) -> None:
        values = {
            "operation_id": None,
            "active": False,
            "idempotency_key": None,
            "destroyed_at": self._context.clock.now(),
        }
        await tx.machines.change(run.vm_id, values=values, statuses={"failed"}, operation=run.id)
        if run.data.get("snapshot_id") and not run.data.get("snapshot"):
            await tx.snapshots.change(run.data["snapshot_id"], {"status": "failed"})
        record = await tx.machines.get(run.vm_id)
        if record is not None and run.data.get("credit"):
            data = {"amount": CREDIT_AMOUNT}
            self._context.tell_use(tx, record.vm, "vm.create.credit.refunded", data, once=run.id)

    # -- credit -------------------------------------------------------------------------------------------------

    async def _reserve_credit(self, run: Run) -> None:
        await self._context.credits.reserve(run.owner, CREDIT_AMOUNT, key=run.vm_id)
        run.data["credit"] = True

    async def _credit_told(self, tx: Transaction, run: Run) -> None:
        record = await tx.machines.get(run.vm_id)
        assert record is not None
        data = {"amount": CREDIT_AMOUNT}
        self._context.tell_use(tx, record.vm, "vm.create.credit.reserved", data, once=run.id)

    async def _refund(self, run: Run) -> None:
        await self._context.credits.refund(run.owner, key=run.vm_id)

    # -- the copy a fork starts from, where the provider has no fork of its own ----------------------------------

    async def _snapshot_begun(self, tx: Transaction, run: Run) -> None:
        run.data["snapshot_id"] = new_id("snap")
        source = run.data["source"]
        now = self._context.clock.now()
        await tx.snapshots.insert(
            Snapshot(run.data["snapshot_id"], run.owner, run.data["provider"], source, "creating", now)
        )

    async def _snapshot(self, run: Run) -> None:
        gateway = self._context.gateway(run.data["provider"])
        run.data["snapshot"] = await gateway.snapshot(
            run.data["source_provider_vm_id"], key=run.data["snapshot_id"], name=None
        )

    async def _snapshot_done(self, tx: Transaction, run: Run) -> None:
        values = {"status": "ready", "provider_snapshot_id": run.data["snapshot"]}
        await tx.snapshots.change(run.data["snapshot_id"], values)

    # -- the machine --------------------------------------------------------------------------------------------

    async def _create(self, run: Run) -> None:
        data = run.data
        gateway = self._context.gateway(data["provider"])
        spec = ProviderSpec(data["machine"], run.owner, data["image"], data.get("snapshot"))
        if run.kind == "fork" and not data.get("fork_by_snapshot"):
            made = await gateway.fork(data["source_provider_vm_id"], spec, key=run.vm_id)
        else:
            made = await gateway.create(spec, key=run.vm_id)
        data["made"] = details_of(made)

    async def _is_there(self, run: Run) -> bool:
        found = await self._find(run)
        if found is None or found.status == "gone":
            return False
        run.data["made"] = details_of(found)
        return True

    async def _find(self, run: Run) -> ProviderVM | None:
        gateway = self._context.gateway(run.data["provider"])
        for machine in await gateway.list_owned(run.owner):
            if machine.key == run.vm_id:
                return machine
        return None

    async def _destroy(self, run: Run) -> None:
        """What the provider made, or may have made although its answer was lost.

        One that it does not list yet is found later by the reconciler: its row says `failed`.
        """
        made: dict[str, Any] | None = run.data.get("made")
        found = None if made else await self._find(run)
        id_ = made["provider_vm_id"] if made else found.provider_vm_id if found else None
        if id_ is not None:
            await self._context.gateway(run.data["provider"]).destroy(id_)


_BILLING = frozenset({"vm_create_credits_insufficient", "vm_billing_unavailable"})


def _free(run: Run) -> bool:
    return not run.data.get("paid")


async def _free_name(tx: Transaction, owner: str) -> str:
    for _ in range(FREE_NAME_TRIES):
        name = f"vm-{secrets.token_hex(2)}"
        taken = await tx.machines.find(owner, name) or await tx.workspaces.find(owner, name)
        if taken is None:
            return name
    raise UsageError("No free name was found.", hint="Give one: %vm create NAME", code="usage_bad_name")
