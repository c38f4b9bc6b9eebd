"""Links: the live transports of machines, and the machines made to run where somebody uses them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from jupyter_rmx.control import failures
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.use import MachineUse
from jupyter_rmx.control.workspaces import Workspaces
from jupyter_rmx.errors import ProviderError, TransportError
from jupyter_rmx.models import VM, Endpoint, Machine, SSHTarget, Workspace
from jupyter_rmx.providers.base import AttachOptions
from jupyter_rmx.transports.base import Asker, Transport
from jupyter_rmx.transports.pool import TransportPool

Connect = Callable[[Endpoint, str], Awaitable[Transport]]
ConnectTarget = Callable[[SSHTarget, str, Asker | None], Awaitable[Transport]]
"""Target, transport key, and who answers the server's questions, if anybody."""
ROUNDS = 3
_ATTACH = re.compile(r"%vm attach [^`\s]+")


class Links:
    """Opens transports: one for each VM, and for each way to a host."""

    def __init__(
        self,
        control: MachineControl,
        use: MachineUse,
        workspaces: Workspaces,
        pool: TransportPool,
        connect: Connect,
        connect_target: ConnectTarget,
    ) -> None:
        self._control = control
        self._use = use
        self._workspaces = workspaces
        self._pool = pool
        self._connect = connect
        self._connect_target = connect_target
        self.on_workspace: Callable[[Workspace, str], None] = _nobody
        """Told which workspace a transport key is about to be used for."""

    # -- transports ---------------------------------------------------------------------------------------------

    async def to(self, machine: Machine, *, asked: bool = True) -> Transport:
        """The transport of a machine; ProviderError `vm_not_running` of a VM that does not run. Nothing is resumed.

        `asked` False: no person is behind it, so a connection that is parked stays so.
        """
        if isinstance(machine, Workspace):
            return await self._to_workspace(machine, asked=asked)
        vm = machine
        if vm.status != "running":
            raise not_running(vm)

        async def connect() -> Transport:
            gateway = self._control.context.gateway(vm.provider)
            endpoint = await gateway.attach_endpoint(vm.provider_vm_id or "", AttachOptions())
            return await self._connect(endpoint, vm.id)

        return await self._pool.get(vm.id, connect, asked=asked)

    async def _to_workspace(self, workspace: Workspace, *, asked: bool) -> Transport:
        try:
            return await self.open(workspace, None, asked=asked)
        except TransportError as error:
            if error.code == "ssh_needs_answer":
                error.hint = _ATTACH.sub(f"%vm attach {workspace.name}", error.hint)
            raise

    async def open(self, workspace: Workspace, asker: Asker | None, *, asked: bool = True) -> Transport:
        """The transport of a workspace, which is kept from then on; `asker` answers what its server asks."""
        key = self.key_of(workspace)
        self.on_workspace(workspace, key)

        ours = False

        async def connect() -> Transport:
            nonlocal ours
            ours = True
            return await self._connect_target(workspace.target, key, asker)

        async def again() -> Transport:
            if await self._workspaces.find(workspace.id) is None:  # another Jupyter let it go
                raise failures.not_found(workspace.name)
            return await self._connect_target(workspace.target, key, None)

        try:
            transport = await self._pool.get(key, connect, asked=asked)
        except TransportError as error:
            # The attempt that we joined was somebody's who could not be asked; here is somebody who can.
            if asker is None or ours or error.code != "ssh_needs_answer":
                raise
            transport = await self._pool.get(key, connect, asked=asked)
        self._pool.keep(key, again)
        return transport

    def key_of(self, machine: Machine) -> str:
        """The key of its connection."""
        return self._workspaces.key_of(machine.target) if isinstance(machine, Workspace) else machine.id

    # -- machines -----------------------------------------------------------------------------------------------

    async def find(self, name: str) -> Machine | None:
        """The machine of that name or id, as the rows have it."""
        workspace = await self._workspaces.find(name)
        if workspace is not None:
            return workspace
        record = await self._control.context.find(name)
        return record.vm if record is not None else None

    async def running(self, machine: str, *, source: str) -> Machine:
        """A workspace as it is; a VM running, resumed if it is paused. WorkflowError `vm_not_found`."""
        workspace = await self._workspaces.find(machine)
        if workspace is not None:
            return workspace
        return (await self._use.running(machine, source=source)).vm

    async def reach(self, machine: str, *, source: str, asked: bool = True) -> tuple[Machine, Transport]:
        """The machine, resumed if it is paused or was stopped from outside, and its transport.

        `source` is why, for the record: `exec`, `upload` …; `asked` as in `to`.
        """
        found = await self.running(machine, source=source)
        if isinstance(found, Workspace):
            return found, await self.to(found, asked=asked)
        return await self._reach_vm(found, source)

    async def _reach_vm(self, vm: VM, source: str) -> tuple[VM, Transport]:
        for _ in range(ROUNDS):
            try:
                return vm, await self.to(vm)
            except (ProviderError, TransportError):
                # Perhaps it does not run, and nobody has noticed yet; then its provider says so now.
                if (await self._control.get(vm.id)).status == "running":
                    raise
            vm = (await self._use.running(vm.id, source=source)).vm
        return vm, await self.to(vm)


def _nobody(_workspace: Workspace, _key: str) -> None:
    """Nobody wants to know."""


def not_running(vm: VM) -> ProviderError:
    """What needs a running machine met one that is not."""
    paused = vm.status == "paused"
    return ProviderError(
        f"Machine {vm.name!r} is {vm.status}.{f' {vm.reason}' if vm.reason else ''}",
        hint=f"Let it go on: %vm resume {vm.name}"
        if paused
        else "It must be running for this; %vm ls shows its state.",
        code="vm_not_running",
        status=409,
        retryable=vm.status == "creating",
    )
