"""The link itself: who is there, who is not, and what happens when it breaks."""

import asyncio
import dataclasses
import socket

import asyncssh
import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import ExecSpec, Output, TcpTarget
from jupyter_rmx.transports import ssh, unix_socket


def _code(caught):
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value.code


async def _streaming(transport):
    process = await transport.run(ExecSpec("yes"))
    events = process.events()
    assert isinstance(await events.__anext__(), Output)
    return process, events


async def _exhaust(events):
    async for _ in events:
        pass


async def test_a_cut_link_ends_everything_with_one_error(relay, open_transport):
    transport = await open_transport(relay.endpoint)
    told = []
    transport.on_closed(lambda: told.append("closed"))
    process, events = await _streaming(transport)
    relay.cut()
    with pytest.raises(TransportError) as caught:
        await asyncio.wait_for(_exhaust(events), 60)
    assert _code(caught) == "ssh_connection_lost"
    assert caught.value.retryable
    assert transport.state == "closed"
    assert told == ["closed"]
    transport.on_closed(lambda: told.append("late"))
    assert told == ["closed", "late"]
    for again in (
        process.signal("INT"),
        process.write(b"x"),
        transport.run(ExecSpec("true")),
        transport.dial(TcpTarget(1)),
        transport.files().put("x", None, size=0),
    ):
        with pytest.raises(TransportError) as caught:
            await again
        assert _code(caught) == "ssh_connection_lost"


async def test_a_silent_link_is_given_up(relay, open_transport, monkeypatch):
    assert ssh.KEEPALIVE_S * 3 <= 15
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 0.2)
    transport = await open_transport(relay.endpoint)
    _, events = await _streaming(transport)
    relay.stall()
    with pytest.raises(TransportError) as caught:
        await asyncio.wait_for(_exhaust(events), 60)
    assert _code(caught) == "ssh_connection_lost"


async def test_a_wrong_host_key_is_refused(endpoint, open_transport):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(endpoint, host_key=other))
    assert _code(caught) == "ssh_host_key_changed"
    assert not caught.value.retryable


async def test_a_host_key_of_another_kind_is_refused(endpoint, open_transport):
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(endpoint, host_key=other))
    assert _code(caught) == "ssh_host_key_changed"


async def test_a_wrong_client_key_is_refused(endpoint, open_transport):
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(endpoint, client_key=other))
    assert _code(caught) == "ssh_auth_failed"
    assert not caught.value.retryable


async def test_no_key_and_no_agent_of_the_user_is_tried(sshd, open_transport, tmp_path, monkeypatch):
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text(sshd.client_key)
    (tmp_path / ".ssh" / "id_ed25519").chmod(0o600)
    (tmp_path / ".ssh" / "config").write_text("Host *\n  Port 1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(sshd, client_key=None))
    assert _code(caught) == "ssh_auth_failed"


async def test_a_key_that_is_none(sshd, open_transport):
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(sshd, client_key="not a key"))
    assert _code(caught) == "ssh_bad_key"
    assert "not a key" not in str(caught.value)


async def test_nothing_listens(sshd, open_transport):
    with socket.socket() as held:  # bound, not listening: nobody else can take the port
        held.bind(("127.0.0.1", 0))
        with pytest.raises(TransportError) as caught:
            await open_transport(dataclasses.replace(sshd, port=held.getsockname()[1]))
    assert _code(caught) == "ssh_refused"
    assert caught.value.retryable


async def test_an_unknown_host(sshd, open_transport):
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(sshd, host="no-such-host.invalid"))
    assert _code(caught) == "ssh_unknown_host"


@pytest.mark.parametrize("name", ["gone.sock", "no-folder/gone.sock", "long/" + "d" * 100 + "/gone.sock"])
async def test_a_machine_that_is_gone(sshd, open_transport, tmp_path, name):
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(sshd, unix_path=str(tmp_path / name)))
    assert _code(caught) == "ssh_unreachable"


async def test_a_socket_that_a_dead_machine_left(sshd, open_transport, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(sshd, unix_path=str(tmp_path / "s")))
    assert _code(caught) == "ssh_unreachable"


async def test_a_path_too_long_for_the_kernel(tmp_path):
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    short = tmp_path / "l"
    short.symlink_to(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        server.listen()
        client = await unix_socket.connected_unix_socket(str(folder / "s"), 10)
        accepted, _ = server.accept()
        accepted.sendall(b"hello")
        assert await asyncio.get_running_loop().sock_recv(client, 5) == b"hello"
        accepted.close()
        client.close()


async def test_a_full_backlog_is_waited_for(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        first = await unix_socket.connected_unix_socket(path, 10)
        waiting = asyncio.create_task(unix_socket.connected_unix_socket(path, 60))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        accepted = [server.accept()[0]]
        second = await waiting
        accepted.append(server.accept()[0])
        second.setblocking(True)
        accepted[1].sendall(b"x")
        assert second.recv(1) == b"x"
        for sock in (first, second, *accepted):
            sock.close()


async def test_a_server_that_says_nothing(sshd, open_transport, monkeypatch):
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(TransportError) as caught:
            await asyncio.wait_for(open_transport(dataclasses.replace(sshd, port=mute.getsockname()[1])), 60)
    assert _code(caught) == "ssh_timeout"


async def test_a_server_that_hangs_up(sshd, open_transport):
    async def hang_up(reader, writer):
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(sshd, port=server.sockets[0].getsockname()[1]))
    assert _code(caught) == "ssh_unreachable"
    server.close()


async def test_a_server_of_another_trade(sshd, open_transport):
    async def speak(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1000)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    with pytest.raises(TransportError) as caught:
        await open_transport(dataclasses.replace(sshd, port=server.sockets[0].getsockname()[1]))
    assert _code(caught) in {"ssh_protocol_error", "ssh_unreachable"}
    server.close()


async def test_the_fast_cipher_comes_first(transport):
    assert transport.connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
