"""`machines/{name}/exec`: a command over a WebSocket, streamed both ways.

    client                                      server
    text   {"type": "start", ...ExecSpec}       text   {"type": "started"}
    binary standard input                       binary 1 + stdout, or 2 + stderr
    text   {"type": "eof"}
    text   {"type": "signal", "name", "id"}     text   {"type": "signalled", "id"}
                                                text   {"type": "exit", "code", "signal"}, then close 1000
                                                text   {"type": "error", ...envelope}, then close 1011

A client that goes away hangs up: the command's process group gets SIGHUP.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast, get_args

from jupyter_server.auth.decorator import ws_authenticated
from tornado import websocket

from jupyter_rmx.errors import RmxError, UsageError
from jupyter_rmx.models import ExecSpec, Exit, Output, SignalName, check_timeout
from jupyter_rmx.server.base import error_envelope, json_object
from jupyter_rmx.server.socket import RmxSocket
from jupyter_rmx.service import ExecSession

STREAM_BYTE = {"stdout": b"\x01", "stderr": b"\x02"}
SIGNALS: tuple[str, ...] = get_args(SignalName)


class ExecHandler(RmxSocket):
    """One command per socket."""

    @ws_authenticated
    async def get(self, machine: str) -> None:
        """Authorize, then become a WebSocket."""
        await self.authorize()
        await super().get(machine)

    def open(self, *path: str, **_named: str) -> None:
        """Wait for `start`; `path` is the machine's name."""
        self.set_nodelay(True)  # else small messages wait for the client's delayed acknowledgement, 40 ms
        self._machine = path[0]
        self._session: ExecSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=16)
        self._feeder: asyncio.Task[None] | None = None

    async def on_message(self, message: str | bytes) -> None:
        """Take input at once, and messages in order."""
        try:
            await self._take(message)
        except RmxError as error:
            await self._fail(error)

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await self._input.put(message)
            return
        wire = json_object(message)
        kind = wire.get("type")
        if kind == "start" and self._task is None:
            self._task = asyncio.ensure_future(self._run(_spec(wire)))
        elif kind == "eof":
            await self._input.put(None)
        elif kind == "signal" and self._task is not None:
            await self._signal(wire)
        else:
            raise UsageError(
                "The message is not known here.",
                hint='First send {"type": "start", …}.',
                code="usage_bad_message",
            )

    async def _signal(self, wire: dict[str, Any]) -> None:
        name = wire.get("name")
        if name not in SIGNALS:
            raise UsageError(
                f"{name!r} is no signal.", hint=f"One of {', '.join(SIGNALS)}.", code="usage_bad_signal"
            )
        if self._session is not None:
            await self._session.signal(cast("SignalName", name))
            await self._send({"type": "signalled", "id": wire.get("id")})
            return
        # Nothing runs there yet: the wish to run it is taken back.
        assert self._task is not None
        self._task.cancel()
        await self._send({"type": "signalled", "id": wire.get("id")})
        await self._send({"type": "exit", "code": None, "signal": name})
        self.close(1000)

    async def _run(self, spec: ExecSpec) -> None:
        try:
            session = self._session = await self.rmx.exec(self._machine, spec)
            try:
                await self._send({"type": "started"})
                if spec.stdin_open:
                    self._feeder = asyncio.ensure_future(self._feed(session))
                async for event in session:
                    await self._tell(event)
            finally:
                if self._feeder is not None:
                    self._feeder.cancel()
                await session.aclose()
            self.close(1000)
        except RmxError as error:
            await self._fail(error)
        except websocket.WebSocketClosedError:
            pass  # the client went away; the session is closed by now
        except Exception as error:
            # The last line of defence: told to the client, and to the log.
            self.log.exception("exec on %s failed", self._machine)
            await self._fail(error)

    async def _feed(self, session: ExecSession) -> None:
        try:
            while (data := await self._input.get()) is not None:
                await session.write(data)
            await session.write_eof()
        except RmxError as error:
            # The command closed its input or ended: its exit tells, as in a shell's pipe.
            self.log.debug("input of a command was not taken: %s", error)

    async def _tell(self, event: Output | Exit) -> None:
        if isinstance(event, Exit):
            await self._send({"type": "exit", "code": event.code, "signal": event.signal})
        else:
            self.touch()
            # Waits until the socket took it: a slow reader slows the command, it does not fill our memory.
            await self.write_message(STREAM_BYTE[event.stream] + event.data, binary=True)

    async def _send(self, wire: dict[str, Any]) -> None:
        await self.write_message(json.dumps(wire))

    async def _fail(self, error: BaseException) -> None:
        try:
            await self._send({"type": "error", **error_envelope(error, 500, "")})
        except websocket.WebSocketClosedError:
            return
        self.close(1011)

    def on_close(self) -> None:
        """The client is gone, or all is done: let go of the command."""
        if self._task is not None and not self._task.done():
            self._task.cancel()


def _spec(wire: dict[str, Any]) -> ExecSpec:
    command, env, cwd = wire.get("command"), wire.get("env") or {}, wire.get("cwd")
    is_env = isinstance(env, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in env.items())
    if not isinstance(command, str) or not command.strip() or not is_env or not isinstance(cwd, str | None):
        raise UsageError(
            "There is no command to run.",
            hint="Give `command` as a text, `env` as texts by name, `cwd` as a text.",
            code="usage_bad_command",
        )
    return ExecSpec(
        command=command,
        env=env,
        cwd=cwd,
        stdin_open=bool(wire.get("stdin_open")),
        timeout_s=check_timeout(wire.get("timeout_s")),
    )
