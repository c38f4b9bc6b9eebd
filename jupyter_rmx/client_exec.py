"""A command on a machine, over the service's WebSocket (the messages are in `server/execution.py`).

Nothing is read ahead: where the consumer waits, the socket fills and the machine waits too. For the same reason the
library's own keep-alive is off (it would call a consumer that waits a dead link); a link is asked for a sign of life
only while someone waits for output.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from jupyter_rmx.errors import RmxError, TransportError, from_wire
from jupyter_rmx.models import ExecEvent, ExecSpec, Exit, Output, SignalName

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_S = 30.0
STARTED_S = 120.0
QUIET_S = 10.0
"""Seconds without a frame after which the link is asked for a sign of life."""
PONG_S = 20.0
SIGNAL_ANSWER_S = 3.0
FRAMES_AHEAD = 4
_STREAMS: dict[int, Any] = {1: "stdout", 2: "stderr"}


def link_lost(machine: str) -> TransportError:
    """The error of a command whose link broke: what became of the command is not known."""
    return TransportError(
        f"The connection to Jupyter's server was lost while the command ran on {machine}.",
        hint="It may still be running there; start the server again if it has ended, then look with: %vm ls",
        code="ssh_server_gone",
    )


async def start_exec(
    url: str, headers: dict[str, str], spec: ExecSpec, *, machine: str, tls: ssl.SSLContext | None
) -> RemoteExec:
    """Connect, start the command and wait until it runs.

    Raises what the service says, or TransportError `ssh_server_gone`.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    try:
        socket = await connect(
            url.replace("http", "ws", 1),
            additional_headers=headers,
            ssl=tls,
            proxy=None,
            compression=None,
            max_size=None,
            max_queue=FRAMES_AHEAD,
            open_timeout=OPEN_S,
            ping_interval=None,
            close_timeout=2,
            user_agent_header=None,
        )
    except (OSError, TimeoutError, asyncio.TimeoutError, WebSocketException) as error:
        raise _not_opened(error) from error
    session = RemoteExec(socket, machine)
    try:
        await session.start(spec)
    except BaseException:
        await session.aclose()
        raise
    return session


def server_gone(error: Exception) -> TransportError:
    """The error of a server that cannot be reached."""
    return TransportError(
        "Jupyter's server does not answer.",
        hint="Check that it still runs, then try again.",
        code="ssh_server_gone",
        details={"cause": type(error).__name__},
    )


def refused(envelope: Any, status: int) -> RmxError:
    """The error that an answer with an error status carries."""
    code = envelope.get("error") if isinstance(envelope, dict) else None
    if status in {401, 403} and code in {None, "unauthorized", "forbidden"}:
        return TransportError(
            "Jupyter's server does not take this process's key.",
            hint="Restart the kernel, so that it finds the server that runs now.",
            code="ssh_key_refused",
            status=status,
            retryable=False,
        )
    if isinstance(envelope, dict) and "error" in envelope:
        return from_wire(envelope, status)
    return RmxError(
        f"Jupyter's server gave an answer that is not jupyter_rmx's (status {status}).",
        hint="Check that the server and this process have the same version of jupyter_rmx, and restart both.",
        code="internal_bad_answer",
        status=502,
    )


def _not_opened(error: Exception) -> RmxError:
    from websockets.exceptions import InvalidStatus

    if not isinstance(error, InvalidStatus):
        return server_gone(error)
    try:
        envelope = json.loads(error.response.body or b"")
    except ValueError:
        envelope = None
    return refused(envelope, error.response.status_code)


class RemoteExec:
    """Implements `service.ExecSession`."""

    def __init__(self, socket: ClientConnection, machine: str) -> None:
        self._socket = socket
        self._machine = machine
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._signals = 0
        self._ended = False
        self._last_frame = time.monotonic()
        self._receiving: asyncio.Task[str | bytes] | None = None

    async def start(self, spec: ExecSpec) -> None:
        """Send the command and wait for `started`."""
        await self._send({"type": "start", **spec.to_wire()})
        message = await self._receive(give_up_after=STARTED_S)
        if isinstance(message, bytes):
            raise link_lost(self._machine)
        wire = json.loads(message)
        if wire.get("type") == "error":
            raise from_wire(wire, 500)

    # -- receiving ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[ExecEvent]:
        """The output, then the exit."""
        return self._events()

    async def _events(self) -> AsyncIterator[ExecEvent]:
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                if len(message) > 1 and message[0] in _STREAMS:
                    yield Output(_STREAMS[message[0]], message[1:])
                continue
            end = self._take(json.loads(message))
            if end is not None:
                self._ended = True
                yield end
                return

    def _take(self, wire: dict[str, Any]) -> Exit | None:
        kind = wire.get("type")
        if kind == "error":
            self._ended = True
            raise from_wire(wire, 500)
        if kind == "signalled":
            answer = self._answers.pop(int(wire.get("id") or 0), None)
            if answer is not None and not answer.done():
                answer.set_result(None)
        return Exit(wire.get("code"), wire.get("signal")) if kind == "exit" else None

    async def _receive(self, give_up_after: float | None = None) -> str | bytes:
        """The next message. While nothing comes, the link is tried; TransportError if it is dead."""
        from websockets.exceptions import ConnectionClosed

        begin = time.monotonic()
        try:
            if self._receiving is None:
                self._receiving = asyncio.ensure_future(self._socket.recv())
            while not (await asyncio.wait({self._receiving}, timeout=QUIET_S))[0]:
                late = give_up_after is not None and time.monotonic() - begin > give_up_after
                if late or not await self._answers_ping(self._receiving):
                    raise link_lost(self._machine)
            message = self._receiving.result()
        except ConnectionClosed as error:
            raise link_lost(self._machine) from error
        self._receiving = None
        self._last_frame = time.monotonic()
        return message

    async def _answers_ping(self, receiving: asyncio.Task[str | bytes]) -> bool:
        pong = asyncio.ensure_future(await self._socket.ping())
        done, _ = await asyncio.wait({pong, receiving}, timeout=PONG_S, return_when=asyncio.FIRST_COMPLETED)
        pong.cancel()
        return bool(done)

    # -- sending ------------------------------------------------------------------------------------------------

    async def _send(self, message: dict[str, Any] | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(message if isinstance(message, bytes) else json.dumps(message))
        except ConnectionClosed as error:
            raise link_lost(self._machine) from error

    async def signal(self, name: SignalName) -> None:
        """Signal the remote process group; someone must be reading the output meanwhile.

        Raises TransportError `ssh_no_answer` when neither an answer nor anything else came for 3 s.
        """
        self._signals += 1
        number = self._signals
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        sent = time.monotonic()
        try:
            await asyncio.wait_for(
                self._send({"type": "signal", "name": name, "id": number}), SIGNAL_ANSWER_S
            )
            while not answer.done() and not self._ended:
                quiet = time.monotonic() - max(sent, self._last_frame)
                if quiet >= SIGNAL_ANSWER_S:
                    raise self._no_answer()
                await asyncio.wait({answer}, timeout=min(0.1, SIGNAL_ANSWER_S - quiet))
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise self._no_answer() from error
        finally:
            self._answers.pop(number, None)

    def _no_answer(self) -> TransportError:
        return TransportError(
            f"Machine {self._machine} does not answer: the signal was sent, and nothing came back.",
            hint="The command may still be running there; look with: %vm ls",
            code="ssh_no_answer",
        )

    async def write(self, data: bytes) -> None:
        """Send to the command's standard input, in parts that the service takes."""
        for start in range(0, len(data), 65536):
            await self._send(data[start : start + 65536])

    async def write_eof(self) -> None:
        """Close the command's standard input."""
        await self._send({"type": "eof"})

    async def aclose(self) -> None:
        """Let go; the service hangs up what still runs."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
            self._receiving = None
        await self._socket.close()
