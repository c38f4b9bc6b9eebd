"""The alias hosts on Jupyter's own port: a routing rule that takes such connections over.

Tornado parses the first head and routes by `Host`; at that head the connection is detached from it (public API, and
allowed at that moment only) and belongs to `loopback.proxy` from then on. Hosts that are not below the alias domain
never meet this rule.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.routing import Matcher, Rule

from jupyter_rmx.errors import LoopbackError
from jupyter_rmx.loopback.alias import is_below_alias_domain, normalize_host
from jupyter_rmx.loopback.gate import AliasDirectory, Gate
from jupyter_rmx.loopback.proxy import serve
from jupyter_rmx.loopback.tickets import Tickets


def install(
    web_app: Any,
    *,
    alias_domain: str,
    directory: AliasDirectory,
    tickets: Tickets,
    on_activity: Callable[[], None] = lambda: None,
) -> AliasRoute:
    """Put the rule in front of all others of a Jupyter server's application; before it listens, so that no gap is.

    Jupyter's own names (`ServerApp.local_hostnames`) are never aliases. `on_activity` is called whenever an app is used,
    since such traffic does not pass Jupyter's own clock of activity.
    """
    hosts = AliasRoute(Gate(alias_domain=alias_domain, directory=directory, tickets=tickets), on_activity)
    rule = Rule(_AliasMatcher(alias_domain, web_app.settings.get("local_hostnames", ())), hosts)
    web_app.default_router.rules.insert(0, rule)
    return hosts


class _AliasMatcher(Matcher):
    """Matches every host below the alias domain that is not Jupyter's own."""

    def __init__(self, alias_domain: str, local_hostnames: Collection[str]) -> None:
        self._alias_domain = alias_domain
        self._own = {normalize_host(name) for name in local_hostnames}

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """An empty match, or None."""
        host = request.headers.get("Host", "")
        if not is_below_alias_domain(host, self._alias_domain) or normalize_host(host) in self._own:
            return None
        return {}


class AliasRoute(HTTPServerConnectionDelegate):
    """All connections of alias hosts; each is one task."""

    def __init__(self, gate: Gate, on_activity: Callable[[], None]) -> None:
        self._gate = gate
        self._on_activity = on_activity
        self._tasks: dict[asyncio.Task[None], str] = {}

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:  # noqa: ARG002 - Tornado's signature
        """Tornado's call at the first head of a connection."""
        return _TakeOver(self, request_conn)

    def take(self, stream: IOStream, first_bytes: bytes) -> None:
        """Serve a detached connection."""
        task = asyncio.ensure_future(self._serve(stream, first_bytes))
        self._tasks[task] = ""
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _serve(self, stream: IOStream, first_bytes: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None

        def seen(machine_id: str) -> None:
            self._tasks[task] = machine_id
            self._on_activity()

        await serve(IOStreamBytes(stream), first_bytes, self._gate, seen)

    async def close_machine(self, machine_id: str) -> None:
        """End every connection that has reached an app of this machine."""
        await _end([task for task, of in self._tasks.items() if of == machine_id])

    async def aclose(self) -> None:
        """End every connection."""
        await _end(list(self._tasks))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _TakeOver(HTTPMessageDelegate):
    """Detaches the connection at its first head."""

    def __init__(self, hosts: AliasRoute, connection: Any) -> None:
        self._hosts = hosts
        self._connection = connection

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        """Write the head again as it came (Tornado read it as Latin-1) and hand the stream over."""
        assert isinstance(start_line, RequestStartLine)
        lines = [f"{start_line.method} {start_line.path} {start_line.version}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        stream = self._connection.detach()
        stream.set_nodelay(True)
        self._hosts.take(stream, head)


class IOStreamBytes:
    """A Tornado stream as a ByteStream. An IOStream closes itself when its peer ends, so a client cannot half-close."""

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream
        self._reading: asyncio.Future[bytes] | None = None

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes; empty at the end.

        Safe to cancel: Tornado allows one read at a time and cannot take it back, so the read goes on and the next
        call gets what it brings.
        """
        if self._reading is None:
            try:
                self._reading = asyncio.ensure_future(self._stream.read_bytes(limit, partial=True))
            except StreamClosedError:
                return b""
            self._reading.add_done_callback(_retrieve)
        try:
            data = await asyncio.shield(self._reading)
        except StreamClosedError:
            return b""
        self._reading = None
        return data

    async def write(self, data: bytes) -> None:
        """Send; waits until the kernel took it all."""
        try:
            await self._stream.write(data)
        except StreamClosedError as error:
            raise LoopbackError("The browser went away.", code="loopback_client_gone") from error

    async def write_eof(self) -> None:
        """Half-close; over TLS, which Tornado cannot half-close, close."""
        if isinstance(self._stream.socket, ssl.SSLSocket):
            self._stream.close()
            return
        if self._stream.closed():
            return
        try:
            self._stream.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._stream.close()  # the peer has reset the connection

    async def aclose(self) -> None:
        """Close both ways, at once."""
        self._stream.close()


def _retrieve(reading: asyncio.Future[bytes]) -> None:
    """Look at the outcome of a read that nobody may be waiting for any more, so that it is not reported as lost."""
    if not reading.cancelled():
        reading.exception()
