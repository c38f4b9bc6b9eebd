"""`events`: what happens, as server-sent events (source: HTML Living Standard § 9.2)."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import iostream, web

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import Event
from jupyter_rmx.server.requests import VMRequestHandler, bad_field

if TYPE_CHECKING:
    from jupyter_rmx.control.feed import Follower

KEEP_ALIVE_S = 15.0
RETRY_MS = 1000
_ID = re.compile(r"[0-9]{1,18}", re.ASCII)


class EventsHandler(VMRequestHandler):
    """`events`. What a slow reader has not taken stays in the table: here is one batch of it at most."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Tell what happens from now on, or after `Last-Event-ID`, until the client goes away or the server stops."""
        follower = await self.rmx.follow(self._last_id())
        self._telling = asyncio.ensure_future(self._tell(follower))
        try:
            await asyncio.wait({self._telling})
        finally:
            follower.close()
            self._telling.cancel()
        if not self._telling.cancelled() and self._telling.exception() is None:
            self.finish()

    def _last_id(self) -> int | None:
        value = self.request.headers.get("Last-Event-ID", "").strip() or self.get_query_argument(
            "last_event_id", ""
        )
        if value and _ID.fullmatch(value) is None:
            raise bad_field("last_event_id", "The id of an event is a whole number.")
        return int(value) if value else None

    async def _tell(self, follower: Follower) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")
        # The place where it begins, so that a client that is cut off before the first event goes on from there.
        self.write(f"retry: {RETRY_MS}\nid: {follower.place}\n\n")
        try:
            await self.flush()
            while (events := await follower.next(wait_s=KEEP_ALIVE_S)) is not None:
                self.write("".join(map(_block, events)) or ": still here\n\n")
                # Waits until the client has taken it.
                await self.flush()
        except iostream.StreamClosedError:
            pass
        except RmxError as error:
            # The headers are out; the client comes again, and is then told.
            self.log.info("events: %s", error)

    def on_connection_close(self) -> None:
        """The client is gone."""
        super().on_connection_close()
        if hasattr(self, "_telling"):
            self._telling.cancel()


def _block(event: Event) -> str:
    return f"id: {event.id}\nevent: {event.type}\ndata: {json.dumps(event.to_wire())}\n\n"
