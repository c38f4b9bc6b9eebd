"""Notices that the network of this computer has changed, or that it slept: then what was given up is worth a try."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from jupyter_rmx.clock import Clock, SystemClock

EVERY_S = 3.0
ASLEEP_S = 15.0
"""A gap between two looks that is longer by so much means that we slept; a busy computer is not so late."""


def local_addresses() -> frozenset[str]:
    """The addresses under which others can reach us; loopback and link-local ones say nothing about a network."""
    import ipaddress
    import socket

    import psutil

    found = set()
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family in {socket.AF_INET, socket.AF_INET6}:
                address = ipaddress.ip_address(one.address.partition("%")[0])
                if not address.is_loopback and not address.is_link_local:
                    found.add(str(address))
    return frozenset(found)


async def watch_network(
    changed: Callable[[], None],
    *,
    addresses: Callable[[], frozenset[str]] = local_addresses,
    clock: Clock | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `changed` after each change, until cancelled; give it `TransportPool.rearm_all`.

    A network that went away is no reason to try; one that came, or another one, is. Sleep shows as a gap in the wall
    clock, which goes on while the monotonic one may stand still.
    """
    clock = clock or SystemClock()
    known, wall, steady = addresses(), clock.now(), clock.monotonic()
    while True:
        await sleep(EVERY_S)
        now, then = addresses(), known
        wall_before, steady_before = wall, steady
        known, wall, steady = now, clock.now(), clock.monotonic()
        gap = max((wall - wall_before).total_seconds(), steady - steady_before)
        if gap > EVERY_S + ASLEEP_S or now - then:
            changed()
