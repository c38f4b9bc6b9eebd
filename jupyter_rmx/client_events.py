"""Following events over HTTP (server-sent events; source: HTML Living Standard § 9.2)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from jupyter_rmx.client_exec import refused, server_gone
from jupyter_rmx.models import Event

if TYPE_CHECKING:
    import httpx

CONNECT_S = 10.0
QUIET_S = 45.0
"""A server that says nothing for so long, not even that it is there (every 15 s), is gone."""
GIVE_UP_S = 30.0
"""How long a server that does not answer is tried again; after that, whoever follows must find the one that runs now."""
RETRY_S = 1.0


async def follow_events(
    client: Callable[[], httpx.AsyncClient], path: str, after: int | None
) -> AsyncIterator[Event]:
    """Events from now on, or after that id, without end.

    A broken link is made again and goes on after the last event. Raises what the server refuses with, and
    TransportError `ssh_server_gone` for one that stays away.
    """
    import httpx

    place = _Place(after)
    last_seen = time.monotonic()
    while True:
        try:
            async for event in _one_link(client(), path, place):
                last_seen = time.monotonic()
                if event is not None:
                    yield event
        except httpx.HTTPError as error:
            if time.monotonic() - last_seen > GIVE_UP_S:
                raise server_gone(error) from error
        await asyncio.sleep(RETRY_S)


class _Place:
    """The id after which to go on."""

    def __init__(self, last: int | None) -> None:
        self.last = last


async def _one_link(client: httpx.AsyncClient, path: str, place: _Place) -> AsyncIterator[Event | None]:
    """What comes over one connection; None for signs of life."""
    import httpx

    headers = {"Last-Event-ID": str(place.last)} if place.last is not None else {}
    timeout = httpx.Timeout(QUIET_S, connect=CONNECT_S)
    async with client.stream("GET", path, headers=headers, timeout=timeout) as response:
        if response.status_code != 200:
            raise refused(_json(await response.aread()), response.status_code)
        yield None
        data: list[str] = []
        async for line in response.aiter_lines():
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "id" and value.isdigit():
                place.last = int(value)
            elif field == "data":
                data.append(value)
            elif not line:
                yield Event.from_wire(json.loads("\n".join(data))) if data else None
                data = []


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
