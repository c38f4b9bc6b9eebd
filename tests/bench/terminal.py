"""What a key costs in a terminal tab: from the tab's message to its echo, quiet and beside a stream of 100 MB.

Server side: `type` of the room that the WebSocket calls, to `take` of what it sends. The stream is a command on the same
connection to a real OpenSSH server, read as fast as it comes. Rounds of both are interleaved in one run; `--json` prints
the table as JSON. Bounds are shown, not asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from jupyter_rmx.clock import SystemClock  # noqa: E402 - the tests' server is found by the line above
from jupyter_rmx.models import ExecSpec, Output  # noqa: E402 - found only after the path is set
from jupyter_rmx.terminals.hub import Terminals  # noqa: E402 - found only after the path is set
from jupyter_rmx.terminals.terminal import Place  # noqa: E402 - found only after the path is set
from jupyter_rmx.transports.ssh import connect  # noqa: E402 - found only after the path is set
from tests.terminal_host import TerminalHost  # noqa: E402 - found only after the path is set

KEYS = 40
GAP_S = 0.01
PROMISED_MS = 10.0
STREAM = "while :; do head -c 100000000 /dev/zero; done"


class One:
    """One machine and its one connection (`terminals.hub.Machines`)."""

    def __init__(self, transport):
        self.transport = transport

    async def find(self, machine):
        return Place("ws_bench", machine)

    async def connect(self, machine_id, *, wake):
        return self.transport


@asynccontextmanager
async def our_stream(transport, rates):
    """The stream, read as it comes; appends its MB/s to `rates`."""
    process = await transport.run(ExecSpec(STREAM))
    flowing, count = asyncio.Event(), 0

    async def read():
        nonlocal count
        async for event in process.events():
            if isinstance(event, Output):
                count += len(event.data)
                flowing.set()

    task = asyncio.ensure_future(read())
    await flowing.wait()
    begun, before = time.perf_counter(), count
    try:
        yield
    finally:
        rates.append((count - before) / (time.perf_counter() - begun) / 1e6)
        await process.aclose()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def our_keys(terminal, view):
    """Milliseconds from key to echo."""
    took = []
    for _ in range(KEYS):
        await asyncio.sleep(GAP_S)
        begun = time.perf_counter()
        await terminal.type(view, "x")
        while "x" not in (await view.take()):
            pass
        took.append((time.perf_counter() - begun) * 1000)
    await terminal.type(view, "\x15")
    return took


async def measure(host, rounds):
    """Samples by row, and the streams' rates."""
    transport = await connect(host.endpoint, key="bench")
    terminals = Terminals(One(transport), SystemClock())
    terminal = await terminals.open("bench")
    view = terminal.attach()
    view.resize(120, 40)
    shown = ""
    while "> " not in shown:
        shown += await view.take()
    samples = {"quiet": [], "beside 100 MB": []}
    rates: list[float] = []
    try:
        for _ in range(rounds):
            samples["quiet"].extend(await our_keys(terminal, view))
            async with our_stream(transport, rates):
                samples["beside 100 MB"].extend(await our_keys(terminal, view))
    finally:
        await terminals.aclose()
        await transport.aclose()
    return samples, rates


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    host = TerminalHost().start()
    try:
        samples, rates = asyncio.run(measure(host, args.rounds))
    finally:
        host.stop()
    rows = [
        {
            "figure": f"keystroke echo, {name}",
            "p50_ms": statistics.median(took),
            "p99_ms": statistics.quantiles(took, n=100)[98],
            "promised_p99_ms": PROMISED_MS,
            "kept": statistics.quantiles(took, n=100)[98] < PROMISED_MS,
        }
        for name, took in samples.items()
    ]
    if args.json:
        print(json.dumps({"rows": rows, "stream_mb_s": statistics.median(rates)}, indent=2))
        return
    print(f"{'':34}{'p50 ms':>8}{'p99 ms':>8}")
    for row in rows:
        kept = "kept" if row["kept"] else "MISSED"
        print(
            f"{row['figure']:34}{row['p50_ms']:8.2f}{row['p99_ms']:8.2f}   {kept}: p99 < {PROMISED_MS:g} ms"
        )
    print(f"The stream: {statistics.median(rates):.0f} MB/s")


if __name__ == "__main__":
    main()
