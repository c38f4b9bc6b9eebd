"""`machines`: VMs (and, later, workspaces) under one name."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.server.base import RmxAPIHandler


class MachinesHandler(RmxAPIHandler):
    """`machines`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the machines, newest first."""
        self.answer({"machines": [vm.to_wire() for vm in await self.rmx.list()]})


class MachineHandler(RmxAPIHandler):
    """`machines/{name}`."""

    @web.authenticated
    @authorized
    async def get(self, machine: str) -> None:
        """Look at one machine."""
        self.answer((await self.rmx.get(machine)).to_wire())
