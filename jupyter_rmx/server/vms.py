"""`vms`: create, list, look at, destroy."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import VMSpec
from jupyter_rmx.server.base import RmxAPIHandler

KEY_HEADERS = ("Idempotency-Key", "X-RMX-Idempotency-Key")


class VMsHandler(RmxAPIHandler):
    """`vms`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the machines, newest first."""
        self.answer({"vms": [vm.to_wire() for vm in await self.rmx.list()]})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Create a machine, or answer with the one that this key, or this name and parameters, made."""
        body = self.json_object()
        spec = VMSpec(
            name=self.text_field(body, "name"),
            provider=self.text_field(body, "provider"),
            image=self.text_field(body, "image"),
        )
        vm = await self.rmx.create(spec, key=self._key())
        self.answer(vm.to_wire())

    def _key(self) -> str:
        for header in KEY_HEADERS:
            key = self.request.headers.get(header, "").strip()
            if key:
                return key
        raise UsageError(
            "The request has no idempotency key.",
            hint=f"Send a header {KEY_HEADERS[0]} with a value of your own, the same one for a repeat.",
            code="usage_no_idempotency_key",
        )


class VMHandler(RmxAPIHandler):
    """`vms/{id}`; the name does as well."""

    @web.authenticated
    @authorized
    async def get(self, machine: str) -> None:
        """Look at one machine."""
        self.answer((await self.rmx.get(machine)).to_wire())

    @web.authenticated
    @authorized
    async def delete(self, machine: str) -> None:
        """End it and remove everything of it."""
        await self.rmx.destroy(machine)
        self.answer({"ok": True})
