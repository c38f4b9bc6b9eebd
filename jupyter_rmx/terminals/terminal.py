"""One terminal: a shell on a machine, who looks at it, and what happens when the link to it breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from jupyter_rmx.clock import Clock
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import PtySpec
from jupyter_rmx.terminals import notices
from jupyter_rmx.terminals.answers import is_answer
from jupyter_rmx.terminals.login import LOGIN
from jupyter_rmx.terminals.scrollback import Scrollback, whole_characters
from jupyter_rmx.terminals.view import Ending, View
from jupyter_rmx.transports.base import Pty, Transport

READ = 64 * 1024
KEEPING_UP = 256 * 1024
"""A view with fewer characters waiting keeps up. Where none does, the machine is waited for no longer than `STALL_S`."""
VIEW_MAX = 4 * 1024 * 1024
"""A view with more characters waiting than this is dropped while another keeps up; a replay is far below."""
STALL_S = 10.0
QUIET_S = 0.15
QUIET_MAX_S = 5.0
REPAINT_S = 0.1
RETRIES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
"""Pauses before the tries to make a lost link again."""

TerminalState = Literal["ready", "reconnecting", "lost", "ended"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """A machine that terminals are on. `startup` is typed into each new shell of it."""

    id: str
    name: str
    startup: str | None = None


class Connect(Protocol):
    """Gives the live transport of a machine; `wake`: a person wants it, so one that is paused is resumed."""

    def __call__(self, machine_id: str, *, wake: bool) -> Awaitable[Transport]:
        """Raises what keeps the machine from being reached."""
        ...


@dataclass
class Pace:
    """How long things are waited for; tests bring their own."""

    retries_s: tuple[float, ...] = RETRIES_S
    stall_s: float = STALL_S
    quiet_s: float = QUIET_S
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class RemoteTerminal:
    """A shell that lives while somebody may come back to it; `on_end` is called once when it is over."""

    def __init__(
        self,
        name: str,
        place: Place,
        connect: Connect,
        clock: Clock,
        *,
        on_end: Callable[[RemoteTerminal], None],
        pace: Pace | None = None,
    ) -> None:
        self.name = name
        self.place = place
        self.state: TerminalState = "ready"
        self.last_activity: datetime = clock.now()
        self._connect = connect
        self._clock = clock
        self._on_end = on_end
        self._pace = pace or Pace()
        self._views: list[View] = []
        self._scrollback = Scrollback()
        self._rest = b""
        self._size = (80, 24)
        self._pty: Pty | None = None
        self._typing = asyncio.Lock()
        self._taken = asyncio.Event()
        self._wanted = asyncio.Event()
        self._heard = 0
        self._life: asyncio.Task[None] | None = None
        self._small: set[asyncio.Task[None]] = set()

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the first shell; what keeps it from being opened is raised."""
        self._pty = await self._open(wake=True)
        self._life = asyncio.ensure_future(self._live(self._pty))

    async def _open(self, *, wake: bool) -> Pty:
        transport = await self._connect(self.place.id, wake=wake)
        cols, rows = self._size
        pty = await transport.pty(PtySpec(command=LOGIN, cols=cols, rows=rows))
        if self._size != (cols, rows):  # a viewer changed its size meanwhile
            await pty.resize(*self._size)
        self._heard = 0
        if self.place.startup:
            self._aside(self._start_up(pty, self.place.startup))
        return pty

    async def _live(self, pty: Pty) -> None:
        """One shell after another, until one ends by itself."""
        try:
            while True:
                try:
                    await self._show_all(pty)
                    break
                except RmxError as error:
                    _log.info("Terminal %s of %s: %s", self.name, self.place.name, error.message)
                    self._pty = None
                finally:
                    await pty.aclose()
                pty = self._pty = await self._again()
        except Exception:  # noqa: BLE001 - see below
            # The last line of defence: the viewers are told that it is over, and the log why.
            _log.exception("Terminal %s of %s failed", self.name, self.place.name)
        self._over("ended")

    async def aclose(self, why: Ending = "ended") -> None:
        """Hang up: the shell and what runs in it get SIGHUP."""
        tasks = [*self._small, *([self._life] if self._life is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pty is not None:
            await self._pty.aclose()
        self._over(why)

    def _over(self, why: Ending) -> None:
        if self.state == "ended":
            return
        self.state = "ended"
        for task in self._small:
            task.cancel()
        for view in self._views:
            view.end(why)
        self._on_end(self)

    def _aside(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._small.add(task)
        task.add_done_callback(self._small.discard)

    # -- output -------------------------------------------------------------------------------------------------

    async def _show_all(self, pty: Pty) -> None:
        while data := await pty.read(READ):
            self._heard += 1
            data, self._rest = whole_characters(self._rest + data)
            self._show(data)
            await self._wait_for_views()
        self._show(self._rest)
        self._rest = b""

    def _show(self, data: bytes) -> None:
        if not data:
            return
        self.last_activity = self._clock.now()
        self._scrollback.add(data)
        text = data.decode("utf-8", "replace")
        for view in self._views:
            view.put(text)

    def _say(self, text: str) -> None:
        self._rest = b""
        self._show(text.encode())

    async def _wait_for_views(self) -> None:
        """The fastest viewer sets the pace; nobody waits for the others, nor for long where all have stopped."""
        while self._views and all(view.behind > KEEPING_UP for view in self._views):
            self._taken.clear()
            try:
                await asyncio.wait_for(self._taken.wait(), self._pace.stall_s)
            except (asyncio.TimeoutError, TimeoutError):
                self._drop(list(self._views))
        self._drop([view for view in self._views if view.behind > VIEW_MAX])

    def _drop(self, views: list[View]) -> None:
        for view in views:
            view.end("slow")
            self.detach(view)

    # -- viewers ------------------------------------------------------------------------------------------------

    def attach(self) -> View:
        """Look at it from now on, after all that it has shown lately."""
        replay = self._scrollback.replay().decode("utf-8", "replace")
        view = View(replay, self._changed)
        self._views.append(view)
        if self.state == "ended":
            view.end("ended")
        elif self._scrollback.full_screen():
            self._aside(self._repaint())
        return view

    def detach(self, view: View) -> None:
        """Look at it no longer; the others may have more room now."""
        if view in self._views:
            self._views.remove(view)
            self._taken.set()
            self._fit()

    def _changed(self, view: View) -> None:
        self._taken.set()
        if view in self._views:
            self._fit()

    def _fit(self) -> None:
        """The size that fits every viewer; the last one where there is none."""
        sizes = [view.size for view in self._views if view.size is not None]
        if sizes:
            size = (min(cols for cols, _ in sizes), min(rows for _, rows in sizes))
            if size != self._size:
                self._size = size
                self._aside(self._resize(*size))

    async def _resize(self, cols: int, rows: int) -> None:
        if self._pty is not None:
            with suppress(RmxError):  # the link is gone: the next shell is opened with the new size
                await self._pty.resize(cols, rows)

    async def _repaint(self) -> None:
        """Editors and pagers paint their screen anew when its size changes, so it does, for a moment."""
        cols, rows = self._size
        await self._resize(cols, max(rows - 1, 1))
        await asyncio.sleep(REPAINT_S)
        await self._resize(*self._size)

    # -- input --------------------------------------------------------------------------------------------------

    async def type(self, view: View, text: str) -> None:
        """Keys of a viewer; waits while the machine does not take them."""
        if self.state == "lost" and ("\r" in text or "\n" in text):
            self._wanted.set()
        # A program's question reaches every viewer; the first one answers it.
        if self._pty is None or (is_answer(text) and self._views and self._views[0] is not view):
            return
        self.last_activity = self._clock.now()
        async with self._typing:
            if self._pty is not None:
                with suppress(RmxError):  # the link is gone: that is told by the output
                    await self._pty.write(text.encode("utf-8", "replace"))

    async def _start_up(self, pty: Pty, command: str) -> None:
        """Type the machine's start-up command once the shell is at its prompt, so that it is seen once."""
        heard, waited = 0, 0.0
        while waited < QUIET_MAX_S:
            await self._pace.sleep(self._pace.quiet_s)
            waited += self._pace.quiet_s
            if self._heard and self._heard == heard:
                break
            heard = self._heard
        async with self._typing:
            with suppress(RmxError):
                await pty.write(command.replace("\n", "\r").encode("utf-8", "replace") + b"\r")

    # -- the link breaks ----------------------------------------------------------------------------------------

    async def _again(self) -> Pty:
        """A new shell after the link broke: tried a few times, then when somebody asks for it."""
        at = self._clock.now()
        self.state = "reconnecting"
        self._say(notices.lost(self.place.name, at, full_screen=self._scrollback.full_screen()))
        wake = False
        while True:
            try:
                pty = await self._try(wake=wake)
            except RmxError as error:
                self.state = "lost"
                self._wanted.clear()
                self._say(notices.given_up(self.place.name, error))
            else:
                self.state = "ready"
                self._say(notices.new_shell(self.place.name, at))
                return pty
            await self._wanted.wait()
            self.state = "reconnecting"
            self._say(notices.trying(self.place.name))
            wake = True

    async def _try(self, *, wake: bool) -> Pty:
        pauses = self._pace.retries_s
        for count, pause in enumerate(pauses, start=1):
            await self._pace.sleep(pause)
            try:
                return await self._open(wake=wake)
            except RmxError as error:
                if not error.retryable or count == len(pauses):
                    raise
        raise AssertionError("there is at least one try")
