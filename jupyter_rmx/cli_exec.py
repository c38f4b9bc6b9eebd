"""`jupyter rmx exec`: bytes through, Ctrl-C to the process group there."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, field

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import ExecSpec, Exit, Output, SignalName
from jupyter_rmx.service import ExecSession, RemoteMachines

LADDER: tuple[SignalName, ...] = ("INT", "TERM", "KILL")


@dataclass
class Ran:
    """How a command ended; its output, if it was kept."""

    end: Exit = field(default_factory=Exit)
    interrupted: bool = False
    kept: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})


class _CtrlC:
    """Each Ctrl-C sends the next harsher signal; one more than there are, or a dead link, gives up."""

    def __init__(self, session: ExecSession, reading: asyncio.Task[None]) -> None:
        self._session = session
        self._reading = reading
        self._tasks: list[asyncio.Task[None]] = []
        self.error: RmxError | None = None

    @property
    def pressed(self) -> bool:
        """True once there was one."""
        return bool(self._tasks)

    def press(self) -> None:
        """Called by the loop on SIGINT."""
        if len(self._tasks) == len(LADDER):
            self._reading.cancel()
        else:
            self._tasks.append(asyncio.ensure_future(self._send(LADDER[len(self._tasks)])))

    async def _send(self, name: SignalName) -> None:
        try:
            await self._session.signal(name)
        except RmxError as error:
            self.error = error
            self._reading.cancel()


async def run_command(service: RemoteMachines, machine: str, spec: ExecSpec, *, keep: bool) -> Ran:
    """Run a command; its output goes to our own stdout and stderr, or is kept."""
    session = await service.exec(machine, spec)
    ran = Ran()
    reading = asyncio.ensure_future(_read(session, ran, keep=keep))
    ctrl_c = _CtrlC(session, reading)
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, ctrl_c.press)
    except NotImplementedError:
        pass  # Windows: Ctrl-C ends us, and the service hangs the command up
    try:
        await asyncio.wait({reading})
        ran.interrupted = ctrl_c.pressed
        if not reading.cancelled():
            reading.result()
        elif ctrl_c.error is not None:
            raise ctrl_c.error
        return ran
    finally:
        reading.cancel()
        await session.aclose()


async def _read(session: ExecSession, ran: Ran, *, keep: bool) -> None:
    async for event in session:
        if isinstance(event, Output):
            if keep:
                ran.kept[event.stream] += event.data
            else:
                # In a thread: a reader of ours that pauses must not keep Ctrl-C from being noticed.
                await asyncio.to_thread(_write, event)
        else:
            ran.end = event


def _write(event: Output) -> None:
    stream = sys.stdout if event.stream == "stdout" else sys.stderr
    stream.buffer.write(event.data)
    stream.buffer.flush()
