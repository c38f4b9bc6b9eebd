"""The pool on a real OpenSSH server: what is broken, refused, silent or gone, and that all is well afterwards.

Time of the pool is moved by hand; what the network does is real.
"""

import asyncio
import contextlib
import dataclasses
import shutil
import socket
from datetime import datetime, timedelta, timezone

import asyncssh
import psutil
import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import ExecSpec, Output, PtySpec, TcpTarget
from jupyter_rmx.testing.relay import Fault, FaultRelay
from jupyter_rmx.transports import ssh
from jupyter_rmx.transports.pool import TransportPool
from jupyter_rmx.transports.watch import watch_network
from tests.first.transports.cuts import FAIL_SAFE_S, Residue, endpoint_of
from tests.lines import HandTiming
from tests.own_host import OwnHost


@pytest.fixture(scope="module")
def host():
    made = OwnHost()
    yield made
    made.finish()


class Bench:
    """A pool and a relay before a host, with one kept key."""

    def __init__(self, host, relay):
        self.host, self.relay = host, relay
        self.timing = HandTiming()
        self.told = []
        self._changed = asyncio.Event()
        self.pool = TransportPool(timing=self.timing, idle_s=600, on_state=self._tell)
        self.endpoint = endpoint_of(host, relay.port)
        self.pool.keep("k", self.open)

    def _tell(self, key, state):
        self.told.append(state)
        self._changed.set()

    async def open(self):
        return await ssh.connect(self.endpoint, key="k")

    async def get(self):
        return await asyncio.wait_for(self.pool.get("k", self.open), FAIL_SAFE_S)

    async def fails(self):
        """The error of a get: one clear line, and what to do."""
        with pytest.raises(TransportError) as caught:
            await self.get()
        assert caught.value.hint
        assert "\n" not in str(caught.value)
        return caught.value.code

    async def works(self):
        """A command gives what it should."""
        transport = await self.get()
        process = await transport.run(ExecSpec("seq 1 1000"))
        output = b"".join([event.data async for event in process.events() if isinstance(event, Output)])
        assert output == "".join(f"{number}\n" for number in range(1, 1001)).encode()

    async def until(self, *statuses):
        """Wait until the connection is in one of these states."""

        async def wait():
            while self.state.status not in statuses:
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), FAIL_SAFE_S)
        return self.state

    async def next_try(self):
        """Let the time until the next try pass, and wait for what comes of it."""
        assert self.state.status == "reconnecting"
        self.timing.advance(self.state.next_in_s)
        await self.ended_try()

    async def ended_try(self):
        async def wait():
            while self.state.next_in_s == 0.0 or self.state.status == "connecting":
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), FAIL_SAFE_S)

    @property
    def state(self):
        return self.pool.state("k")


@pytest.fixture
def bench(host, jp_asyncio_loop):
    async def make():
        return Bench(host, await FaultRelay("127.0.0.1", host.port).start())

    async def end():
        await made.pool.aclose()
        await made.relay.aclose()

    made = jp_asyncio_loop.run_until_complete(make())
    yield made
    jp_asyncio_loop.run_until_complete(end())


async def _endless(transport):
    """A command that prints for ever, and its output from the first on."""
    process = await transport.run(ExecSpec("yes"))
    events = process.events()
    assert isinstance(await events.__anext__(), Output)
    return events


async def _breaks(events):
    async def read():
        async for _ in events:
            pass

    with pytest.raises(TransportError) as caught:
        await asyncio.wait_for(read(), FAIL_SAFE_S)
    return caught.value.code


def _sessions(host):
    return psutil.Process(host.process.pid).children(recursive=True)


async def test_twenty_who_ask_share_one_connection(bench):
    got = await asyncio.gather(*(bench.get() for _ in range(20)))
    assert len(set(got)) == 1
    assert len(bench.relay.connections) == 1
    await bench.works()


async def test_a_server_killed_in_mid_stream_and_started_again(bench, host):
    events = await _endless(await bench.get())
    sessions = _sessions(host)
    host.process.kill()
    host.process.wait()
    for session in sessions:
        with contextlib.suppress(psutil.NoSuchProcess):
            session.kill()
    try:
        assert await _breaks(events) == "ssh_connection_lost"
        await bench.until("reconnecting")
        await bench.next_try()
        assert (bench.state.status, bench.state.attempt) == ("reconnecting", 2)
        assert bench.state.reason
        assert bench.state.hint
    finally:
        host.start()
    await bench.next_try()
    assert bench.state.status == "ready"
    await bench.works()


async def test_a_server_that_stays_away_is_parked_and_use_brings_it_back(bench, host):
    await bench.get()
    bench.relay.stop_listening()
    bench.relay.reset()
    await bench.until("reconnecting")
    for _ in range(3):
        await bench.next_try()
    assert (bench.state.status, bench.state.code) == ("blocked", "ssh_refused")
    assert bench.timing.waiting == []
    assert await bench.fails() == "ssh_refused"
    await bench.relay.start()
    await bench.works()
    assert bench.state.status == "ready"


async def test_a_silent_peer_is_given_up_and_comes_back(bench, monkeypatch):
    """The figure (within 15 s) is three keep-alives: test_ssh_link has the sum; here it is their order."""
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 0.5)
    transport = await bench.get()
    events = await _endless(transport)
    bench.relay.stall()
    assert await _breaks(events) == "ssh_connection_lost"
    assert transport.state == "closed"
    assert (await bench.until("reconnecting")).attempt == 1
    await bench.next_try()
    assert bench.state.status == "ready"
    await bench.works()


async def test_a_laptop_that_slept(bench, monkeypatch):
    """While it sleeps the peer is silent and new connections get no answer; on waking up all that is tried anew."""
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 0.5)
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.5)
    events = await _endless(await bench.get())
    bench.relay.stall()
    bench.relay.plan_all(Fault("mute"))
    assert await _breaks(events) == "ssh_connection_lost"
    await bench.until("reconnecting")
    for _ in range(3):
        await bench.next_try()
    assert (bench.state.status, bench.state.code) == ("blocked", "ssh_timeout")
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 15.0)
    bench.relay.plan_all(None)
    awake = asyncio.Event()
    clock = _Clock()

    async def sleep(seconds):
        if clock.slept:
            await asyncio.Event().wait()
        await awake.wait()
        clock.slept = True

    watching = asyncio.create_task(
        watch_network(
            bench.pool.rearm_all, clock=clock, sleep=sleep, addresses=lambda: frozenset({"10.0.0.2"})
        )
    )
    awake.set()
    await bench.until("ready")
    await bench.works()
    watching.cancel()
    await asyncio.wait([watching])


class _Clock:
    """Its wall shows an hour more once we slept; the monotonic one stood still."""

    slept = False

    def now(self):
        return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(hours=int(self.slept))

    def monotonic(self):
        return 5.0


async def test_a_server_that_accepts_and_says_nothing(bench, monkeypatch):
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.5)
    bench.relay.plan(Fault("mute"))
    assert await bench.fails() == "ssh_timeout"
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 15.0)
    await bench.works()


async def _loiter(host):
    """A connection that has not logged in, and that the server has let in at the door."""
    loop = asyncio.get_running_loop()
    while True:
        loiterer = socket.create_connection(("127.0.0.1", host.port))
        loiterer.setblocking(False)
        if await loop.sock_recv(loiterer, 3) == b"SSH":
            return loiterer
        loiterer.close()  # the look whether the server answers is still counted
        await asyncio.sleep(0.02)


@pytest.fixture
def narrow_door(host):
    """At most two may be about to log in."""
    config = host.folder / "sshd_config"
    before = config.read_text()
    for text in (f"{before}MaxStartups 2\n", before):
        host.stop()
        config.write_text(text)
        host.start()
        if text != before:
            yield


async def test_a_server_with_too_many_at_the_door(narrow_door, bench, host):
    """MaxStartups: sshd hangs up on those who come while too many have not logged in yet."""
    loiterers = [await asyncio.wait_for(_loiter(host), FAIL_SAFE_S) for _ in range(2)]
    try:
        assert await bench.fails() == "ssh_unreachable"
        assert bench.state.status == "reconnecting"
    finally:
        for loiterer in loiterers:
            loiterer.close()
    await asyncio.wait_for(_until(lambda: not _sessions(host)), FAIL_SAFE_S)
    await bench.next_try()
    assert bench.state.status == "ready"
    await bench.works()


async def test_a_changed_host_key_parks_at_once(bench, host):
    await bench.get()
    right = bench.endpoint
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    bench.endpoint = dataclasses.replace(right, host_key=other)
    bench.relay.cut()
    await bench.until("reconnecting")
    await bench.next_try()
    assert (bench.state.status, bench.state.code) == ("blocked", "ssh_host_key_changed")
    made = len(bench.relay.connections)
    bench.timing.advance(1e6)
    assert await bench.fails() == "ssh_host_key_changed"
    assert len(bench.relay.connections) == made + 1
    bench.endpoint = right
    bench.pool.rearm("k")
    await bench.until("ready")
    await bench.works()


async def test_a_key_that_is_not_accepted_parks_at_once(bench):
    right = bench.endpoint
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    bench.endpoint = dataclasses.replace(right, client_key=other)
    assert await bench.fails() == "ssh_auth_failed"
    assert bench.state.status == "blocked"
    assert bench.timing.waiting == []
    bench.endpoint = right
    await bench.works()


async def test_rm_of_the_socket_directory(host, tmp_path):
    """What is open goes on; what is new gets one clear line; when the socket is back all works again."""
    folder = tmp_path / "sockets"
    folder.mkdir()
    path = str(folder / "s")
    relay = await FaultRelay("127.0.0.1", host.port, listen=path).start()
    bench = Bench(host, relay)
    bench.endpoint = dataclasses.replace(bench.endpoint, unix_path=path)
    await bench.works()
    shutil.rmtree(folder)
    await bench.works()
    relay.cut()
    await bench.until("reconnecting")
    assert await bench.fails() == "ssh_unreachable"
    relay.stop_listening()
    folder.mkdir()
    await relay.start()
    await bench.works()
    await bench.pool.aclose()
    await relay.aclose()


@pytest.mark.parametrize("what", ["command", "terminal", "stream", "copy"])
async def test_what_is_open_keeps_the_connection_open(bench, host, what, tmp_path):
    residue = Residue(host)
    transport = await bench.get()
    async with _opened(transport, what, tmp_path, host):
        assert transport.in_use
        bench.timing.advance(6000)
        assert bench.pool.keys() == ["k"]
    await asyncio.wait_for(_until(lambda: not transport.in_use), FAIL_SAFE_S)
    bench.timing.advance(60)  # the end of use is seen
    bench.timing.advance(599)
    assert bench.pool.keys() == ["k"]
    bench.timing.advance(1)
    assert bench.state.status == "idle"
    await residue.assert_none()
    await bench.works()  # and it is opened anew when it is wanted


@contextlib.asynccontextmanager
async def _opened(transport, what, folder, host):
    if what == "copy":
        go, begun = asyncio.Event(), asyncio.Event()

        async def chunks():
            begun.set()
            await go.wait()
            yield b"x"

        copying = asyncio.create_task(transport.files().put(str(folder / "f"), chunks(), size=1))
        await asyncio.wait_for(begun.wait(), FAIL_SAFE_S)
        try:
            yield
        finally:
            go.set()
            await copying
        return
    if what == "command":
        opened = await transport.run(ExecSpec("cat", stdin_open=True))
    elif what == "terminal":
        opened = await transport.pty(PtySpec())
    else:
        opened = await transport.dial(TcpTarget(host.port))
    try:
        yield
    finally:
        await opened.aclose()


async def _until(condition):
    while not condition():
        await asyncio.sleep(0.01)


async def test_attempts_that_are_given_up_leave_nothing(bench, host):
    """Dropped at any moment of the way: before the greeting, in the key exchange, at the log-in, when ready."""
    residue = Residue(host)
    for number in range(40):
        waiting = asyncio.create_task(bench.get())
        for _ in range(number * 3):
            await asyncio.sleep(0)
        await bench.pool.drop("k")
        with contextlib.suppress(TransportError):
            await waiting
    for after_bytes in range(0, 4000, 200):
        bench.relay.plan(Fault("stall", after_bytes=after_bytes, direction="down"))
        waiting = asyncio.create_task(bench.get())
        while len(bench.relay.open_connections) == 0 and not waiting.done():
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        await bench.pool.drop("k")
        with contextlib.suppress(TransportError):
            await waiting
        bench.relay.reset()
    await residue.assert_none()
    await bench.works()
