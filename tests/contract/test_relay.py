"""The fault relay does what it is told at the byte it is told, and leaves nothing behind."""

import asyncio
import os
import time

import pytest

from jupyter_rmx.testing.relay import READ_SIZE, Fault, FaultRelay

FAIL_SAFE_S = 60


class Server:
    """Says `greeting`, then echoes; at the end of its input it says `tail` and closes."""

    def __init__(self, greeting=b"", tail=b"|end"):
        self.greeting, self.tail = greeting, tail
        self.got = bytearray()
        self.ended = asyncio.Event()
        self.failed = None

    async def __call__(self, reader, writer):
        try:
            writer.write(self.greeting)
            while data := await reader.read(READ_SIZE):
                self.got += data
                writer.write(data)
                await writer.drain()
            writer.write(self.tail)
            await writer.drain()
        except OSError as error:
            self.failed = error
        finally:
            writer.close()
            self.ended.set()


@pytest.fixture
def play(jp_asyncio_loop, tmp_path):
    """Start a server and a relay before it."""
    started = []

    async def begin(handler=None, **options):
        handler = handler or Server()
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        relay = await FaultRelay("127.0.0.1", server.sockets[0].getsockname()[1], **options).start()
        started.append((server, relay))
        return handler, relay

    async def end():
        for server, relay in started:
            await relay.aclose()
            server.close()

    yield begin
    jp_asyncio_loop.run_until_complete(end())


async def _connect(relay):
    return await asyncio.open_connection(relay.host, relay.port)


async def _within(awaitable):
    return await asyncio.wait_for(awaitable, FAIL_SAFE_S)


async def _read_all(reader):
    """All that comes, and how it ended."""
    data = bytearray()
    try:
        while more := await _within(reader.read(READ_SIZE)):
            data += more
    except ConnectionResetError:
        return bytes(data), "reset"
    return bytes(data), "end"


async def test_without_a_plan_all_is_carried_and_half_close_too(play):
    server, relay = await play()
    reader, writer = await _connect(relay)
    sent = os.urandom(3 * 1024 * 1024)

    async def send():
        writer.write(sent)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    assert await _read_all(reader) == (sent + b"|end", "end")
    await sending
    writer.close()
    assert bytes(server.got) == sent
    (connection,) = relay.connections
    assert (connection.carried("up"), connection.carried("down")) == (len(sent), len(sent) + 4)
    assert connection.fired is None


@pytest.mark.parametrize("count", [0, 1, 4097, 100_000])
@pytest.mark.parametrize("kind", ["cut", "half_close"])
async def test_the_client_gets_exactly_so_many_bytes(play, kind, count):
    greeting = os.urandom(100_001)
    _, relay = await play(Server(greeting))
    relay.plan(Fault(kind, after_bytes=count))
    reader, writer = await _connect(relay)
    assert await _read_all(reader) == (greeting[:count], "end")
    await _within(relay.connections[0].struck())
    assert relay.connections[0].fired == kind
    writer.close()


async def test_a_half_closed_direction_leaves_the_other_open(play):
    server, relay = await play(Server(b"hello"))
    relay.plan(Fault("half_close", after_bytes=5))
    reader, writer = await _connect(relay)
    assert await _read_all(reader) == (b"hello", "end")
    writer.write(b"still heard")
    writer.write_eof()
    await _within(server.ended.wait())
    assert bytes(server.got) == b"still heard"
    writer.close()


@pytest.mark.parametrize("count", [1, 5000])
async def test_the_server_gets_exactly_so_many_bytes(play, count):
    server, relay = await play()
    relay.plan(Fault("cut", after_bytes=count, direction="up"))
    _, writer = await _connect(relay)
    writer.write(b"x" * 6000)
    await _within(server.ended.wait())
    assert len(server.got) == count
    writer.close()


async def test_a_reset_is_one_for_both(play):
    server, relay = await play(Server(b"hello"))
    relay.plan(Fault("reset", after_bytes=5))
    reader, writer = await _connect(relay)
    data, how = await _read_all(reader)
    assert how == "reset"
    assert b"hello".startswith(data)
    await _within(server.ended.wait())
    assert isinstance(server.failed, ConnectionResetError)
    writer.close()


async def test_stalled_nothing_goes_either_way_until_it_is_resumed(play):
    server, relay = await play(Server(b"hello"))
    relay.plan(Fault("stall", after_bytes=3))
    reader, writer = await _connect(relay)
    assert await _within(reader.readexactly(3)) == b"hel"
    await _within(relay.connections[0].struck())
    writer.write(b"x")
    more = asyncio.create_task(reader.read(1))
    other = await _connect(relay)  # one that is not stalled makes the whole way meanwhile
    other[1].write(b"y")
    assert await _within(other[0].readexactly(6)) == b"helloy"
    assert not more.done()
    assert server.got == b"y"
    relay.resume()
    assert await _within(more) == b"l"
    assert await _within(reader.readexactly(2)) == b"ox"
    writer.close()
    other[1].close()


async def test_delay_and_limit_are_kept(play):
    """The least time is the relay's word; the most is the computer's affair."""
    _, relay = await play(Server(b"h" + b"x" * 10_000))
    relay.plan(Fault("delay", after_bytes=1, seconds=0.2), Fault("limit", after_bytes=1, bytes_per_s=50_000))
    for least in (0.2, 10_000 / 50_000):
        reader, writer = await _connect(relay)
        await _within(reader.readexactly(1))
        begun = time.monotonic()
        await _within(reader.readexactly(10_000))
        assert time.monotonic() - begun >= least * 0.99
        writer.close()


async def test_refused_and_mute_never_reach_the_server(play):
    server, relay = await play(Server(b"hello"))
    relay.plan(Fault("refuse"), Fault("mute"))
    reader, writer = await _connect(relay)
    assert (await _read_all(reader))[0] == b""
    writer.close()
    reader, writer = await _connect(relay)
    writer.write(b"anybody there?")
    silence = asyncio.create_task(reader.read(1))
    third = await _connect(relay)
    assert await _within(third[0].readexactly(5)) == b"hello"
    assert not silence.done()
    assert server.got == b""
    silence.cancel()
    writer.close()
    third[1].close()


async def test_a_plan_for_all_holds_until_it_is_taken_back(play):
    _, relay = await play(Server(b"hello"))
    relay.plan_all(Fault("cut", after_bytes=2))
    for expected in (b"he", b"he", b"hello"):
        if expected == b"hello":
            relay.plan_all(None)
        reader, writer = await _connect(relay)
        writer.write_eof()
        assert (await _read_all(reader))[0] == expected + (b"|end" if expected == b"hello" else b"")
        writer.close()


async def test_it_listens_again_where_it_did(play):
    _, relay = await play(Server(b"hello"))
    held = await _connect(relay)
    port = relay.port
    relay.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        await _connect(relay)
    assert await _within(held[0].readexactly(5)) == b"hello"
    await relay.start()
    assert relay.port == port
    again = await _connect(relay)
    assert await _within(again[0].readexactly(5)) == b"hello"
    for _, writer in (held, again):
        writer.close()


async def test_a_unix_socket_before_and_behind(play, tmp_path, jp_asyncio_loop):
    path, front = str(tmp_path / "s"), str(tmp_path / "front")
    server = await asyncio.start_unix_server(Server(b"hello"), path)
    relay = await FaultRelay(path, listen=front).start()
    reader, writer = await asyncio.open_unix_connection(front)
    assert await _within(reader.readexactly(5)) == b"hello"
    relay.reset()
    assert (await _read_all(reader))[0] == b""
    writer.close()
    await relay.aclose()
    server.close()


async def test_nobody_behind_it_is_a_hang_up(play):
    relay = await FaultRelay("127.0.0.1", 1).start()
    reader, writer = await _connect(relay)
    assert (await _read_all(reader))[0] == b""
    writer.close()
    await relay.aclose()


async def test_nothing_is_left(play):
    before = asyncio.all_tasks()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    server, relay = Server(b"hello"), None
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    relay = await FaultRelay("127.0.0.1", listening.sockets[0].getsockname()[1]).start()
    relay.plan(Fault("stall"), Fault("mute"), Fault("delay", seconds=3600), Fault("limit", bytes_per_s=0.001))
    clients = [await _connect(relay) for _ in range(5)]
    await _within(clients[4][0].readexactly(5))
    assert len(relay.open_connections) == 5
    await _within(relay.aclose())
    assert relay.open_connections == []
    for reader, writer in clients:
        await _read_all(reader)
        writer.close()
    listening.close()
    await _within(_until(lambda: asyncio.all_tasks() - {asyncio.current_task()} <= before))
    if descriptors is not None:
        await _within(_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors))


async def _until(condition):
    while not condition():
        await asyncio.sleep(0.01)
