"""`machines`: VMs and workspaces under one name; `operations` and `leases` of VMs."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.server.requests import VMRequestHandler, bad_field, text


class MachinesHandler(VMRequestHandler):
    """`machines`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the machines, newest first, page by page."""
        page = await self.rmx.page(limit=self.page_limit(), cursor=self.get_query_argument("cursor", None))
        self.answer({"machines": [one.to_wire() for one in page.machines], "next": page.next})


class MachineHandler(VMRequestHandler):
    """`machines/{name}`."""

    @web.authenticated
    @authorized
    async def get(self, machine: str) -> None:
        """Look at one machine."""
        self.answer((await self.rmx.get(machine)).to_wire())

    @web.authenticated
    @authorized
    async def patch(self, machine: str) -> None:
        """Give it another name."""
        name = text(self.vm_object(), "name")
        if name is None:
            raise bad_field("name", "There is no new name.")
        self.answer((await self.rmx.rename(machine, name)).to_wire())


class OperationHandler(VMRequestHandler):
    """`operations/{id}`."""

    @web.authenticated
    @authorized
    async def get(self, operation_id: str) -> None:
        """What is being done to a machine, or was."""
        self.answer((await self.rmx.operation(operation_id)).to_wire())


class RevokeLeasesHandler(VMRequestHandler):
    """`leases/revoke`."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """End all endpoints that were given out; those that could not be ended yet are tried again later."""
        revoked, failures = await self.rmx.revoke_leases()
        self.answer({"ok": True, "revoked": revoked, "cleanup_failures": failures})
