"""A command that does not wait for a slow reader until its spool is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jupyter_rmx.models import ExecEvent, Exit
from jupyter_rmx.transports.base import Process
from jupyter_rmx.transports.over import OverProcess
from jupyter_rmx.transports.spool import Spool

PATIENCE_S = 0.05
"""How long a reader may be busy with what it has; then output is taken off the command for it.

A reader that keeps up is given the output directly: a queue between them costs a fifth of the speed.
"""


class SpooledProcess(OverProcess):
    """Implements `transports.base.Process` over another one; both are closed with it."""

    def __init__(self, process: Process, spool: Spool) -> None:
        super().__init__(process)
        self._source = process.events()
        self._spool = spool
        self._pump: asyncio.Task[Exit] | None = None
        self._loop = asyncio.get_running_loop()
        self._busy_since: float | None = self._loop.time()
        self._watch = self._loop.call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        """Take over from a reader that is busy."""
        since = self._busy_since
        if since is not None and self._loop.time() - since >= PATIENCE_S:
            self._pump = asyncio.ensure_future(self._fill())
        else:
            self._watch = self._loop.call_later(PATIENCE_S, self._look)

    async def _fill(self) -> Exit:
        try:
            async for event in self._source:
                if isinstance(event, Exit):
                    return event
                await self._spool.put(event)
            raise AssertionError("a process ends with an exit or an error")
        finally:
            self._spool.finish()

    async def events(self) -> AsyncIterator[ExecEvent]:
        """Output in order of arrival, then one Exit; what came before an error comes before it here, too."""
        while self._pump is None:
            self._busy_since = None
            event = await self._source.__anext__()
            if isinstance(event, Exit):
                self._watch.cancel()
                yield event
                return
            self._busy_since = self._loop.time()
            yield event
        while (output := await self._spool.get()) is not None:
            yield output
        yield await asyncio.shield(self._pump)

    async def aclose(self) -> None:
        """Let go; a command that still runs gets SIGHUP. Output that waits is gone."""
        self._watch.cancel()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._spool.close()
        await self._process.aclose()
