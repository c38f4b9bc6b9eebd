"""One transport per machine, opened once under concurrent demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from jupyter_rmx.errors import TransportError
from jupyter_rmx.transports.base import Transport

OpenTransport = Callable[[], Awaitable[Transport]]


@runtime_checkable
class _TellsWhenClosed(Protocol):
    """A transport that says at once when its link is gone; of others `state` is read at the next `get`."""

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the link is gone."""
        ...


class TransportPool:
    """Live transports by key. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._ready: dict[str, Transport] = {}
        self._opening: dict[str, asyncio.Task[Transport]] = {}
        self._closed = False

    async def get(self, key: str, open: OpenTransport) -> Transport:  # noqa: A002 - the word of the contract
        """The live transport of `key`; `open` is called if there is none.

        All who ask meanwhile share the one attempt and its failure, which is not remembered. One of them being
        cancelled leaves the others and the attempt alone.
        """
        if self._closed:
            raise TransportError(
                "This Jupyter is shutting down.", hint="Try again when it runs.", code="ssh_closed"
            )
        transport = self._ready.get(key)
        if transport is not None and transport.state == "ready":
            return transport
        self._ready.pop(key, None)
        task = self._opening.get(key)
        if task is None:
            task = asyncio.create_task(self._open(key, open))
            self._opening[key] = task
            task.add_done_callback(lambda done: self._settle(key, done))
        return await self._share(task)

    async def _share(self, task: asyncio.Task[Transport]) -> Transport:
        """Wait for the attempt without owning it; an attempt that was dropped is an error, not our cancellation."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise TransportError(
                    "The connection was closed while it was made.",
                    hint="Try again.",
                    code="ssh_connection_lost",
                ) from None
            raise

    async def _open(self, key: str, open_transport: OpenTransport) -> Transport:
        transport = await open_transport()
        if self._closed or self._opening.get(key) is not asyncio.current_task():
            await transport.aclose()  # dropped meanwhile
            raise asyncio.CancelledError
        self._ready[key] = transport
        if isinstance(transport, _TellsWhenClosed):
            transport.on_closed(lambda: self._forget(key, transport))
        return transport

    def _settle(self, key: str, task: asyncio.Task[Transport]) -> None:
        if self._opening.get(key) is task:
            del self._opening[key]
        if not task.cancelled():
            task.exception()  # seen, even where every waiter has gone

    def _forget(self, key: str, transport: Transport) -> None:
        if self._ready.get(key) is transport:
            del self._ready[key]

    async def drop(self, key: str) -> None:
        """Close the transport of `key`, and give up an attempt to open one."""
        task = self._opening.pop(key, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        transport = self._ready.pop(key, None)
        if transport is not None:
            await transport.aclose()

    def keys(self) -> list[str]:
        """Keys of the transports that are live as far as is known."""
        return [key for key, transport in self._ready.items() if transport.state == "ready"]

    async def aclose(self) -> None:
        """Close all; later `get`s fail."""
        self._closed = True
        await asyncio.gather(*(self.drop(key) for key in {*self._ready, *self._opening}))
