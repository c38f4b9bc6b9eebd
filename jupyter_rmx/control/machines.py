"""MachineControl: machines of one owner, from the wish to the end.

Laws
1. A row is written before the provider is asked, and a machine is forgotten only after the provider confirmed its end.
2. The provider is given our VM id as its key, and makes one machine per key.
3. The same key, or the same name with the same parameters, is the same machine. A name with other parameters is
   `vm_name_taken`, a key with other parameters `idempotency_mismatch`; the key is looked at before the limit.
4. A key is set free when its machine has ended or could not be made: the next wish with it makes a new one.
5. What a killed process left half-done is settled by the first one that meets it, or by the reconciler.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from jupyter_rmx.control import failures, wishes
from jupyter_rmx.control.context import Context
from jupyter_rmx.control.create import CreateFlow, KnownError, LimitReachedError
from jupyter_rmx.control.destroy import BusyError, DestroyFlow
from jupyter_rmx.control.leases import Leases
from jupyter_rmx.control.leftovers import Leftovers
from jupyter_rmx.control.observe import Observer
from jupyter_rmx.control.states import SETTLED
from jupyter_rmx.control.steps import Run
from jupyter_rmx.errors import RmxError, StoreError, WorkflowError, from_wire
from jupyter_rmx.models import VM, Operation, OperationKind, VMSpec, new_id
from jupyter_rmx.providers.base import VMProvider
from jupyter_rmx.store.database import DISK_FULL
from jupyter_rmx.store.machines import MachineRecord

log = logging.getLogger(__name__)

ROUNDS = 10
"""How often a wish is tried again when the world changed under it."""
WAIT_S = 60.0
"""How long a call waits for another operation on its machine."""
PAGE_MAX = 1000


class MachineControl:
    """Creates, finds, lists and destroys the machines of `settings.owner`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.leases = Leases(context)
        self.leftovers = Leftovers(context)
        self.observer = Observer(context)
        self._destroy = DestroyFlow(context, self.leases)
        CreateFlow(context)

    @property
    def owner(self) -> str:
        """Whose machines these are."""
        return self.context.owner

    def provider_of(self, vm: VM) -> VMProvider:
        """The provider that made the machine."""
        return self.context.gateway(vm.provider).provider

    # -- making -------------------------------------------------------------------------------------------------

    async def create(self, spec: VMSpec, *, key: str | None = None) -> VM:
        """Make a machine, or return the one that is there (law 3)."""
        return await self.make("create", spec, key, {})

    async def make(self, kind: OperationKind, spec: VMSpec, key: str | None, more: dict[str, object]) -> VM:
        """Create, restore or fork; `more` is what the workflow must know besides."""
        wishes.check_wish(spec, key)
        settings, context = self.context.settings, self.context
        provider = wishes.provider_of(spec, settings)
        context.gateway(provider)
        wishes.check_enabled(provider, settings)
        data = {
            "machine": spec.name,
            "provider": provider,
            "image": wishes.image_of(spec, provider, settings) if kind == "create" else spec.image,
            "key": key,
            "fingerprint": spec.fingerprint(),
            "paid": context.credits.enabled,
        }
        await context.store.hold_reserve()
        refreshed = False
        for _ in range(ROUNDS):
            run = Run(new_id("op"), kind, self.owner, new_id("vm"), data | more)
            try:
                vm: VM = (await context.engine.run(run)).memory["vm"]
                return vm
            except KnownError as known:
                same = await self._known(known.record, spec, by_key=known.by_key)
                if same is not None:
                    return same
            except LimitReachedError:
                if refreshed:
                    raise failures.limit_exceeded(settings.max_active_owner) from None
                refreshed = True
                await self.refresh_active()
        raise failures.busy(spec.name or "", "changing too often", "vm_create_in_progress")

    async def _known(self, record: MachineRecord, spec: VMSpec, *, by_key: bool) -> VM | None:
        """The machine that this wish means; None if it is gone now, so that the wish makes a new one."""
        if record.fingerprint != spec.fingerprint() and record.vm.status != "failed":
            raise failures.mismatch(record.vm.name) if by_key else failures.name_taken(record.vm.name)
        if record.operation_id is not None and record.vm.status in {"creating", "destroying", "failed"}:
            await self._settle(record)
            return None
        record = await self.observer.look_or_keep(record)
        return record.vm if record.vm.status != "destroyed" else None

    async def _settle(self, record: MachineRecord) -> None:
        """What is being done to a machine that a wish met: finished here if its process died; else the wish waits."""
        free = await self.leftovers.settle(record.operation_id)
        again = await self._record(record.vm.id)
        if again is None or again.operation_id != record.operation_id:
            return
        if record.vm.status == "creating":
            raise failures.in_progress(record)
        if record.vm.status == "destroying" and not free:
            raise failures.busy(record.vm.name, "being destroyed", "vm_destroy_in_progress")
        raise failures.cleanup_pending(record)

    async def refresh_active(self) -> None:
        """Look at all machines that are thought to run: some may have ended, and make room."""
        records = [record for record in await self._all() if record.vm.status == "running"]
        await self.observer.look_at_all(records)

    # -- looking ------------------------------------------------------------------------------------------------

    async def _record(self, vm_id: str) -> MachineRecord | None:
        async with self.context.store.read() as tx:
            return await tx.machines.get(vm_id)

    async def has_key(self, key: str) -> bool:
        """True if this key has a machine, or had one that could not be made and is being cleaned up."""
        async with self.context.store.read() as tx:
            return await tx.machines.by_key(self.owner, key) is not None

    async def known(self, machine: str, *, ended: bool = False) -> MachineRecord:
        """The row of that name or id; WorkflowError `vm_not_found` says how it ended, if it did.

        With `ended` the last one that has ended will do.
        """
        async with self.context.store.read() as tx:
            record = await tx.machines.find(self.owner, machine)
            last = None if record is not None else await tx.machines.last_ended(self.owner, machine)
        if record is not None:
            return record
        if last is not None and (ended or last.operation_id is not None):
            return last  # what is left of it may still be being removed
        raise failures.not_found(machine, last)

    async def get(self, machine: str) -> VM:
        """The machine with that name or id, as its provider says it is now."""
        record = await self.known(machine)
        seen = await self.observer.look_or_keep(record)
        if seen.vm.status == "destroyed" and record.vm.status != "destroyed":
            raise failures.not_found(machine, seen)
        return seen.vm

    async def page(self, *, limit: int = PAGE_MAX, after: tuple[datetime, str] | None = None) -> list[VM]:
        """Machines, newest first, and on the first page failed ones of which something may be left.

        Those of a provider whose status costs nothing are shown as they are now, the others as last seen.
        """
        records: Sequence[MachineRecord]
        async with self.context.store.read() as tx:
            records = await tx.machines.page(self.owner, limit=limit, after=after)
            left = [] if after is not None else await tx.machines.unfinished(self.owner)
        seen = await self.observer.look_at_all([record for record in records if self._is_cheap(record)])
        now = {record.vm.id: record.vm for record in seen}
        shown = [now.get(record.vm.id, record.vm) for record in records]
        return [vm for vm in shown if vm.status != "destroyed"] + [record.vm for record in left]

    def _is_cheap(self, record: MachineRecord) -> bool:
        try:
            return self.context.gateway(record.vm.provider).provider.status_is_local
        except RmxError:
            return False

    async def _all(self) -> list[MachineRecord]:
        async with self.context.store.read() as tx:
            return await tx.machines.page(self.owner, limit=100_000)

    # -- ending -------------------------------------------------------------------------------------------------

    async def destroy(self, machine: str) -> VM:
        """End the machine; returns what it was. Whoever asks while it is being ended waits for that end."""
        record = await self.known(machine)
        self.context.gateway(record.vm.provider)
        for _ in range(ROUNDS):
            if record.vm.status == "destroyed" or (
                record.vm.status == "failed" and record.operation_id is None
            ):
                return record.vm  # another request, or the provider, was faster
            if record.operation_id is not None:
                await self._wait_for(record)
            else:
                try:
                    vm: VM = (await self._run_destroy(record)).memory["vm"]
                    return vm
                except BusyError:
                    pass
            again = await self._record(record.vm.id)
            if again is None:
                raise failures.not_found(machine)
            record = again
        raise failures.busy(record.vm.name, "changing too often")

    async def _run_destroy(self, record: MachineRecord) -> Run:
        run = self._destroy.run_for(record)
        try:
            return await self.context.engine.run(run)
        except StoreError as error:
            if error.code != DISK_FULL or record.vm.provider_vm_id is None:
                raise
            # To end the machine is what frees the disk; the row follows it.
            await self.context.gateway(record.vm.provider).destroy(record.vm.provider_vm_id)
            return await self.context.engine.run(self._destroy.run_for(record))

    async def when_free(self, record: MachineRecord) -> MachineRecord:
        """The machine when no operation has it to itself; raises if it has ended, or that takes too long."""
        for _ in range(ROUNDS):
            if record.operation_id is None and record.vm.status in SETTLED:
                return record
            if record.operation_id is not None:
                await self._wait_for(record)
            record = await self.known(record.vm.id)
        raise failures.busy(record.vm.name, _doing(record))

    async def _wait_for(self, record: MachineRecord, *, seconds: float = WAIT_S) -> None:
        """Wait for the operation that has the machine; taken up here if nobody works on it."""
        free = await self.leftovers.settle(record.operation_id)
        again = await self._record(record.vm.id)
        if again is None or again.operation_id != record.operation_id:
            return
        if free:
            raise await self._put_off_error(record)
        if record.vm.status == "creating":
            raise failures.in_progress(record)
        assert record.operation_id is not None
        if not await self.context.engine.wait(record.operation_id, seconds=seconds):
            raise failures.busy(record.vm.name, _doing(record))

    async def _put_off_error(self, record: MachineRecord) -> RmxError:
        """Why an operation that was just tried again could not be ended."""
        operation = await self.operation(record.operation_id or "")
        if operation.error is not None:
            return from_wire(operation.error, int(operation.error.get("status", 502)))
        return failures.cleanup_pending(record)

    async def operation(self, operation_id: str) -> Operation:
        """The operation of that id; WorkflowError `vm_operation_not_found` if there is none, or it was long ago."""
        async with self.context.store.read() as tx:
            record = await tx.operations.get(operation_id)
        if record is None or record.operation.owner != self.owner:
            raise WorkflowError(
                f"There is no operation {operation_id[:60]!r}.",
                hint="Finished ones are kept for a week.",
                code="vm_operation_not_found",
                status=404,
            )
        return record.operation


def _doing(record: MachineRecord) -> str:
    return {"destroying": "being destroyed", "creating": "being created"}.get(
        record.vm.status, "being paused, resumed or changed"
    )
