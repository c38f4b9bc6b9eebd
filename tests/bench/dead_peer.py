"""How long until a peer that went silent is given up, with the settings that ship: at most 15 s.

A real OpenSSH server behind the fault relay; the relay stalls in mid-stream, and once while nothing runs.
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import ExecSpec
from jupyter_rmx.testing.relay import FaultRelay
from jupyter_rmx.transports.ssh import connect
from tests.first.transports.cuts import endpoint_of
from tests.own_host import OwnHost

MOST_S = 15.0


async def _one(host, command):
    relay = await FaultRelay("127.0.0.1", host.port).start()
    transport = await connect(endpoint_of(host, relay.port), key="k")
    gone = asyncio.Event()
    transport.on_closed(gone.set)
    process = await transport.run(ExecSpec(command))
    events = process.events()
    if command == "yes":
        await events.__anext__()
    else:
        await asyncio.sleep(1)
    relay.stall()
    begun = time.monotonic()
    try:
        async for _ in events:
            pass
    except TransportError:
        await gone.wait()
    took = time.monotonic() - begun
    await relay.aclose()
    return took


async def _measure():
    host = OwnHost()
    try:
        return dict(
            zip(
                ("streaming", "quiet"),
                await asyncio.gather(_one(host, "yes"), _one(host, "sleep 600")),
                strict=True,
            )
        )
    finally:
        host.finish()


def main():
    took = asyncio.run(_measure())
    for what, seconds in took.items():
        print(f"silent peer, {what}: given up after {seconds:.1f} s (at most {MOST_S:.0f} s)")
    return int(max(took.values()) > MOST_S)


if __name__ == "__main__":
    sys.exit(main())
