"""The machines as the terminals see them (`terminals.hub.Machines`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jupyter_rmx.models import VM, Workspace
from jupyter_rmx.terminals.terminal import Place

if TYPE_CHECKING:
    from jupyter_rmx.manager import MachineManager
    from jupyter_rmx.transports.base import Transport


class TerminalMachines:
    """Asks the manager, which is built when it is first needed."""

    def __init__(self, manager: Callable[[], MachineManager]) -> None:
        self._manager = manager

    async def find(self, machine: str) -> Place:
        """See `terminals.hub.Machines`."""
        found = await self._manager().known(machine)
        return Place(found.id, found.name, found.startup if isinstance(found, Workspace) else None)

    async def connect(self, machine_id: str, *, wake: bool) -> Transport:
        """See `terminals.hub.Machines`."""
        from jupyter_rmx.manager_links import not_running

        manager = self._manager()
        if not wake:
            # A link that breaks because its machine was paused is no wish to let it go on: that may cost money.
            found = await manager.get(machine_id)
            if isinstance(found, VM) and found.status != "running":
                raise not_running(found)
        return await manager.transport(machine_id, source="terminal", asked=wake)
