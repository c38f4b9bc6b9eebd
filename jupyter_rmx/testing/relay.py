"""A TCP relay that breaks what it carries, on order and at exact byte counts: for tests of what a bad network does.

    relay = await FaultRelay("127.0.0.1", 22).start()
    relay.plan(Fault("reset", after_bytes=5000))      # for the next connection; without a plan it is carried whole
    ... connect to relay.host, relay.port ...
    relay.cut()                                       # or at once, for all connections that are open
    await relay.aclose()

It runs as tasks of the event loop that starts it, and nothing of it is left after `aclose`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["cut", "reset", "stall", "half_close", "delay", "limit", "refuse", "mute"]
Direction = Literal["up", "down"]
READ_SIZE = 65536


@dataclass(frozen=True)
class Fault:
    """What happens to one connection, once `after_bytes` bytes have gone `direction` (down: from server to client).

    cut         both sides are closed, after what was sent before
    reset       both sides are reset (RST): what is on its way may be lost
    stall       nothing is carried any more, either way, and nothing is closed, until `resume`
    half_close  this direction ends as if its sender had finished; the other goes on
    delay       from then on each piece waits `seconds`
    limit       from then on at most `bytes_per_s`
    refuse      the connection is closed when it is made; the server never sees it
    mute        the connection is accepted and read, the server never sees it, and nothing is ever said
    """

    kind: FaultKind
    after_bytes: int = 0
    direction: Direction = "down"
    seconds: float = 0.0
    bytes_per_s: float = 0.0


class _Pipe:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.carried = 0
        self.fault: Fault | None = None
        self.delay_s = 0.0
        self.bytes_per_s = 0.0


class RelayedConnection:
    """One connection that goes, or went, through the relay."""

    def __init__(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._writers = [client[1]]
        self._client = client
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pipes: dict[Direction, _Pipe] = {}
        self._struck = asyncio.Event()
        self.fired: FaultKind | None = None
        """The fault that came into force, if one did."""

    @property
    def open(self) -> bool:
        """Whether the relay still holds a side of it."""
        return any(not writer.transport.is_closing() for writer in self._writers)

    def carried(self, direction: Direction) -> int:
        """Bytes that went through so far."""
        pipe = self._pipes.get(direction)
        return pipe.carried if pipe is not None else 0

    def strike(self, kind: FaultKind) -> None:
        """Note that a fault came into force."""
        self.fired = kind
        self._struck.set()

    async def struck(self) -> None:
        """Wait until the planned fault has come into force."""
        await self._struck.wait()

    async def listen_in_silence(self) -> None:
        """Be mute until the client goes."""
        self.strike("mute")
        try:
            while await self._client[0].read(READ_SIZE):
                pass
        except OSError:  # it went with a reset
            return

    def cut(self) -> None:
        """Close both sides."""
        for writer in self._writers:
            writer.close()
        self._flowing.set()

    def reset(self) -> None:
        """Reset both sides: the peers get ECONNRESET."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
                # Linger of zero seconds: the close is an RST (socket(7)).
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._flowing.set()

    def stall(self) -> None:
        """Carry nothing until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Carry again, beginning with what was held back."""
        self._flowing.set()

    async def serve(
        self, server: tuple[asyncio.StreamReader, asyncio.StreamWriter], plan: Fault | None
    ) -> None:
        """Carry both ways until both ends are done."""
        self._writers.append(server[1])
        up, down = _Pipe(self._client[0], server[1]), _Pipe(server[0], self._client[1])
        self._pipes = {"up": up, "down": down}
        if plan is not None:
            self._pipes[plan.direction].fault = plan
        await asyncio.gather(self._pump(up), self._pump(down))

    async def _pump(self, pipe: _Pipe) -> None:
        try:
            while await self._carry_some(pipe):
                pass
            if pipe.writer.can_write_eof():
                pipe.writer.write_eof()
        except OSError:  # the other side has gone: nothing can be carried any more
            self.cut()

    async def _carry_some(self, pipe: _Pipe) -> bool:
        """Carry the next piece; False at the end of this direction."""
        fault = pipe.fault
        room = READ_SIZE if fault is None else fault.after_bytes - pipe.carried
        if fault is not None and room <= 0:
            pipe.fault = None
            return self._strike(fault, pipe)
        data = await pipe.reader.read(min(READ_SIZE, room))
        if not data:
            return False
        wait_s = pipe.delay_s + (len(data) / pipe.bytes_per_s if pipe.bytes_per_s else 0.0)
        if wait_s:
            await asyncio.sleep(wait_s)
        await self._flowing.wait()
        pipe.writer.write(data)
        await pipe.writer.drain()
        pipe.carried += len(data)
        return True

    def _strike(self, fault: Fault, pipe: _Pipe) -> bool:
        if fault.kind == "cut":
            self.cut()
        elif fault.kind == "reset":
            self.reset()
        elif fault.kind == "stall":
            self.stall()
        elif fault.kind == "delay":
            pipe.delay_s = fault.seconds
        elif fault.kind == "limit":
            pipe.bytes_per_s = fault.bytes_per_s
        self.strike(fault.kind)
        return fault.kind != "half_close"


class FaultRelay:
    """Listens on a loopback port (or the Unix socket `listen`), and carries to `host:port` (or the socket `host`)."""

    def __init__(self, host: str, port: int | None = None, *, listen: str | None = None) -> None:
        self._target = (host, port)
        self._listen = listen
        self._plans: deque[Fault] = deque()
        self._every: Fault | None = None
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[RelayedConnection] = []
        """All that were made, in order."""
        self.host = "127.0.0.1"
        self.port = 0

    async def start(self) -> FaultRelay:
        """Listen; the same port again after `stop_listening`."""
        if self._listen is not None:
            self._server = await asyncio.start_unix_server(self._accept, self._listen)
        else:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop_listening(self) -> None:
        """New connections are refused by the kernel; those that are open go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def plan(self, *faults: Fault) -> None:
        """The next connections get these, one each."""
        self._plans.extend(faults)

    def plan_all(self, fault: Fault | None) -> None:
        """Every connection without a plan of its own gets this; None: is carried whole."""
        self._every = fault

    @property
    def open_connections(self) -> list[RelayedConnection]:
        """Those of which the relay still holds a side."""
        return [connection for connection in self.connections if connection.open]

    def cut(self) -> None:
        """Close all that are open."""
        for connection in self.open_connections:
            connection.cut()

    def reset(self) -> None:
        """Reset all that are open."""
        for connection in self.open_connections:
            connection.reset()

    def stall(self) -> None:
        """Stall all that are open."""
        for connection in self.open_connections:
            connection.stall()

    def resume(self) -> None:
        """Let all flow that are stalled."""
        for connection in self.connections:
            connection.resume()

    async def aclose(self) -> None:
        """Close everything, and wait until it is gone."""
        self.stop_listening()
        self.reset()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = RelayedConnection((reader, writer))
        self.connections.append(connection)
        plan = self._plans.popleft() if self._plans else self._every
        try:
            await self._carry(connection, plan)
        except asyncio.CancelledError:
            pass  # aclose: asyncio's own server would log a cancelled handler as an error
        finally:
            connection.cut()
            self._tasks.discard(task)

    async def _carry(self, connection: RelayedConnection, plan: Fault | None) -> None:
        if plan is not None and plan.kind == "refuse":
            connection.strike("refuse")
            return
        if plan is not None and plan.kind == "mute":
            await connection.listen_in_silence()
            return
        host, port = self._target
        try:
            server = await (
                asyncio.open_unix_connection(host) if port is None else asyncio.open_connection(host, port)
            )
        except OSError:  # no server: as if it had hung up
            return
        await connection.serve(server, plan)
