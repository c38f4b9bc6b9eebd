"""EventFeed: what happens, told to whoever follows. One poller of the table serves all followers of this process.

The table is the truth: other processes of the same store write to it, too, and are seen at the next poll; our own
writes are seen at once (`wake`). The newest events are kept in memory, once; a follower that is slower than that reads
the table by itself, page by page. A follower holds its place and nothing else, however slow it is.

A follower is sent a `reset` where it may have missed something: the place it wants to go on from is not kept any more,
or is not one of this table. It must load its lists anew, and goes on after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from jupyter_rmx.clock import Clock
from jupyter_rmx.control.reconcile import KEEP_EVENTS
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import Event
from jupyter_rmx.store.store import Store, Transaction

log = logging.getLogger(__name__)

POLL_S = 1.0
BATCH = 200
IN_MEMORY = 1000
RESET = "reset"


class EventFeed:
    """The events of one owner, as they come. All methods belong to one event loop."""

    def __init__(self, store: Store, owner: str, clock: Clock, *, poll_s: float = POLL_S) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._poll_s = poll_s
        self._tail: deque[Event] = deque(maxlen=IN_MEMORY)
        self._floor = 0  # all events after this one, up to `_head`, are in `_tail`
        self._head = 0
        self._looking = asyncio.Lock()
        self.era = 0
        """Grows when the table turns out to be another one."""
        self._followers = 0
        self._polling: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self.news = asyncio.Event()
        """Set, and replaced, when there is something new."""
        self.closed = False

    def wake(self) -> None:
        """Look at the table now: something was written."""
        self._wanted.set()

    async def follow(self, after: int | None = None) -> Follower:
        """A new follower: of what comes from now on, or of all after the event with that id. May raise StoreError."""
        async with self._looking:
            if self._polling is None:
                await self._begin()
            self._followers += 1
        try:
            # To its end: "from now on" is the end of the table, not of what we know of it.
            while await self._look():
                pass
            follower = Follower(self, self._head if after is None else after)
            if after is not None and not await self._is_kept(after):
                follower.reset()
        except BaseException:
            self.left()
            raise
        return follower

    async def aclose(self) -> None:
        """End all followers."""
        self.closed = True
        self._tell()
        await self._end_polling()

    # -- the poller ---------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        async with self._store.read() as tx:
            self._floor = self._head = (await tx.events.bounds(self._owner))[1]
        self._tail.clear()
        if not self.closed:
            self._polling = asyncio.ensure_future(self._poll())

    async def _end_polling(self) -> None:
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    def left(self) -> None:
        """A follower is gone."""
        self._followers -= 1
        if self._followers == 0 and self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def _poll(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wanted.wait(), self._poll_s)
            except (asyncio.TimeoutError, TimeoutError):
                pass
            self._wanted.clear()
            try:
                while await self._look():
                    pass
            except RmxError as error:
                # Followers wait; who asks for something else meanwhile is told.
                log.debug("Events cannot be read now: %s", error)
                await asyncio.sleep(self._poll_s)
            except Exception:  # followers live on; it is tried again
                log.exception("Events cannot be read now")
                await asyncio.sleep(self._poll_s)

    async def _look(self) -> bool:
        """Take in what is new; True if there may be more."""
        async with self._looking:
            return await self._take_in()

    async def _take_in(self) -> bool:
        async with self._store.read() as tx:
            found = await tx.events.after(self._owner, self._head, limit=BATCH)
            high = self._head if found else (await tx.events.bounds(self._owner))[1]
        if high < self._head:
            self._start_over(high)
        for event in found:
            if len(self._tail) == IN_MEMORY:
                self._floor = self._tail[0].id
            self._tail.append(event)
            self._head = event.id
        if found:
            self._tell()
        return len(found) == BATCH

    def _start_over(self, high: int) -> None:
        """The newest event that we know is not there any more: the table is another one, or was cleared of old ones."""
        self._tail.clear()
        self._floor = self._head = high
        self.era += 1
        self._tell()

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

    # -- for followers ------------------------------------------------------------------------------------------

    async def _is_kept(self, after: int) -> bool:
        """True if all events after that one are still there."""
        async with self._store.read() as tx:
            return await self._is_whole(tx, after)

    async def _is_whole(self, tx: Transaction, after: int) -> bool:
        high = (await tx.events.bounds(self._owner))[1]
        if after >= high:
            return after == high
        # Events are forgotten by age, those of use never: that an old one is there says nothing of the later ones.
        first = await tx.events.after(self._owner, max(after, 1) - 1, limit=1)
        return bool(first) and first[0].id == max(after, 1) and first[0].at > self._clock.now() - KEEP_EVENTS

    async def after(self, place: int) -> Sequence[Event]:
        """Events after `place`, oldest first, at most `BATCH`; empty if there are none."""
        if place >= self._head:
            return ()
        if place >= self._floor:
            found: list[Event] = []
            for event in reversed(self._tail):
                if event.id <= place:
                    break
                found.append(event)
            return found[::-1][:BATCH]
        async with self._store.read() as tx:
            return await tx.events.after(self._owner, place, limit=BATCH)

    def reset_event(self) -> Event:
        """What a follower that may have missed something is sent."""
        return Event(self._head, RESET, self._clock.now(), self._owner)


class Follower:
    """One who follows; used as a context manager, so that the poller knows when nobody is left."""

    def __init__(self, feed: EventFeed, place: int) -> None:
        self._feed = feed
        self._era = feed.era
        self._gone = False
        self.place = place
        """Id of the last event that was given out."""

    def reset(self) -> None:
        """Begin with a reset."""
        self._era = -1

    async def next(self, *, wait_s: float) -> Sequence[Event] | None:
        """The next events, waited for at most so long (then none); None once the feed has ended. May raise StoreError."""
        feed = self._feed
        news = feed.news
        found = await self._take()
        if found or feed.closed:
            return found or None
        try:
            await asyncio.wait_for(news.wait(), wait_s)
        except (asyncio.TimeoutError, TimeoutError):
            return ()
        return await self._take() or (None if feed.closed else ())

    async def _take(self) -> Sequence[Event]:
        feed = self._feed
        if self._era != feed.era:
            self._era = feed.era
            found: Sequence[Event] = (feed.reset_event(),)
        else:
            found = await feed.after(self.place)
        if found:
            self.place = found[-1].id
        return found

    def close(self) -> None:
        """Follow no more. Repeatable."""
        if not self._gone:
            self._gone = True
            self._feed.left()

    def __enter__(self) -> Follower:  # noqa: PYI034 - typing.Self is not in Python 3.10
        """Follow."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Follow no more."""
        self.close()


async def events_of(feed: EventFeed, after: int | None, *, wait_s: float = 60.0) -> AsyncIterator[Event]:
    """The events as an iterator without end; it ends with the feed."""
    with await feed.follow(after) as follower:
        while (found := await follower.next(wait_s=wait_s)) is not None:
            for event in found:
                yield event
