"""One side of the proxy: HTTP/1.1 over a byte stream, and bytes alone once a WebSocket has begun.

h11 keeps the framing strict on both sides, so that no message can hide in another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11

from jupyter_rmx.loopback.pages import Answer
from jupyter_rmx.transports.base import ByteStream

CHUNK = 65536
HEAD_LIMIT = 65536
LINGER_S = 10.0
DRAIN_S = 2.0

_CANNOT_GO_ON = frozenset({h11.SEND_BODY, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR})

Event = (
    h11.Request
    | h11.InformationalResponse
    | h11.Response
    | h11.Data
    | h11.EndOfMessage
    | h11.ConnectionClosed
    | type[h11.PAUSED]
)


class ClientGone(Exception):  # noqa: N818 - an event, not an error: people close tabs
    """The browser went away."""


class Peer:
    """A byte stream that speaks HTTP/1.1. Reads of the stream must survive being cancelled without losing bytes."""

    def __init__(self, stream: ByteStream, role: type[h11.CLIENT | h11.SERVER], begun: bytes = b"") -> None:
        self.stream = stream
        self.http = h11.Connection(role, max_incomplete_event_size=HEAD_LIMIT)
        if begun:
            self.http.receive_data(begun)

    async def next_event(self) -> Event:
        """The next event; reads as needed. Raises h11.RemoteProtocolError and what the stream raises."""
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # h11 types its sentinels as one wide union
            self.http.receive_data(await self.stream.read(CHUNK))

    async def send(self, event: h11.Event) -> None:
        """Send one event; waits while the peer does not read."""
        data = self.http.send(event)
        if data:
            await self.stream.write(data)

    @property
    def unread(self) -> bytes:
        """Bytes that came after the message."""
        return self.http.trailing_data[0]

    async def watch(self) -> None:
        """Wait until the peer sends more, which is kept for later; ClientGone if it goes away instead."""
        if self.unread:
            return
        data = await self.stream.read(CHUNK)
        if not data:
            raise ClientGone
        self.http.receive_data(data)

    async def answer(self, answer: Answer) -> bool:
        """Send an answer of ours in full; True if the connection can carry another request."""
        self._take_buffered_body()
        closes = answer.close or self.http.their_state in _CANNOT_GO_ON
        headers = [*answer.headers, (b"Content-Length", str(len(answer.body)).encode())]
        if closes:
            headers.append((b"Connection", b"close"))
        head_only = self.http.their_state is not h11.ERROR and self.method == b"HEAD"
        await self.send(h11.Response(status_code=answer.status, reason=answer.reason, headers=headers))
        if not head_only:
            await self.send(h11.Data(data=answer.body))
        await self.send(h11.EndOfMessage())
        if closes:
            await self.drain()
            return False
        return self.next_cycle()

    method = b""  # of the request being answered

    def _take_buffered_body(self) -> None:
        """Swallow what has arrived of a body that nobody will read."""
        try:
            while type(self.http.next_event()) is h11.Data:
                pass
        except h11.RemoteProtocolError:
            pass  # the answer is on its way; the state that h11 keeps now ends the connection after it

    def next_cycle(self) -> bool:
        """Make ready for another request; False if the connection ends here."""
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
            return True
        return False

    async def drain(self) -> None:
        """End our side, then read on for a moment: closing over unread bytes would destroy the answer on its way."""

        async def swallow() -> None:
            while await self.stream.read(CHUNK):
                pass

        await self.stream.write_eof()
        try:
            await asyncio.wait_for(swallow(), DRAIN_S)
        except asyncio.TimeoutError:
            pass  # it goes on sending what nobody reads


async def splice(client: ByteStream, app: ByteStream, seen: Callable[[], None]) -> None:
    """Copy both ways until both ends are done; a side that ends is half-closed on the other.

    Once one side has ended the other has `LINGER_S` seconds left; after an error it ends at once.
    """

    async def copy(source: ByteStream, sink: ByteStream) -> None:
        while data := await source.read(CHUNK):
            seen()
            await sink.write(data)
        await sink.write_eof()

    ways = {asyncio.ensure_future(copy(client, app)), asyncio.ensure_future(copy(app, client))}
    try:
        done, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if pending and all(way.exception() is None for way in done):
            await asyncio.wait(pending, timeout=LINGER_S)
    finally:
        await cancel(*ways)


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """End tasks and wait for them, whatever they raise."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
