"""A command that does not wait for a slow reader until its spool is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jupyter_rmx.models import ExecEvent, Exit, SignalName
from jupyter_rmx.transports.base import Process
from jupyter_rmx.transports.spool import Spool


class SpooledProcess:
    """Implements `transports.base.Process` over another one; both are closed with it."""

    def __init__(self, process: Process, spool: Spool) -> None:
        self._process = process
        self._spool = spool
        self._pump = asyncio.ensure_future(self._fill())

    async def _fill(self) -> Exit:
        try:
            async for event in self._process.events():
                if isinstance(event, Exit):
                    return event
                await self._spool.put(event)
            raise AssertionError("a process ends with an exit or an error")
        finally:
            self._spool.finish()

    async def events(self) -> AsyncIterator[ExecEvent]:
        """Output in order of arrival, then one Exit; what came before an error comes before it here, too."""
        while (output := await self._spool.get()) is not None:
            yield output
        yield await asyncio.shield(self._pump)

    async def signal(self, name: SignalName) -> None:
        """Signal the whole process group there."""
        await self._process.signal(name)

    async def write(self, data: bytes) -> None:
        """Send to standard input; waits while the command does not read."""
        await self._process.write(data)

    async def write_eof(self) -> None:
        """Close standard input."""
        await self._process.write_eof()

    async def aclose(self) -> None:
        """Let go; a command that still runs gets SIGHUP. Output that waits is gone."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        self._spool.close()
        await self._process.aclose()
