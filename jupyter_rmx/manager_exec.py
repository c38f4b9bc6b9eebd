"""Commands over a transport: streamed for the faces, and to their end for providers that have no exec of their own."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from jupyter_rmx.control.commands import OUTPUT_MAX
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import VM, CommandResult, ExecEvent, ExecSpec, Exit
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.transports.base import Process, Transport
from jupyter_rmx.transports.over import OverProcess
from jupyter_rmx.transports.timed import timed_out

KILL_S = 5.0
"""How long a command that is over its time is waited for to take its end."""


class Connects(Protocol):
    """Gives the live transport of a machine."""

    def __call__(self, vm: VM, /) -> Awaitable[Transport]:
        """ProviderError `vm_not_running` if it does not run."""
        ...


class ManagedExec(OverProcess):
    """Implements `service.ExecSession` over a transport's process. `ended` is told, once, how it ended."""

    def __init__(self, process: Process, ended: Callable[[Exit | None], None]) -> None:
        super().__init__(process)
        self._ended: Callable[[Exit | None], None] | None = ended

    async def __aiter__(self) -> AsyncIterator[ExecEvent]:
        """The output, then the exit."""
        async for event in self._process.events():
            if isinstance(event, Exit):
                self._tell(event)
            yield event

    def _tell(self, end: Exit | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(end)

    async def aclose(self) -> None:
        """Let go."""
        self._tell(None)
        await self._process.aclose()


class TransportRunner:
    """Implements `control.commands.CommandRunner`."""

    def __init__(self, connect: Connects) -> None:
        self._connect = connect

    async def __call__(self, record: MachineRecord, command: str, *, timeout_s: float) -> CommandResult:
        """See `run_to_end`."""
        return await run_to_end(await self._connect(record.vm), command, timeout_s=timeout_s)


async def run_to_end(transport: Transport, command: str, *, timeout_s: float) -> CommandResult:
    """Run a command to its end; one that is not done in time is killed with its whole group (`vm_exec_timeout`)."""
    process = await transport.run(ExecSpec(command))
    try:
        return await asyncio.wait_for(_collect(process), timeout_s)
    except (asyncio.TimeoutError, TimeoutError) as error:
        with contextlib.suppress(RmxError, asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(process.signal("KILL"), KILL_S)
        raise timed_out(timeout_s) from error
    finally:
        await process.aclose()


async def _collect(process: Process) -> CommandResult:
    kept = {"stdout": _Kept(), "stderr": _Kept()}
    async for event in process.events():
        if isinstance(event, Exit):
            out, err = kept["stdout"], kept["stderr"]
            return CommandResult(
                exit_status(event), out.finish(), err.finish(), out.truncated or err.truncated
            )
        kept[event.stream].add(event.data)
    raise AssertionError("a process ends with an exit or an error")


class _Kept:
    """The beginning of a stream as text; the rest is read, so that the command can go on, and dropped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []
        self._left = OUTPUT_MAX
        self.truncated = False

    def add(self, data: bytes) -> None:
        self._take(self._decoder.decode(data) if self._left else "", bool(data))

    def _take(self, text: str, some: bool) -> None:
        self.truncated |= len(text) > self._left or (some and not self._left)
        self._parts.append(text[: self._left])
        self._left -= len(self._parts[-1])

    def finish(self) -> str:
        self._take(self._decoder.decode(b"", True) if self._left else "", False)
        return "".join(self._parts)


def exit_status(end: Exit) -> int:
    """A process's exit status as a shell has it: the code, or 128 and the signal's number."""
    if end.code is not None:
        return end.code
    number = getattr(signal, f"SIG{end.signal}", None)
    return 128 + int(number) if number is not None else 1
