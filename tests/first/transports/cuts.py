"""One seeded story of a bad network: work over a pool and a relay that breaks, and what must hold after it."""

import asyncio
import dataclasses
import os
import random
import time

import psutil

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import ExecSpec, Exit, Output, SSHEndpoint, SSHTarget
from jupyter_rmx.settings import Settings
from jupyter_rmx.testing.relay import Fault, FaultRelay
from jupyter_rmx.transports.pool import TransportPool
from jupyter_rmx.transports.reconnect import ReconnectRules
from jupyter_rmx.transports.ssh import connect
from jupyter_rmx.transports.ssh_target import connect_target

FAIL_SAFE_S = 90
HARMLESS = {None, "delay", "limit"}


def endpoint_of(host, port=None):
    """`OwnHost` as an endpoint, behind a relay's port if one is given."""
    return SSHEndpoint(
        username=psutil.Process().username(),
        host_key=(host.folder / "host_key.pub").read_text(),
        host="127.0.0.1",
        port=port or host.port,
        client_key=(host.folder / "open").read_text(),
    )


@dataclasses.dataclass
class Work:
    """A command, and all that it says if nothing breaks."""

    command: str
    stdin: bytes
    stdout: bytes
    stderr: bytes
    exit: Exit


def numbers(last):
    return "".join(f"{number}\n" for number in range(1, last + 1)).encode()


def works(rng):
    """Three commands: they print on both streams, echo their input, and end by themselves with a code."""
    big, small = int(10 ** rng.uniform(0, 5.2)), int(10 ** rng.uniform(0, 4))
    echoed = rng.randbytes(int(10 ** rng.uniform(0, 6)))
    code = rng.randrange(256)
    return [
        Work(
            f"seq 1 {big}; seq 1 {small} >&2; exit {code}", b"", numbers(big), numbers(small), Exit(code=code)
        ),
        Work("cat", echoed, echoed, b"", Exit(code=0)),
        Work("seq 1 100 >&2; kill -TERM $$", b"", b"", numbers(100), Exit(signal="TERM")),
    ]


KINDS = [
    *("cut", "reset", "stall", "cut", "reset", "half_close"),
    *("cut", "reset", "limit", "mute", "delay", "refuse"),
]
LOG_IN = 5000
"""Bytes each way, roughly, until a connection is ready."""


def fault_of(kind, rng, up, down):
    """A fault in the greeting, the key exchange or the log-in, or (mostly) among the bytes of the work."""
    direction = rng.choice(["up", "down"])
    work = up if direction == "up" else down
    return Fault(
        kind,
        after_bytes=rng.randrange(LOG_IN) if rng.random() < 0.3 else LOG_IN + rng.randrange(work),
        direction=direction,
        seconds=rng.uniform(0, 0.01),
        bytes_per_s=10 ** rng.uniform(6, 7.5),
    )


class Story:
    """The parts of one seed; `folder` holds what it writes."""

    def __init__(self, host, seed, folder):
        self.rng = random.Random(seed)
        self.host = host
        self.folder = folder
        self.is_workspace = seed // len(KINDS) % 2 == 1
        self.works = works(self.rng)
        self.copied = self.rng.randbytes(int(10 ** self.rng.uniform(0, 6)))
        up = len(self.copied) + sum(len(work.stdin) for work in self.works)
        down = sum(len(work.stdout) + len(work.stderr) for work in self.works)
        self.fault = fault_of(KINDS[seed % len(KINDS)], self.rng, up, down)
        self.relay = FaultRelay("127.0.0.1", host.port)
        self.pool = TransportPool(ReconnectRules(delay_s=0.05))
        self.told = []
        self.pool.on_state = lambda key, state: self.told.append(state)

    async def open(self):
        """Connect as to a VM, or as to a host of the user's own."""
        if not self.is_workspace:
            return await connect(endpoint_of(self.host, self.relay.port), key="k")
        target = SSHTarget(
            "127.0.0.1",
            port=self.relay.port,
            identity_files=(str(self.host.folder / "open"),),
            config_file="/dev/null",
            options=(
                *("IdentitiesOnly=yes", "ConnectTimeout=5", "ServerAliveInterval=1", "ServerAliveCountMax=4"),
                f"UserKnownHostsFile={self.folder}/known_hosts",
            ),
        )
        return await connect_target(target, key="k", settings=Settings(data_dir=self.folder))

    async def work(self, work):
        """Do it; what came is exactly right, or its beginning and an error of ours."""
        got = {"stdout": bytearray(), "stderr": bytearray()}
        ending = None
        try:
            transport = await self.pool.get("k", self.open)
            process = await transport.run(ExecSpec(work.command, stdin_open=True))
            feeding = asyncio.create_task(_feed(process, work.stdin))
            try:
                async for event in process.events():
                    if isinstance(event, Output):
                        got[event.stream] += event.data
                    else:
                        ending = event
            finally:
                feeding.cancel()
                await asyncio.wait([feeding])
                await process.aclose()
        except RmxError as error:
            assert error.code.startswith("ssh_"), error
            assert error.hint, error
            assert "\n" not in str(error), error
            assert work.stdout.startswith(got["stdout"])
            assert work.stderr.startswith(got["stderr"])
            assert ending is None
            return error
        assert (bytes(got["stdout"]), bytes(got["stderr"])) == (work.stdout, work.stderr)
        assert ending == work.exit
        return None

    async def copy(self, path, content):
        """Upload; the file is whole there, or it is not there and there is an error of ours."""

        async def chunks():
            for start in range(0, len(content), 40_000):
                yield content[start : start + 40_000]

        try:
            transport = await self.pool.get("k", self.open)
            await transport.files().put(str(path), chunks(), size=len(content))
        except RmxError as error:
            assert error.hint, error
            # The rename may have been done, and only its answer lost.
            assert not path.exists() or path.read_bytes() == content
            return error
        assert path.read_bytes() == content
        return None

    async def play(self):
        """Work while the network breaks; then the next command works, and all is closed."""
        await self.relay.start()
        self.relay.plan(self.fault)
        if self.rng.random() < 0.5:
            self.pool.keep("k", self.open)
        errors = await asyncio.gather(
            *(self.work(work) for work in self.works), self.copy(self.folder / "copied", self.copied)
        )
        fired = self.relay.connections[0].fired
        if fired in HARMLESS:
            assert errors == [None] * 4
        for work in (*self.works, Work("echo next", b"", b"next\n", b"", Exit(code=0))):
            assert await self.work(work) is None  # the next command works
        assert len(self.pool.keys()) == 1
        assert self.told[-1].status == "ready"
        await self.pool.aclose()
        await self.relay.aclose()
        return fired


async def _feed(process, data):
    """Input to its end; that the link breaks under it is told by the output."""
    try:
        for start in range(0, len(data), 30_000):
            await process.write(data[start : start + 30_000])
        await process.write_eof()
    except RmxError:
        return


class Residue:
    """What a story may leave behind: nothing."""

    def __init__(self, host):
        self._server = psutil.Process(host.process.pid)
        self._before = self._now()

    def _now(self):
        me = psutil.Process()
        tasks = len(asyncio.all_tasks())
        return tasks, me.num_fds(), len(self._server.children(recursive=True))

    async def assert_none(self):
        """The server's side ends by itself; it is waited for."""
        deadline = time.monotonic() + FAIL_SAFE_S
        while any(now > before for now, before in zip(self._now(), self._before, strict=True)):
            assert time.monotonic() < deadline, (self._now(), self._before, asyncio.all_tasks())
            await asyncio.sleep(0.02)


def seeds(count, many):
    """The same `count` in each run; with RMX_SOAK=1 `many` new ones, which stand in the names of the tests."""
    if os.environ.get("RMX_SOAK"):
        return [random.SystemRandom().randrange(2**32) for _ in range(many)]
    return list(range(count))
