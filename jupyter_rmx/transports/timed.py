"""A command that has only so much time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from jupyter_rmx.errors import ProviderError, RmxError
from jupyter_rmx.models import ExecEvent, Exit, SignalName
from jupyter_rmx.transports.base import Process
from jupyter_rmx.transports.over import OverProcess

GRACE_S = 5.0
"""How long a command that is over its time has to end by SIGTERM, and then by SIGKILL."""


def timed_out(timeout_s: float) -> ProviderError:
    """The error of a command that took too long; it may not be repeated blindly, since it has run."""
    return ProviderError(
        f"The command was not done within {timeout_s:g} s, and was ended.",
        hint="Give it more time (--timeout, or timeout_ms over REST), or none.",
        code="vm_exec_timeout",
        status=504,
        retryable=False,
        details={"timeout_ms": int(timeout_s * 1000)},
    )


class TimedProcess(OverProcess):
    """Implements `transports.base.Process` over another one, whose group is ended after `timeout_s` seconds.

    Output that came before the end is given; then ProviderError `vm_exec_timeout` stands for the exit.
    """

    def __init__(self, process: Process, timeout_s: float) -> None:
        super().__init__(process)
        self._timeout_s = timeout_s
        self._expired = False
        self._over = asyncio.Event()
        self._timer = asyncio.ensure_future(self._expire())

    async def _expire(self) -> None:
        if await self._is_over_within(self._timeout_s):
            return
        self._expired = True
        names: tuple[SignalName, ...] = ("TERM", "KILL")
        for name in names:
            # A signal that does not arrive is followed by the next way to end it.
            with contextlib.suppress(RmxError, asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._process.signal(name), GRACE_S)
            if await self._is_over_within(GRACE_S):
                return
        await self._process.aclose()

    async def _is_over_within(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set()

    async def events(self) -> AsyncIterator[ExecEvent]:
        """Output in order of arrival, then one Exit; `vm_exec_timeout` if its time was over first."""
        try:
            async for event in self._process.events():
                if isinstance(event, Exit) and self._expired:
                    raise timed_out(self._timeout_s)
                yield event
        except RmxError as error:
            if self._expired:
                raise timed_out(self._timeout_s) from error
            raise
        finally:
            self._over.set()

    async def aclose(self) -> None:
        """Let go; a command that still runs gets SIGHUP."""
        self._timer.cancel()
        await asyncio.gather(self._timer, return_exceptions=True)
        await self._process.aclose()
