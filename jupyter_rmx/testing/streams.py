"""Byte streams over plain TCP, for tests of what runs over a transport without a machine behind it."""

from __future__ import annotations

import asyncio

from jupyter_rmx.errors import TransportError


class TcpStream:
    """An asyncio connection as a ByteStream (`transports.base`)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes; empty at the end."""
        try:
            return await self._reader.read(limit)
        except OSError as error:
            raise TransportError("The connection broke.", code="ssh_connection_lost") from error

    async def write(self, data: bytes) -> None:
        """Send; waits while the buffer is full."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise TransportError("The connection broke.", code="ssh_connection_lost") from error

    async def write_eof(self) -> None:
        """Half-close."""
        try:
            self._writer.write_eof()
        except OSError as error:
            raise TransportError("The connection broke.", code="ssh_connection_lost") from error

    async def aclose(self) -> None:
        """Close both ways, at once."""
        self._writer.close()


async def dial_loopback(port: int) -> TcpStream:
    """Connect to 127.0.0.1 of this computer; TransportError `ssh_port_refused` if nothing listens there."""
    try:
        return TcpStream(*await asyncio.open_connection("127.0.0.1", port))
    except ConnectionRefusedError as error:
        raise TransportError(f"Nothing listens on port {port}.", code="ssh_port_refused") from error
