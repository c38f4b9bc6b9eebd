"""What all workflows work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jupyter_rmx.clock import Clock
from jupyter_rmx.control.credits import CreditGateway
from jupyter_rmx.control.engine import Engine
from jupyter_rmx.control.gateway import ProviderGateway
from jupyter_rmx.models import VM
from jupyter_rmx.providers.registry import Providers
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Store, Transaction


@dataclass(frozen=True)
class Context:
    """Store, providers, credits, clock and settings of one control plane."""

    store: Store
    providers: Providers
    credits: CreditGateway
    clock: Clock
    settings: Settings
    engine: Engine
    _gateways: dict[str, ProviderGateway] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Whose machines these are."""
        return self.settings.owner

    def gateway(self, provider: str) -> ProviderGateway:
        """The way to a provider; UsageError `vm_invalid_provider` if none of that name is installed."""
        if provider not in self._gateways:
            self._gateways[provider] = ProviderGateway(self.providers.get(provider))
        return self._gateways[provider]

    def tell_state(self, tx: Transaction, vm: VM) -> None:
        """Write that the machine is in a new state."""
        data = {"vm_id": vm.id, "status": vm.status, "reason_code": vm.reason_code, "reason": vm.reason}
        tx.events.add(NewEvent(vm.owner, "machine.state", self.clock.now(), vm.id, vm.name, data))

    def tell_use(
        self,
        tx: Transaction,
        vm: VM,
        type_: str,
        data: Mapping[str, object] | None = None,
        *,
        once: str | None = None,
    ) -> None:
        """Write an audit event (`vm.*`); with `once` (an operation's id) only one of this type."""
        told = {"vm_id": vm.id, "provider": vm.provider, "image": vm.image} | dict(data or {})
        key = f"{once}:{type_}" if once else None
        tx.events.add(NewEvent(vm.owner, type_, self.clock.now(), vm.id, vm.name, told, key))

    async def find(self, machine: str) -> MachineRecord | None:
        """The live machine of that name or id."""
        async with self.store.read() as tx:
            return await tx.machines.find(self.owner, machine)
