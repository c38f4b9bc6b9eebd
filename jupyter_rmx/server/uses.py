"""`vms/{id}/…`: what is done with a machine that is there."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.errors import UsageError
from jupyter_rmx.server.requests import (
    VMRequestHandler,
    command,
    port,
    session_name,
    snapshot_name,
    text,
    timeout_s,
)


class BufferedExecHandler(VMRequestHandler):
    """`vms/{id}/exec`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """Run a command to its end; a non-zero exit code is an answer like any other."""
        body = self.vm_object_of_use()
        result = await self.rmx.exec_buffered(machine, command(body), timeout_s=timeout_s(body))
        self.answer(result.to_wire())


class AttachEndpointHandler(VMRequestHandler):
    """`vms/{id}/attach-endpoint`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """How to reach it, fresh. A body that is no object counts as none."""
        try:
            body = self.vm_object()
        except UsageError:
            body = {}
        endpoint = await self.rmx.attach_endpoint(
            machine,
            require_daemon=body.get("require_daemon") is True,
            session_id=session_name(body, "session_id"),
            attachment_id=session_name(body, "attachment_id"),
        )
        self.answer_secret(endpoint.to_wire())


class SSHEndpointHandler(VMRequestHandler):
    """`vms/{id}/ssh-endpoint`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """How to reach it by SSH; a body is not looked at."""
        self.answer_secret((await self.rmx.ssh_endpoint(machine)).to_wire())


class PauseHandler(VMRequestHandler):
    """`vms/{id}/pause`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """Freeze it; a body is not looked at."""
        self.answer((await self.rmx.pause(machine)).to_wire())


class ResumeHandler(VMRequestHandler):
    """`vms/{id}/resume`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """Let it go on; a body is not looked at."""
        self.answer((await self.rmx.resume(machine)).to_wire())


class SnapshotHandler(VMRequestHandler):
    """`vms/{id}/snapshot`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """Keep a copy of it."""
        try:
            body = self.vm_object()
        except UsageError as error:
            if error.code == "vm_expected_object":
                error.code = "vm_invalid_request"  # as the reference has it for this route
            raise
        self.answer((await self.rmx.snapshot(machine, snapshot_name(body))).to_wire())


class ForkHandler(VMRequestHandler):
    """`vms/{id}/fork`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """Make a machine that goes on as a copy of this one."""
        body = self.vm_object()
        team = self.team(body)
        name, key = text(body, "name"), self.idempotency_key()
        self.refuse_team(team)
        self.answer((await self.rmx.fork(machine, name=name, key=key)).to_wire())


class OpenPortHandler(VMRequestHandler):
    """`vms/{id}/open-port`."""

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """Mint a single-use ticket, as `machines/{name}/ports/{port}/ticket` does."""
        body = self.vm_object_of_use()
        link = await self.rmx.open_port(
            machine,
            port(body),
            path=text(body, "path") or "/",
            origin=text(body, "origin"),
            open_id=text(body, "open_id"),
        )
        self.answer_secret(link.to_wire())
