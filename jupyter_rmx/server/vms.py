"""`vms`: create, list, look at, rename, destroy; `vms/restore`, `snapshots`."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.models import VMSpec
from jupyter_rmx.server.requests import VMRequestHandler, bad_field, image, text


class VMsHandler(VMRequestHandler):
    """`vms`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the machines, newest first, page by page."""
        self.refuse_team(self.team())
        cursor = self.get_query_argument("cursor", None)
        page = await self.rmx.page(limit=self.page_limit(), cursor=cursor, workspaces=False)
        self.answer({"vms": [vm.to_wire() for vm in page.machines], "next": page.next})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Create a machine, or answer with the one that this key, or this name and parameters, made."""
        body = self.vm_object()
        wanted = image(body)
        provider = text(body, "provider")
        self.rmx.check_provider(provider)
        team = self.team(body)
        spec = VMSpec(text(body, "name"), provider, wanted)
        key = self.idempotency_key()
        self.rmx.check_wish(spec)
        self.refuse_team(team)
        self.answer((await self.rmx.create(spec, key=key)).to_wire())


class VMHandler(VMRequestHandler):
    """`vms/{id}`; the name does as well."""

    @web.authenticated
    @authorized
    async def get(self, machine: str) -> None:
        """Look at one machine."""
        self.answer((await self.rmx.get_vm(machine)).to_wire())

    @web.authenticated
    @authorized
    async def patch(self, machine: str) -> None:
        """Give it another name."""
        name = text(self.vm_object(), "name")
        if name is None:
            raise bad_field("name", "There is no new name.")
        self.answer((await self.rmx.rename_vm(machine, name)).to_wire())

    @web.authenticated
    @authorized
    async def delete(self, machine: str) -> None:
        """End it and remove everything of it."""
        await self.rmx.destroy(machine)
        self.answer({"ok": True})


class RestoreHandler(VMHandler):
    """`vms/restore`: POST makes a machine; the other methods are those of a machine that has this name."""

    async def prepare(self) -> None:
        """Say which machine is meant."""
        if self.request.method != "POST":
            self.path_args = ["restore"]
        await super().prepare()

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Make a machine that starts as a snapshot."""
        body = self.vm_object()
        snapshot_id = (text(body, "snapshot_id") or "").strip()
        if not snapshot_id:
            raise bad_field("snapshot_id", "There is no snapshot to start from.")
        team = self.team(body)
        name, key = text(body, "name"), self.idempotency_key()
        self.refuse_team(team)
        self.answer((await self.rmx.restore(snapshot_id, name=name, key=key)).to_wire())


class SnapshotsHandler(VMRequestHandler):
    """`snapshots`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List them, newest first."""
        self.answer({"snapshots": [snapshot.to_wire() for snapshot in await self.rmx.snapshots()]})
