"""What a command over SSH costs, beside OpenSSH's own client on the same server.

Ours is measured at `RemoteMachines.exec` in this process, as in a Jupyter server: a workspace of a real OpenSSH server
on loopback. Ours and the peer take turns in one run. `--json` prints the same table as JSON. Bounds are those of the
issue; they are shown, not asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from jupyter_rmx.bootstrap import build_manager  # noqa: E402 - the tests' servers are found by the line above
from jupyter_rmx.clock import SystemClock  # noqa: E402 - found only after the path is set
from jupyter_rmx.loopback.tickets import Tickets  # noqa: E402 - found only after the path is set
from jupyter_rmx.models import ExecSpec, Output  # noqa: E402 - found only after the path is set
from jupyter_rmx.settings import Settings  # noqa: E402 - found only after the path is set
from tests.login_shells import USER, LoginServer  # noqa: E402 - found only after the path is set

CLIENT = """
Host {name} {name}-kept {name}-first-*
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/{name}.key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    Ciphers {ciphers}
Host {name}-kept
    ControlPath {folder}/{name}.mux
"""
DEFAULT_CIPHERS = "^chacha20-poly1305@openssh.com"
GCM = "aes128-gcm@openssh.com"
STREAM = 256 * 1024**2
AT_ONCE = 16
SLOW_S = 0.09
SLOW_PROFILE = f"sleep {SLOW_S}\n"


@dataclass
class Figure:
    """One row: medians of ours and the peer in `unit`, our 99th of a hundred, and what was promised."""

    name: str
    unit: str
    ours: float
    worst: float
    peer: float
    bound: float
    at_least: bool
    runs: int

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def kept(self) -> bool:
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


def figure(name, unit, pairs, bound, *, at_least=False):
    ours, peer = [mine for mine, _ in pairs], [other for _, other in pairs]
    ranked = sorted(ours, reverse=at_least)
    worst = ranked[min(len(ranked) - 1, round(0.99 * len(ranked)))]
    return Figure(
        name, unit, statistics.median(ours), worst, statistics.median(peer), bound, at_least, len(pairs)
    )


class Peer:
    """OpenSSH's client; `ssh` returns the seconds it took, spawn and all."""

    def __init__(self, folder):
        self.config = folder / "config"
        self._null = os.open(os.devnull, os.O_RDWR)
        self._program = shutil.which("ssh")
        self._actions = [(os.POSIX_SPAWN_DUP2, self._null, number) for number in (0, 1, 2)]

    def spawn(self, *words):
        argv = ["ssh", "-F", str(self.config), *words]
        return os.posix_spawn(self._program, argv, os.environ, file_actions=self._actions)

    def ssh(self, *words):
        start = time.perf_counter()
        status = os.waitpid(self.spawn(*words), 0)[1]
        if status:
            raise RuntimeError(f"ssh {words} ended with {status}")
        return time.perf_counter() - start

    async def keep(self, name):
        """A control master; its process id."""
        master = self.spawn("-M", "-N", f"{name}-kept")
        for _ in range(500):
            with suppress(RuntimeError):
                self.ssh("-O", "check", f"{name}-kept")
                return master
            await asyncio.sleep(0.02)
        raise RuntimeError("the control master does not start")


class World:
    """Servers, the peer, and ours."""

    def __init__(self, folder):
        self.folder = folder
        self.servers = {
            # Sixteen at once: the server's own limit of 10 would make them take turns.
            "clean": LoginServer("/bin/bash", more="MaxSessions 64").start(),
            "gcm": LoginServer("/bin/bash").start(),
            "slow": LoginServer("/bin/bash", {".bashrc": SLOW_PROFILE}).start(),
        }
        self.peer = Peer(folder)
        self.masters = []

    async def start(self):
        text = []
        for name, server in self.servers.items():
            key = self.folder / f"{name}.key"
            key.touch(0o600)
            key.write_text(server.endpoint.client_key)
            with (self.folder / "known_hosts").open("a") as known:
                known.write(f"[127.0.0.1]:{server.endpoint.port} {server.endpoint.host_key.strip()}\n")
            ciphers = GCM if name == "gcm" else DEFAULT_CIPHERS
            values = {"name": name, "port": server.endpoint.port, "user": USER, "folder": self.folder}
            text.append(CLIENT.format(**values, ciphers=ciphers))
        self.peer.config.write_text("".join(text))
        self.masters = [await self.peer.keep(name) for name in self.servers]
        settings = Settings(owner="bench", data_dir=self.folder / "data")
        self.rmx = build_manager(settings, origin="http://localhost:8888", tickets=Tickets(SystemClock()))
        for name in self.servers:
            await self.attach(name)
            await self.run(name, "true")

    async def attach(self, name):
        await self.rmx.attach(f"ssh -F {self.peer.config} {name}", name=name)

    async def run(self, machine, command):
        """Seconds, and bytes of standard output."""
        start, count = time.perf_counter(), 0
        session = await self.rmx.exec(machine, ExecSpec(command))
        async for event in session:
            if isinstance(event, Output):
                count += len(event.data)
        took = time.perf_counter() - start
        await session.aclose()
        return took, count

    async def aclose(self):
        for master in self.masters:
            os.kill(master, 15)
            os.waitpid(master, 0)
        await self.rmx.aclose()
        for server in self.servers.values():
            server.stop()


async def bench_true(world, name, runs):
    pairs = []
    for _ in range(runs):
        ours = (await world.run(name, "true"))[0]
        pairs.append((ours * 1e3, world.peer.ssh(f"{name}-kept", "true") * 1e3))
    return pairs


async def bench_at_once(world, runs):
    """Ours by sixteen at once, for each; the peer one after the other, as its own best case for one."""
    pairs = []
    for _ in range(runs):
        start = time.perf_counter()
        await asyncio.gather(*(world.run("clean", "true") for _ in range(AT_ONCE)))
        ours = (time.perf_counter() - start) / AT_ONCE
        pairs.append((ours * 1e3, world.peer.ssh("clean-kept", "true") * 1e3))
    return pairs


async def bench_first(world, runs):
    """A workspace nobody has connected to yet, its first command; beside a new ssh."""
    pairs = []
    for number in range(runs):
        name = f"clean-first-{number}"
        start = time.perf_counter()
        await world.attach(name)
        await world.run(name, "true")
        ours = time.perf_counter() - start
        await world.rmx.detach(name)
        pairs.append((ours * 1e3, world.peer.ssh("clean", "true") * 1e3))
    return pairs


async def bench_stream(world, runs):
    pairs = []
    command = f"head -c {STREAM} /dev/zero"
    for _ in range(runs):
        took, count = await world.run("gcm", command)
        if count != STREAM:
            raise RuntimeError(f"{count} bytes came")
        pairs.append((STREAM / took / 1e6, STREAM / world.peer.ssh("gcm-kept", command) / 1e6))
    return pairs


async def measure(world, runs):
    kept, slow = await bench_true(world, "clean", runs * 10), await bench_true(world, "slow", runs)
    return [
        figure("true, kept connection, beside a ControlMaster", "ms", kept, 0.45),
        figure(f"true, {AT_ONCE} at once, each", "ms", await bench_at_once(world, runs), 0.2),
        figure("first command on a new host, beside a new ssh", "ms", await bench_first(world, runs), 0.6),
        figure(
            "256 MiB of output, beside ssh -c aes128-gcm",
            "MB/s",
            await bench_stream(world, runs),
            1.2,
            at_least=True,
        ),
        figure(f"true, profile of {SLOW_S * 1e3:g} ms, beside a ControlMaster", "ms", slow, 1.0),
    ]


def show(figures):
    print(f"{'':52}{'median':>9}{'p99':>9}{'peer':>9}{'':6}{'ratio':>7}  promised")
    for row in figures:
        promised = f"{'>=' if row.at_least else '<='} {row.bound:g}x"
        values = f"{row.ours:9.2f}{row.worst:9.2f}{row.peer:9.2f} {row.unit:5}{row.ratio:6.2f}x"
        print(f"{row.name:52}{values}  {promised}{'' if row.kept else '  MISSED'}")


async def bench(runs):
    with tempfile.TemporaryDirectory(prefix="rmx-bench-") as name:
        world = World(Path(name))
        try:
            await world.start()
            return await measure(world, runs)
        finally:
            await world.aclose()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--runs", type=int, default=15, help="counted turns of each (default 15)")
    given = parser.parse_args()
    figures = asyncio.run(bench(given.runs))
    if given.json:
        rows = [asdict(row) | {"ratio": row.ratio, "kept": row.kept} for row in figures]
        print(json.dumps(rows, indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
