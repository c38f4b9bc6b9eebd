"""The live transports of this process: one for each key, shared by all, closed when idle, mended when kept.

A key says which connection it is: a machine's id, or the transport key of a workspace's target. What is opened on a
transport (commands, terminals, streams, copies) holds it by itself; `lease` is for work with pauses in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models.connection import ConnectionState
from jupyter_rmx.transports.base import Transport
from jupyter_rmx.transports.link import Link, OpenTransport
from jupyter_rmx.transports.reconnect import ReconnectRules
from jupyter_rmx.transports.timing import LoopTiming, Timing

IDLE_S = 600.0
OnState = Callable[[str, ConnectionState], None]
_log = logging.getLogger(__name__)

__all__ = ["IDLE_S", "OnState", "OpenTransport", "TransportPool"]


class TransportPool:
    """Live transports by key. All methods belong to one event loop.

    `on_state`, which may be set later, is called with a key at every change of its state. `rules` say how often and how
    fast a kept connection is tried again. A transport without use for `idle_s` seconds is closed.
    """

    def __init__(
        self,
        rules: ReconnectRules | None = None,
        *,
        idle_s: float = IDLE_S,
        timing: Timing | None = None,
        on_state: OnState | None = None,
    ) -> None:
        self.on_state = on_state
        self._rules = rules or ReconnectRules()
        self._idle_s = idle_s
        self._timing = timing or LoopTiming()
        self._links: dict[str, Link] = {}
        self._closed = False

    async def get(
        self,
        key: str,
        open: OpenTransport,  # noqa: A002 - the word of the contract
        *,
        asked: bool = True,
    ) -> Transport:
        """The live transport of `key`; `open` is called if there is none.

        All who ask meanwhile share the one attempt and its failure. One of them being cancelled leaves the others and
        the attempt alone. `asked`: a person wants it now, so a connection that waits for its next try is tried at once,
        and a parked one anew. Otherwise (a poll, a page that loads itself again) the next try is waited for, and a
        parked connection is the error it was parked with.
        """
        async with self.lease(key, open, asked=asked) as transport:
            return transport

    @asynccontextmanager
    async def lease(
        self,
        key: str,
        open: OpenTransport,  # noqa: A002 - the word of the contract
        *,
        asked: bool = True,
    ) -> AsyncIterator[Transport]:
        """`get`, and the transport is not closed as idle inside the block; it can still be lost."""
        link = self._link(key)
        link.holds += 1
        try:
            yield await link.get(open, asked=asked)
        finally:
            link.holds -= 1
            link.touch()
            self._tidy(key, link)

    def keep(self, key: str, open: OpenTransport) -> None:  # noqa: A002 - the word of the contract
        """From now on open the connection of `key` again by itself whenever it is lost, until `let_go` or `drop`.

        Nothing is opened now. `open` runs where nobody is: it must not ask anybody anything (`ssh_needs_answer`).
        """
        self._link(key).keep(open)

    def let_go(self, key: str) -> None:
        """The opposite of `keep`; a connection that is ready stays until it is idle."""
        link = self._links.get(key)
        if link is not None:
            link.let_go()
            self._tidy(key, link)

    def state(self, key: str) -> ConnectionState:
        """How the connection of `key` is; `idle` for keys that are not known."""
        link = self._links.get(key)
        return link.state if link is not None else ConnectionState()

    def rearm(self, key: str) -> None:
        """A person asks for it: what waits for its next try, or is parked, is tried now."""
        link = self._links.get(key)
        if link is not None:
            link.rearm(asked=True)

    def rearm_all(self) -> None:
        """The network has changed, or the computer woke up: try now all that wait or are parked.

        Left alone are those whose server would ask a person something.
        """
        for link in list(self._links.values()):
            link.rearm(asked=False)

    async def drop(self, key: str) -> None:
        """Close the transport of `key`, give up an attempt to open one, and keep it no longer."""
        link = self._links.pop(key, None)
        if link is not None:
            await link.drop()

    def keys(self) -> list[str]:
        """Keys of the transports that are live as far as is known."""
        return [key for key, link in self._links.items() if link.live is not None]

    async def aclose(self) -> None:
        """Close all; later `get`s fail."""
        self._closed = True
        await asyncio.gather(*(self.drop(key) for key in list(self._links)))

    def _link(self, key: str) -> Link:
        if self._closed:
            raise TransportError(
                "This Jupyter is shutting down.", hint="Try again when it runs.", code="ssh_closed"
            )
        link = self._links.get(key)
        if link is None:
            link = Link(
                self._rules,
                self._idle_s,
                self._timing,
                told=lambda state: self._tell(key, state),
                closed=lambda: self._tidy(key),
            )
            self._links[key] = link
        return link

    def _tell(self, key: str, state: ConnectionState) -> None:
        if self.on_state is not None:
            try:
                self.on_state(key, state)
            except Exception:  # noqa: BLE001 - who listens must not break the connection that is told of
                _log.exception("Telling the state of a connection failed")
        self._tidy(key)

    def _tidy(self, key: str, link: Link | None = None) -> None:
        """Forget a link that holds nothing; `link`, if given, must be the one of now."""
        found = self._links.get(key)
        if found is not None and (link is None or found is link) and found.empty:
            del self._links[key]
