"""`machines/{name}/ports/{port}/ticket`, and the link that a notebook can keep: `rmx/open/{name}/{port}/…`."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.errors import RmxError
from jupyter_rmx.loopback.pages import Answer, error_page
from jupyter_rmx.models import check_port
from jupyter_rmx.server.base import RmxAPIHandler, RmxHandler


class TicketHandler(RmxAPIHandler):
    """`machines/{name}/ports/{port}/ticket`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str, port: str) -> None:
        """Mint a single-use ticket for a port; nothing need listen there yet."""
        body = self.json_object()
        link = await self.rmx.open_port(
            machine,
            check_port(port),
            path=self.text_field(body, "path") or "/",
            origin=self.text_field(body, "origin"),
            open_id=self.text_field(body, "open_id"),
        )
        self.answer_secret(link.to_wire())


class OpenHandler(RmxHandler):
    """`rmx/open/{name}/{port}/{path}`: a link without a secret, behind Jupyter's login; leads to the alias."""

    @web.authenticated
    @authorized
    async def get(self, machine: str, port: str, path: str) -> None:
        """Redirect to the alias with a fresh ticket."""
        target = "/" + path.lstrip("/")
        if self.request.query:
            target += f"?{self.request.query}"
        try:
            link = await self.rmx.open_port(
                machine,
                check_port(port),
                path=target,
                origin=f"{self.request.protocol}://{self.request.host}",
            )
        except RmxError as error:
            self._show(error_page(error.status, error.message, error.hint))
            return
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.redirect(link.open_url, status=302)

    def _show(self, page: Answer) -> None:
        self.set_status(page.status)
        for name, value in page.headers:
            self.set_header(name.decode(), value.decode())
        self.finish(page.body)
