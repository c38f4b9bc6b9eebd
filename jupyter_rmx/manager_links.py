"""Links: the live transports of machines, and the machines made to run where somebody uses them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.use import MachineUse
from jupyter_rmx.errors import ProviderError, TransportError
from jupyter_rmx.models import VM, Endpoint
from jupyter_rmx.providers.base import AttachOptions
from jupyter_rmx.transports.base import Transport
from jupyter_rmx.transports.pool import TransportPool

Connect = Callable[[Endpoint, str], Awaitable[Transport]]
ROUNDS = 3


class Links:
    """Opens transports, one for each machine."""

    def __init__(
        self, control: MachineControl, use: MachineUse, pool: TransportPool, connect: Connect
    ) -> None:
        self._control = control
        self._use = use
        self._pool = pool
        self._connect = connect

    async def to(self, vm: VM) -> Transport:
        """The transport of a machine that runs; ProviderError `vm_not_running` if it does not. Nothing is resumed."""
        if vm.status != "running":
            raise not_running(vm)

        async def connect() -> Transport:
            gateway = self._control.context.gateway(vm.provider)
            endpoint = await gateway.attach_endpoint(vm.provider_vm_id or "", AttachOptions())
            return await self._connect(endpoint, vm.id)

        return await self._pool.get(vm.id, connect)

    async def reach(self, machine: str, *, source: str) -> tuple[VM, Transport]:
        """The machine, resumed if it is paused or was stopped from outside, and its transport.

        `source` is why, for the record: `exec`, `upload` …
        """
        vm = (await self._use.running(machine, source=source)).vm
        for _ in range(ROUNDS):
            try:
                return vm, await self.to(vm)
            except (ProviderError, TransportError):
                # Perhaps it does not run, and nobody has noticed yet; then its provider says so now.
                if (await self._control.get(vm.id)).status == "running":
                    raise
            vm = (await self._use.running(vm.id, source=source)).vm
        return vm, await self.to(vm)


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
