"""`healthz`, `providers` and `openapi.json`, and an answer of ours for every other path below the prefix."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx._version import __version__
from jupyter_rmx.server.base import RmxAPIHandler


class HealthHandler(RmxAPIHandler):
    """`healthz`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Say that the service is up, once the store is open."""
        await self.rmx.ready()
        self.answer({"ok": True, "version": __version__})


class ProvidersHandler(RmxAPIHandler):
    """`providers`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Names of the installed providers."""
        self.answer({"providers": [{"name": name} for name in self.rmx.providers()]})


class OpenAPIHandler(RmxAPIHandler):
    """`openapi.json`."""

    def initialize(self, document: dict[str, Any]) -> None:
        """Take the document that `routes.py` made."""
        super().initialize()
        self._document = document

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Describe this interface in OpenAPI 3.1."""
        self.answer(self._document)


class NotFoundHandler(RmxAPIHandler):
    """Everything else below the prefix."""

    async def prepare(self) -> None:
        """Authenticate first: who may not ask learns nothing."""
        await super().prepare()
        raise web.HTTPError(404)
