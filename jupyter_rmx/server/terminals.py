"""A machine's terminals, as JupyterLab's own terminal manager and terminal tab ask for them.

`machines/{name}/api/terminals[/{n}]` is Jupyter's REST interface of terminals. `machines/{name}/terminals/websocket/{n}`
speaks terminado's messages, JSON lists in text frames:

    client                                          server
    ["stdin", text]                                 ["setup", {}], once
    ["set_size", rows, cols, height, width]         ["stdout", text]
                                                    ["disconnect", 1] when the shell has ended, then close 1000

A viewer that is too slow is closed with 1013, and all with 1012 when Jupyter stops: JupyterLab then connects again, and
is shown anew what it missed.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timezone
from typing import Any

from jupyter_server.auth.decorator import authorized, ws_authenticated
from tornado import web, websocket

from jupyter_rmx.errors import UsageError
from jupyter_rmx.server.base import RmxAPIHandler, RmxHandler, json_value
from jupyter_rmx.server.socket import RmxSocket
from jupyter_rmx.terminals.hub import Terminals
from jupyter_rmx.terminals.notices import line
from jupyter_rmx.terminals.terminal import RemoteTerminal

AUTH_RESOURCE = "terminals"
"""As Jupyter's own terminals: who may not have these may not have ours."""
SIZE_MAX = 4096
_CLOSE = {"ended": 1000, "slow": 1013, "closed": 1012}
_TOO_SLOW = line("This view fell behind and is shown anew.")


class _Terminals(RmxHandler):
    auth_resource = AUTH_RESOURCE

    @property
    def terminals(self) -> Terminals:
        """The terminals of this server."""
        terminals: Terminals = self.settings["rmx_terminals"]
        return terminals


class TerminalsHandler(_Terminals, RmxAPIHandler):
    """`machines/{name}/api/terminals`."""

    @web.authenticated
    @authorized
    async def get(self, machine: str) -> None:
        """List the terminals of a machine."""
        self.answer([_model(terminal) for terminal in await self.terminals.list(machine)])

    @web.authenticated
    @authorized
    async def post(self, machine: str) -> None:
        """Open a terminal, or answer with the one of that name."""
        body = self.json_object()
        self.answer(_model(await self.terminals.open(machine, self.text_field(body, "name"))))


class TerminalHandler(_Terminals, RmxAPIHandler):
    """`machines/{name}/api/terminals/{n}`."""

    @web.authenticated
    @authorized
    async def get(self, machine: str, name: str) -> None:
        """One terminal."""
        self.answer(_model(await self.terminals.get(machine, name)))

    @web.authenticated
    @authorized
    async def delete(self, machine: str, name: str) -> None:
        """Hang up a terminal."""
        await self.terminals.close(machine, name)
        self.set_status(204)
        self.finish()


class TerminalSocket(_Terminals, RmxSocket):
    """`machines/{name}/terminals/websocket/{n}`: one viewer."""

    @ws_authenticated
    async def get(self, machine: str, name: str) -> None:
        """Authorize, find the terminal, then become a WebSocket."""
        await self.authorize()
        self._terminal = await self.terminals.get(machine, name)
        await super().get(machine, name)

    def open(self, *path: str, **named: str) -> None:
        """Show what it has shown lately, and all that comes."""
        super().open(*path, **named)  # pings, so that a viewer that is gone is noticed
        self.set_nodelay(True)  # else an echo may wait for the viewer's delayed acknowledgement, 40 ms
        self._view = self._terminal.attach()
        self._showing = asyncio.ensure_future(self._show())

    async def _show(self) -> None:
        try:
            await self._send("setup", {})
            while (text := await self._view.take()) is not None:
                self.touch()
                # Waits until the socket took it, so that what a slow viewer has not seen waits in its view.
                await self._send("stdout", text)
            if self._view.ending == "slow":
                await self._send("stdout", _TOO_SLOW)
            elif self._view.ending == "ended":
                await self._send("disconnect", 1)
            self.close(_CLOSE[self._view.ending or "ended"])
        except (websocket.WebSocketClosedError, asyncio.CancelledError):
            pass  # the viewer went away; the terminal goes on

    async def _send(self, kind: str, value: Any) -> None:
        await self.write_message(json.dumps([kind, value]))

    async def on_message(self, message: str | bytes) -> None:
        """Keys in their order, and sizes; what is neither ends the socket with 1007."""
        try:
            kind, values = _read(message)
        except UsageError as error:
            self.close(1007, error.message)
            return
        if kind == "stdin":
            self.touch()
            await self._terminal.type(self._view, values[0])
        elif kind == "set_size":
            rows, cols = values[:2]
            self._view.resize(cols, rows)

    def on_close(self) -> None:
        """The viewer is gone."""
        super().on_close()
        if hasattr(self, "_view"):
            self._terminal.detach(self._view)
            self._showing.cancel()


def _model(terminal: RemoteTerminal) -> dict[str, str]:
    at = terminal.last_activity.astimezone(timezone.utc)
    return {"name": terminal.name, "last_activity": at.isoformat().replace("+00:00", "Z")}


def _read(message: str | bytes) -> tuple[str, list[Any]]:
    """A message's kind and values; kinds that are not known, and sizes that are none, are ("", [])."""
    wire = json_value(message, code="usage_bad_message")
    if not isinstance(wire, list) or not wire:
        raise UsageError("This is no message of a terminal.", hint="Send a list.", code="usage_bad_message")
    kind, values = wire[0], wire[1:]
    if kind == "stdin" and values and isinstance(values[0], str):
        return kind, values
    if kind == "set_size" and len(values) > 1 and all(_is_size(value) for value in values[:2]):
        return kind, values
    return "", []


def _is_size(value: Any) -> bool:
    # A tab that is not shown says 0.
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= SIZE_MAX
