"""MachineUse: what is done with a machine that is there. Whatever needs it running resumes it first, once.

`vm_not_running` from a provider means that nothing was done: somebody paused the machine in between, so it is looked
at again and the call repeated, a few times at most.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from jupyter_rmx.control import failures
from jupyter_rmx.control.commands import ExecFlow
from jupyter_rmx.control.destroy import BusyError
from jupyter_rmx.control.endpoints import EndpointFlow
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.power import PowerFlow
from jupyter_rmx.control.snapshots import SnapshotFlow
from jupyter_rmx.errors import ProviderError, WorkflowError
from jupyter_rmx.models import VM, CommandResult, Endpoint, OperationKind, Snapshot, SSHEndpoint, VMSpec
from jupyter_rmx.providers.base import AttachOptions
from jupyter_rmx.store.machines import MachineRecord

ROUNDS = 10
NOT_RUNNING = "vm_not_running"

_T = TypeVar("_T")


class MachineUse:
    """Pause, resume, exec, endpoints, snapshots, forks."""

    def __init__(self, control: MachineControl) -> None:
        self._control = control
        self._context = control.context
        self._power = PowerFlow(control.context, control.observer)
        self.commands = ExecFlow(control.context)
        self._endpoints = EndpointFlow(control.context, control.leases)
        self._snapshots = SnapshotFlow(control.context)

    # -- running or not -----------------------------------------------------------------------------------------

    async def pause(self, machine: str) -> VM:
        """Freeze it; one that is paused stays so."""
        record = await self._control.known(machine)
        refused = False
        for _ in range(ROUNDS):
            record = await self._control.when_free(record)
            if record.vm.status == "paused":
                return record.vm
            try:
                return (await self._power.pause(record)).vm
            except BusyError:
                record = await self._control.known(record.vm.id)
            except ProviderError as error:
                if refused or error.code != NOT_RUNNING:
                    await self._explain(record, error)
                refused = True
                record = await self._not_running(record, error)
        raise failures.busy(record.vm.name, "changing too often")

    async def resume(self, machine: str) -> VM:
        """Let it go on; one that runs does so."""
        return (await self.running(machine, source="request")).vm

    async def running(self, machine: str, *, source: str) -> MachineRecord:
        """The machine, running: as it is, or resumed by exactly one of those who ask at the same time.

        Limits are checked. WorkflowError `vm_not_found`, `vm_active_limit_exceeded`, `vm_busy`; ProviderError.
        """
        record = await self._control.known(machine)
        refreshed = False
        for _ in range(ROUNDS):
            record = await self._control.when_free(record)
            if record.vm.status == "running":
                return record
            if record.vm.status != "paused":
                raise failures.not_running(record)
            try:
                return await self._power.resume(record, source=source)
            except BusyError:
                record = await self._control.known(record.vm.id)
            except ProviderError as error:
                await self._explain(record, error)
            except WorkflowError as error:
                if refreshed or error.code != "vm_active_limit_exceeded":
                    raise
                refreshed = True
                await self._control.refresh_active()
        raise failures.busy(record.vm.name, "changing too often")

    async def _explain(self, record: MachineRecord, error: ProviderError) -> None:
        """Raise the error; `vm_not_found` instead if the machine turns out to be gone."""
        seen = await self._control.observer.look_or_keep(await self._control.known(record.vm.id))
        if seen.vm.status == "destroyed":
            raise failures.provider_missing(seen) from error
        raise error

    async def _not_running(self, record: MachineRecord, error: ProviderError) -> MachineRecord:
        """The machine as it is, after its provider said that it does not run; the error if it says that it does."""
        seen = await self._control.observer.look_or_keep(await self._control.known(record.vm.id))
        if seen.vm.status == "destroyed":
            raise failures.provider_missing(seen) from error
        if seen.vm.status == "running" and seen.version == record.version:
            raise error  # the provider contradicts itself
        return seen

    async def _use(self, machine: str, source: str, call: Callable[[MachineRecord], Awaitable[_T]]) -> _T:
        record = await self.running(machine, source=source)
        for _ in range(ROUNDS):
            try:
                return await call(record)
            except ProviderError as error:
                if error.code != NOT_RUNNING:
                    await self._explain(record, error)
                await self._not_running(record, error)
                record = await self.running(record.vm.id, source=source)
        raise failures.busy(record.vm.name, "being paused again and again")

    # -- using --------------------------------------------------------------------------------------------------

    async def exec(self, machine: str, command: str, *, timeout_s: float) -> CommandResult:
        """Run one command to its end; a non-zero exit code is a result, not an error."""
        return await self._use(
            machine, "exec", lambda record: self.commands.exec(record, command, timeout_s=timeout_s)
        )

    async def attach_endpoint(self, machine: str, options: AttachOptions) -> Endpoint:
        """How to reach it, fresh."""
        return await self._issue("attach_endpoint", machine, "attach", options)

    async def ssh_endpoint(self, machine: str) -> SSHEndpoint:
        """How to reach it by SSH, with an identity of its own; older ones are ended."""
        record = await self._control.known(machine)
        self._context.gateway(record.vm.provider).need("ssh_endpoint")
        endpoint = await self._issue("ssh_endpoint", machine, "ssh", None)
        assert isinstance(endpoint, SSHEndpoint)
        return endpoint

    async def _issue(
        self, kind: OperationKind, machine: str, source: str, options: AttachOptions | None
    ) -> Endpoint:
        return await self._use(machine, source, lambda record: self._endpoints.issue(kind, record, options))

    # -- copies -------------------------------------------------------------------------------------------------

    async def snapshot(self, machine: str, name: str | None) -> Snapshot:
        """Keep a copy of it, running or paused."""
        record = await self._control.when_free(await self._control.known(machine))
        try:
            return await self._snapshots.snapshot(record, name)
        except ProviderError as error:
            await self._explain(record, error)
            raise

    async def snapshots(self) -> list[Snapshot]:
        """All of the owner, newest first."""
        return await self._snapshots.list()

    async def restore(self, snapshot_id: str, *, name: str | None = None, key: str | None = None) -> VM:
        """A new machine that starts as the snapshot."""
        found = await self._snapshots.find(snapshot_id)
        self._context.gateway(found.provider).need("restore")
        spec = VMSpec(name, found.provider, snapshot=found.id)
        more: dict[str, object] = {"snapshot": found.provider_snapshot_id}
        return await self._control.make("restore", spec, key, more)

    async def fork(self, machine: str, *, name: str | None = None, key: str | None = None) -> VM:
        """A new machine that goes on as a copy of this one; by a snapshot where the provider has no fork."""
        repeated = key is not None and await self._control.has_key(key)
        record = await self._control.known(machine, ended=repeated)
        gateway = self._context.gateway(record.vm.provider)
        native = gateway.has("fork")
        if not native:
            gateway.need("snapshot")
            gateway.need("restore")
        spec = VMSpec(name, record.vm.provider, record.vm.image, source=record.vm.id)
        if repeated:  # nothing is to be started: the copy is there, or being made
            return await self._forked(record, spec, key, native=native)
        return await self._use(
            record.vm.id, "fork", lambda running: self._forked(running, spec, key, native=native)
        )

    async def _forked(self, record: MachineRecord, spec: VMSpec, key: str | None, *, native: bool) -> VM:
        more: dict[str, object] = {
            "source": record.vm.id,
            "source_provider_vm_id": record.vm.provider_vm_id,
            "fork_by_snapshot": not native,
        }
        return await self._control.make("fork", spec, key, more)
