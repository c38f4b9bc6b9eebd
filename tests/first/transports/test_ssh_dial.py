"""TCP from inside the machine: half-close, back-pressure, refusal."""

import asyncio
import hashlib
import os

import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import ExecSpec, TcpTarget

# Answers one connection with all that it read, once it saw the end. Reads nothing before a line on its stdin.
SERVER = """
import socket, sys
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
sys.stdin.readline()
c, _ = s.accept()
data = b"".join(iter(lambda: c.recv(65536), b""))
print(len(data), flush=True)
c.sendall(data)
c.close()
"""


@pytest.fixture
def server(jp_asyncio_loop, transport):
    """A server in the machine: its process, its output, its port."""

    async def start():
        process = await transport.run(ExecSpec(f"exec python3 -c '{SERVER}'", stdin_open=True))
        events = process.events()
        return process, events, int((await events.__anext__()).data)

    process, events, port = jp_asyncio_loop.run_until_complete(start())
    yield process, events, port
    jp_asyncio_loop.run_until_complete(process.aclose())


async def _read_all(stream):
    parts = []
    while data := await stream.read():
        assert len(data) <= 65536
        parts.append(data)
    return b"".join(parts)


async def test_five_megabytes_both_ways_with_half_close(transport, server):
    process, _, port = server
    await process.write(b"\n")
    stream = await transport.dial(TcpTarget(port))
    sent = os.urandom(5_000_000)
    for start in range(0, len(sent), 65536):
        await stream.write(sent[start : start + 65536])
    await stream.write_eof()
    assert await _read_all(stream) == sent
    assert await stream.read() == b""
    await stream.aclose()


async def test_a_peer_that_does_not_read_stops_the_writer(transport, server):
    process, _, port = server
    stream = await transport.dial(TcpTarget(port))
    piece, total, written = b"x" * 65536, 64 * 1024 * 1024, 0
    digest = hashlib.sha256()

    async def write():
        nonlocal written
        while written < total:
            await stream.write(piece)
            digest.update(piece)
            written += len(piece)
        await stream.write_eof()

    writing = asyncio.create_task(write())
    seen, same = -1, 0
    for _ in range(300):  # the fail-safe
        same = same + 1 if written == seen else 0
        seen = written
        if same == 5:
            break
        await asyncio.sleep(0.05)
    assert same == 5
    assert not writing.done()
    assert written < total
    assert stream._session.channel.get_write_buffer_size() <= 2 * 65536 + len(piece)
    await process.write(b"\n")
    received = hashlib.sha256()
    reading = asyncio.create_task(_read_all(stream))
    await writing
    received.update(await reading)
    assert received.digest() == digest.digest()
    await stream.aclose()


async def test_a_reader_that_does_not_read_is_not_flooded(transport, shell, server):
    """The other way round: what comes is bounded here too."""
    process, _, port = server
    await process.write(b"\n")
    stream = await transport.dial(TcpTarget(port))
    sent = b"y" * 16_000_000
    for start in range(0, len(sent), 65536):
        await stream.write(sent[start : start + 65536])
    await stream.write_eof()
    for _ in range(5):
        await shell(transport, "true")
        assert stream._session.buffered < 1024 * 1024
        held = sum(len(data) for data, _ in stream._session.channel._recv_buf)
        assert held <= 2 * 1024 * 1024
    assert await _read_all(stream) == sent
    await stream.aclose()


async def test_nothing_listens(transport, shell):
    free = 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'
    port = int((await shell(transport, f"python3 -c '{free}'")).stdout)
    with pytest.raises(TransportError) as caught:
        await transport.dial(TcpTarget(port))
    assert caught.value.code == "ssh_port_refused"
    assert caught.value.retryable
    assert str(port) in caught.value.message
    assert (await shell(transport, "echo ok")).stdout == b"ok\n"


async def test_writing_to_a_connection_that_the_peer_reset(transport, collect):
    reset = """
import socket, struct
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
c, _ = s.accept(); c.recv(1)
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); c.close()
"""
    process = await transport.run(ExecSpec(f"exec python3 -c '{reset}'"))
    stream = await transport.dial(TcpTarget(int((await process.events().__anext__()).data)))
    await stream.write(b"x")
    assert await stream.read() == b""
    with pytest.raises(TransportError) as caught:
        for _ in range(1000):
            await stream.write(b"x")
            await asyncio.sleep(0.01)
    assert caught.value.code == "ssh_port_closed"
    await stream.aclose()
    assert (await collect(await transport.run(ExecSpec("true")))).exit.ok


async def test_a_cut_link_ends_a_stream(relay, open_transport, server):
    process, _, port = server
    await process.write(b"\n")
    transport = await open_transport(relay.endpoint)
    stream = await transport.dial(TcpTarget(port))
    relay.cut()
    with pytest.raises(TransportError) as caught:
        await asyncio.wait_for(stream.read(), 60)
    assert caught.value.code == "ssh_connection_lost"
    with pytest.raises(TransportError) as caught:
        await stream.write(b"x")
    assert caught.value.code == "ssh_connection_lost"
    await stream.aclose()


async def test_openssh_gets_a_session_before_the_first_forward(sshd_transport):
    """Without one it leaves TCP_NODELAY off, and an answer in two writes waits for 40 ms."""
    assert not sshd_transport._session_seen
    with pytest.raises(TransportError):
        await sshd_transport.dial(TcpTarget(1))
    assert sshd_transport._session_seen
