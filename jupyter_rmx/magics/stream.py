"""A command's output into the cell as it is produced, and Ctrl-C out of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable

from jupyter_rmx.errors import RmxError, TransportError
from jupyter_rmx.magics.failure import interrupted
from jupyter_rmx.magics.runner import POLL_S, Interrupts, Runner
from jupyter_rmx.magics.text import StreamText
from jupyter_rmx.models import ExecEvent, ExecSpec, Exit, Output, SignalName
from jupyter_rmx.service import ExecSession, RemoteMachines

INTERVAL_S = 0.05
"""Shortest time between two batches of a flood; the first output after a pause is never held."""
BATCH_BYTES = 1024 * 1024
EVENTS_AHEAD = 32
LADDER: tuple[SignalName, ...] = ("INT", "TERM", "KILL")
Write = Callable[[str, str], None]
"""Takes the stream's name and text; called in the thread that waits."""


class Running:
    """The loop's side: a started command, its output in batches. Holds at most `EVENTS_AHEAD` events."""

    def __init__(self, session: ExecSession, stdin: bytes | None) -> None:
        self._session = session
        self._queue: asyncio.Queue[ExecEvent | Exception] = asyncio.Queue(maxsize=EVENTS_AHEAD)
        self._pump = asyncio.ensure_future(self._fill())
        self._feeder = None if stdin is None else asyncio.ensure_future(self._feed(stdin))
        self._not_before = 0.0

    @classmethod
    async def start(
        cls, service: RemoteMachines, machine: str, spec: ExecSpec, stdin: bytes | None
    ) -> Running:
        """Start the command."""
        return cls(await service.exec(machine, spec), stdin)

    async def _fill(self) -> None:
        try:
            async for event in self._session:
                await self._queue.put(event)
        except Exception as error:  # noqa: BLE001 - carried to the thread that waits, which raises it
            await self._queue.put(error)

    async def _feed(self, stdin: bytes) -> None:
        try:
            await self._session.write(stdin)
            await self._session.write_eof()
        except RmxError:
            pass  # the link broke, which the output tells as well

    async def batch(self) -> list[ExecEvent | Exception]:
        """What has arrived: at once after a pause, else at most every `INTERVAL_S`, and at the end."""
        loop = asyncio.get_running_loop()
        events = [await self._queue.get()]
        pause = self._not_before - loop.time()
        if pause > 0 and isinstance(events[0], Output):
            await asyncio.wait({self._pump}, timeout=pause)
        size = 0
        while size < BATCH_BYTES and not self._queue.empty():
            event = self._queue.get_nowait()
            size += len(event.data) if isinstance(event, Output) else 0
            events.append(event)
        self._not_before = loop.time() + INTERVAL_S
        return events

    async def signal(self, name: SignalName) -> None:
        """Signal the process group there."""
        await self._session.signal(name)

    async def aclose(self) -> None:
        """Let go; what still runs is hung up."""
        tasks = [task for task in (self._pump, self._feeder) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.aclose()


class Follower:
    """The waiting thread's side: writes the output, and turns interrupts into signals, one step harsher each time."""

    def __init__(self, runner: Runner, running: Running, machine: str, write: Write) -> None:
        self._runner = runner
        self._running = running
        self._machine = machine
        self._write = write
        self._text = {"stdout": StreamText(), "stderr": StreamText()}
        self._sent: list[SignalName] = []
        self._answer: concurrent.futures.Future[None] | None = None

    def follow(self, interrupts: Interrupts) -> Exit:
        """Until the command ends. Raises KeyboardInterrupt if it was interrupted, or what broke the link."""
        while True:
            batch = self._runner.submit(self._running.batch())
            while not concurrent.futures.wait([batch], timeout=POLL_S).done:
                self._look(interrupts)
            self._look(interrupts)
            end = self._show(batch.result())
            if end is None:
                continue
            if self._sent:
                raise interrupted(
                    f"The command on {self._machine} was interrupted with SIG{self._sent[-1]} and ended with {end}."
                )
            return end

    def _look(self, interrupts: Interrupts) -> None:
        """Send the next signal if an interrupt came; raise TransportError if the last one was not answered."""
        if self._answer is not None:
            if not self._answer.done():
                if interrupts.count > len(LADDER):
                    raise self._given_up()
                return
            answer, self._answer = self._answer, None
            answer.result()
        if interrupts.count > len(self._sent):
            if len(self._sent) == len(LADDER):
                raise self._given_up()
            name = LADDER[len(self._sent)]
            self._sent.append(name)
            self._answer = self._runner.submit(self._running.signal(name))

    def _given_up(self) -> TransportError:
        return TransportError(
            f"The command on {self._machine} did not end after SIGINT, SIGTERM and SIGKILL; it may still be running there.",
            hint=f"Look with: %vm exec {self._machine} -- ps x",
            code="ssh_no_answer",
        )

    def _show(self, events: list[ExecEvent | Exception]) -> Exit | None:
        """Write the output, neighbours of one stream in one piece; the Exit if it is among the events."""
        end: Exit | None = None
        failure: Exception | None = None
        pieces: list[tuple[str, str]] = []
        for event in events:
            if isinstance(event, Output):
                _append(pieces, event.stream, self._text[event.stream].feed(event.data))
            else:
                for name, text in self._text.items():
                    _append(pieces, name, text.finish())
                end, failure = (event, None) if isinstance(event, Exit) else (None, event)
        for name, piece in pieces:
            self._write(name, piece)
        if failure is not None:
            raise failure
        return end


def _append(pieces: list[tuple[str, str]], name: str, text: str) -> None:
    if pieces and pieces[-1][0] == name:
        pieces[-1] = (name, pieces[-1][1] + text)
    elif text:
        pieces.append((name, text))


def run_there(
    runner: Runner,
    service: RemoteMachines,
    machine: str,
    spec: ExecSpec,
    *,
    stdin: bytes | None,
    write: Write,
) -> Exit:
    """Run a command on a machine and write its output until it ends.

    An interrupt sends SIGINT to the process group there, a second one SIGTERM, a third SIGKILL; then KeyboardInterrupt
    is raised once the command is gone. Where the link does not answer, TransportError `ssh_no_answer` frees the caller
    at once.
    """
    with Interrupts() as interrupts:
        started = runner.submit(Running.start(service, machine, spec, stdin))
        try:
            running = runner.wait(started, interrupts, f"The command on {machine}")
        except KeyboardInterrupt:
            started.add_done_callback(lambda done: _close_late(runner, done))
            raise
        try:
            return Follower(runner, running, machine, write).follow(interrupts)
        finally:
            runner.submit(running.aclose())


def _close_late(runner: Runner, started: concurrent.futures.Future[Running]) -> None:
    """A command that started just when it was taken back is hung up."""
    if not started.cancelled() and started.exception() is None:
        runner.submit(started.result().aclose())
