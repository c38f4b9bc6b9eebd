"""One connection of the pool: opened once for all who ask, held, idle, lost, tried again, parked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

from jupyter_rmx.errors import RmxError, TransportError
from jupyter_rmx.models.connection import ConnectionState
from jupyter_rmx.transports.base import Transport
from jupyter_rmx.transports.reconnect import NEEDS_ANSWER, Reconnect, ReconnectRules, parked_error
from jupyter_rmx.transports.timing import Timer, Timing

OpenTransport = Callable[[], Awaitable[Transport]]
_log = logging.getLogger(__name__)


@runtime_checkable
class _TellsWhenClosed(Protocol):
    """A transport that says at once when its link is gone; of others `state` is read when somebody asks."""

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the link is gone."""
        ...


@runtime_checkable
class _KnowsItsUse(Protocol):
    """A transport that knows whether commands, terminals, streams or copies are open on it."""

    @property
    def in_use(self) -> bool:
        """Whether something is open."""
        ...


class Link:
    """The connection of one key. All belongs to one event loop.

    `told` gets every change of `state`; `closed` is called when an idle transport has closed behind the scenes. `kept`,
    if set, opens the connection again after it was lost, without anybody's help. After `drop` a link is done with.
    """

    def __init__(
        self,
        rules: ReconnectRules,
        idle_s: float,
        timing: Timing,
        told: Callable[[ConnectionState], None],
        closed: Callable[[], None],
    ) -> None:
        self.state = ConnectionState()
        self.kept: OpenTransport | None = None
        self.holds = 0
        self._retry = Reconnect(rules)
        self._idle_s = idle_s
        self._timing = timing
        self._told = told
        self._told_closed = closed
        self._dropped = False
        self._transport: Transport | None = None
        self._ready_at = self._used_at = 0.0
        self._was_in_use = False
        self._attempt: asyncio.Task[Transport] | None = None
        self._attempt_is_ours = False
        self._next: Timer | None = None
        self._idle: Timer | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._began = asyncio.Event()

    @property
    def live(self) -> Transport | None:
        """The transport, if it is ready as far as is known."""
        transport = self._transport
        return transport if transport is not None and transport.state == "ready" else None

    @property
    def empty(self) -> bool:
        """Nothing here is worth to be remembered."""
        busy = self._transport or self._attempt or self._next or self.kept or self._closing
        return not busy and not self.holds

    # -- asking -------------------------------------------------------------------------------------------------

    async def get(self, open_transport: OpenTransport, *, asked: bool) -> Transport:
        """The live transport. `asked`: somebody wants it now, so that nothing is waited for and parking is over."""
        if asked and self.live is None:
            self._retry.rearm()
        while True:
            if self._dropped:
                raise _closed_meanwhile()
            transport = self.live
            if transport is not None:
                self._used_at = self._timing.monotonic()
                return transport
            if self._attempt is None:
                if not asked and self.state.status == "blocked":
                    raise parked_error(self.state)
                if not asked and self._next is not None:
                    await self._wait_for_attempt()
                    continue
                self._begin(open_transport)
            assert self._attempt is not None
            ours = self._attempt_is_ours
            try:
                return await _share(self._attempt)
            except TransportError as error:
                # We tried by ourselves, where nobody could be asked; who is here now perhaps can be.
                if not (asked and ours and error.code == NEEDS_ANSWER):
                    raise
                self._retry.rearm()

    async def _wait_for_attempt(self) -> None:
        self._began.clear()
        await self._began.wait()

    # -- opening ------------------------------------------------------------------------------------------------

    def _begin(self, open_transport: OpenTransport, *, ours: bool = False) -> None:
        """Start an attempt; its task tells how it ended before anybody who waits for it goes on."""
        self._cancel_next()
        if self._transport is not None:  # closed, but it did not say so
            self._transport = None
            self._cancel_idle()
        again = self._retry.attempt
        if again and self.state.code:
            self._tell(replace(self.state, status="reconnecting", attempt=again, next_in_s=0.0))
        else:
            self._tell(ConnectionState("connecting"))
        task = asyncio.create_task(self._open(open_transport))
        self._attempt, self._attempt_is_ours = task, ours
        task.add_done_callback(_seen)
        self._began.set()

    async def _open(self, open_transport: OpenTransport) -> Transport:
        try:
            transport = await open_transport()
        except Exception as error:  # whatever it is, the state must say so; it is raised again
            if self._attempt is asyncio.current_task():
                self._attempt = None
                self._failed(_as_ours(error))
            raise
        if self._attempt is not asyncio.current_task():
            await transport.aclose()  # dropped meanwhile
            raise asyncio.CancelledError
        self._attempt = None
        self._ready(transport)
        return transport

    def _ready(self, transport: Transport) -> None:
        self._transport = transport
        self._ready_at = self._used_at = self._timing.monotonic()
        self._was_in_use = False
        self._set_idle_timer(self._idle_s)
        self._tell(ConnectionState("ready"))
        if isinstance(transport, _TellsWhenClosed):
            transport.on_closed(lambda: self._lost(transport))

    # -- losing -------------------------------------------------------------------------------------------------

    def _lost(self, transport: Transport) -> None:
        if self._transport is not transport:
            return
        self._transport = None
        self._cancel_idle()
        if self.kept is None:
            self._tell(ConnectionState())
            return
        error = TransportError(
            "The connection to the machine was lost.",
            hint="Check the network, and that the machine runs.",
            code="ssh_connection_lost",
        )
        self._go_on(self._retry.lost(error, self._timing.monotonic() - self._ready_at))

    def _failed(self, error: RmxError) -> None:
        if self.kept is None:
            self._tell(ConnectionState())
        else:
            self._go_on(self._retry.failed(error))

    def _go_on(self, state: ConnectionState) -> None:
        if state.status == "reconnecting" and state.next_in_s is not None:
            self._next = self._timing.call_later(state.next_in_s, self._try_again)
        else:
            self._began.set()  # who waited for the next attempt sees that there is none
        self._tell(state)

    def _try_again(self) -> None:
        self._next = None
        if self.kept is not None and self._attempt is None and self._transport is None:
            self._begin(self.kept, ours=True)

    def rearm(self, *, asked: bool) -> None:
        """Try at once what waits or is parked, with a clean record; what is ready, idle or tried is left alone.

        Where a person must answer, only a person (`asked`) makes us try: else each new network would ring a phone.
        """
        if self.kept is None or self._attempt is not None or (not asked and self.state.code == NEEDS_ANSWER):
            return
        if self.state.status in {"reconnecting", "blocked"}:
            self._retry.rearm()
            self._begin(self.kept, ours=True)

    def keep(self, open_transport: OpenTransport) -> None:
        """Open it again by `open_transport` whenever it is lost from now on."""
        self.kept = open_transport

    def let_go(self) -> None:
        """Nobody wants it kept: a waiting or parked one is forgotten, a ready one stays until it is idle."""
        self.kept = None
        self._retry.rearm()
        if self._next is not None or self.state.status == "blocked":
            self._cancel_next()
            self._began.set()
            self._tell(ConnectionState())

    # -- idle ---------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """It was used until now."""
        self._used_at = self._timing.monotonic()

    def _set_idle_timer(self, delay_s: float) -> None:
        self._cancel_idle()
        self._idle = self._timing.call_later(delay_s, self._check_idle)

    def _check_idle(self) -> None:
        self._idle = None
        transport = self._transport
        if transport is None:
            return
        was_in_use = self._was_in_use
        self._was_in_use = bool(self.holds) or (isinstance(transport, _KnowsItsUse) and transport.in_use)
        if self._was_in_use:
            # What is open does not tell when it ends; to look ten times in `idle_s` is near enough.
            self._set_idle_timer(self._idle_s / 10)
            return
        if was_in_use:
            self.touch()
        left = self._used_at + self._idle_s - self._timing.monotonic()
        if left > 0:
            self._set_idle_timer(left)
            return
        self._transport = None
        task = asyncio.create_task(transport.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closed)
        self._tell(ConnectionState())

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("An idle connection did not close well: %r", task.exception())
        self._told_closed()

    # -- ending -------------------------------------------------------------------------------------------------

    async def drop(self) -> None:
        """Close, give up an attempt, and wait for no next one; what holds it meets a closed connection."""
        self._dropped = True
        self.kept = None
        self._cancel_next()
        self._cancel_idle()
        attempt, self._attempt = self._attempt, None
        transport, self._transport = self._transport, None
        self._tell(ConnectionState())
        self._began.set()
        if attempt is not None:
            attempt.cancel()
            await asyncio.wait([attempt])
        if transport is not None:
            await transport.aclose()
        if self._closing:
            await asyncio.wait(list(self._closing))

    def _cancel_next(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _tell(self, state: ConnectionState) -> None:
        if state != self.state:
            self.state = state
            self._told(state)


async def _share(task: asyncio.Task[Transport]) -> Transport:
    """Wait for the attempt without owning it; an attempt that was dropped is an error, not our cancellation."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise _closed_meanwhile() from None
        raise


def _closed_meanwhile() -> TransportError:
    return TransportError(
        "The connection was closed while it was made.", hint="Try again.", code="ssh_connection_lost"
    )


def _seen(task: asyncio.Task[Transport]) -> None:
    if not task.cancelled():
        task.exception()  # seen, even where every waiter has gone


def _as_ours(error: Exception) -> RmxError:
    if isinstance(error, RmxError):
        return error
    _log.error("Opening a connection failed in a way that we do not know", exc_info=error)
    return RmxError(
        f"The connection could not be made ({type(error).__name__}).", hint="The log of Jupyter says more."
    )
