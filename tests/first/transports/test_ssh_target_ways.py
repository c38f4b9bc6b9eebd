"""The ways to a host: jump hosts, ProxyCommand, addresses; and what is said where there is none."""

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import SSHTarget
from tests.sshd import FAIL_SAFE_S, Daemon, free_port

ACCEPT_NEW = "-oStrictHostKeyChecking=accept-new"
ACCEPTING = {"StrictHostKeyChecking": "accept-new"}
"""For jump hosts: the real client asks these itself, and hands no option on."""


def wait_until(condition):
    deadline = time.monotonic() + FAIL_SAFE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def soon(condition):
    deadline = time.monotonic() + FAIL_SAFE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.fixture
def key(person):
    return person.key()


@pytest.fixture
def inner(server_of, key):
    """The host that is meant."""
    server = server_of()
    server.authorize(key)
    return server


@pytest.fixture
def bastion(server_of, person):
    """A jump host, with a key of its own."""
    server = server_of()
    server.authorize(person.key("for_bastion"))
    return server


def connections_of(server):
    """How many clients the server has now."""
    return len(
        [
            c
            for c in psutil.net_connections("tcp")
            if c.laddr and c.laddr.port == server.port and c.status == "ESTABLISHED"
        ]
    )


# jump hosts


def test_a_jump_host(person, inner, bastion, key, connecting, own_known_hosts, jp_asyncio_loop):
    person.host("bastion", server=bastion, IdentityFile=person.folder / "for_bastion", **ACCEPTING)
    target = person.host(server=inner, IdentityFile=key, ProxyJump="bastion")
    transport = connecting.to(target)
    assert connecting.says(transport, "echo $SSH_CONNECTION").split()[3] == str(inner.port)
    assert "for_bastion" not in inner.log.read_text()
    assert bastion.log.read_text().count("Accepted publickey") == 1
    assert len(own_known_hosts.read_text().splitlines()) == 2
    assert person.ssh("gpu01", ACCEPT_NEW)[0]
    jp_asyncio_loop.run_until_complete(transport.aclose())
    wait_until(lambda: connections_of(bastion) == 0)


def test_jump_hosts_in_a_chain_and_by_option(person, inner, bastion, server_of, key, connecting):
    second = server_of()
    second.authorize(key)
    options = {"IdentityFile": [person.folder / "for_bastion", key], **ACCEPTING}
    person.host("first", server=bastion, **options)
    person.host("second", server=second, **options)
    person.host(server=inner, **options)
    target = SSHTarget("gpu01", config_file=str(person.config), jump_host="first,second")
    assert connecting.says(connecting.to(target)) == "in\n"
    # Each was dialled by the one before it, as the real ssh does.
    for server in (bastion, second):
        assert server.log.read_text().count("Accepted publickey") == 1
    assert person.ssh("gpu01", "-J", "first,second", ACCEPT_NEW)[0]


def test_a_jump_host_that_has_a_jump_host(person, inner, bastion, server_of, key, connecting):
    second = server_of()
    second.authorize(key)
    person.host("first", server=bastion, IdentityFile=person.folder / "for_bastion")
    person.host("second", server=second, IdentityFile=key, ProxyJump="first")
    target = person.host(server=inner, IdentityFile=key, ProxyJump="second")
    assert connecting.says(connecting.to(target)) == "in\n"
    assert "Accepted publickey" in bastion.log.read_text()


def test_jump_hosts_in_a_circle(person, inner, key, connecting):
    person.host("a", server=inner, ProxyJump="b")
    target = person.host("b", server=inner, ProxyJump="a", Port=inner.port + 1)
    error = connecting.error(target)
    assert error.code == "usage_bad_ssh_config"
    assert "circle" in error.message


def test_a_jump_host_that_does_not_let_us_in_is_named(person, inner, bastion, key, connecting):
    person.host("bastion", server=bastion, IdentityFile=key)
    error = connecting.error(person.host(server=inner, IdentityFile=key, ProxyJump="bastion"))
    assert error.code in {"ssh_auth_failed", "ssh_needs_answer"}
    assert error.message.startswith("The jump host bastion (")
    assert inner.log.read_text().count("Connection from") == 1  # that of the fixture


def test_a_jump_host_that_does_not_answer_is_named(person, inner, key, connecting):
    person.host("bastion", HostName="127.0.0.1", Port=free_port())
    error = connecting.error(person.host(server=inner, IdentityFile=key, ProxyJump="bastion"))
    assert error.code == "ssh_refused"
    assert "jump host bastion" in error.message


def test_a_jump_host_whose_key_has_changed_is_named(person, inner, bastion, key, connecting):
    person.host("bastion", server=bastion, IdentityFile=person.folder / "for_bastion")
    target = person.host(server=inner, IdentityFile=key, ProxyJump="bastion")
    connecting.to(target)
    bastion.new_host_key()
    error = connecting.error(target)
    assert error.code == "ssh_host_key_changed"
    assert "jump host bastion" in error.message


def test_a_jump_host_that_cannot_reach_the_host(person, bastion, connecting):
    person.host("bastion", server=bastion, IdentityFile=person.folder / "for_bastion")
    target = person.host(HostName="127.0.0.1", Port=free_port(), ProxyJump="bastion")
    error = connecting.error(target)
    assert (error.code, error.retryable) == ("ssh_jump_failed", True)
    assert error.message.startswith("The jump host bastion could not connect to gpu01 (")
    assert "refused" in error.message.lower()
    wait_until(lambda: connections_of(bastion) == 0)


def test_a_jump_host_that_forbids_forwarding(person, inner, server_of, key, connecting):
    bastion = server_of(extra="AllowTcpForwarding no\n")
    bastion.authorize(key)
    person.host("bastion", server=bastion, IdentityFile=key)
    error = connecting.error(person.host(server=inner, IdentityFile=key, ProxyJump="bastion"))
    assert error.code == "ssh_jump_failed"
    assert "AllowTcpForwarding" in error.hint


def test_a_jump_host_without_a_shell(person, inner, server_of, key, connecting):
    bastion = server_of(extra="ForceCommand /bin/false\nPermitTTY no\n")
    bastion.authorize(key)
    person.host("bastion", server=bastion, IdentityFile=key)
    target = person.host(server=inner, IdentityFile=key, ProxyJump="bastion")
    assert connecting.says(connecting.to(target)) == "in\n"


def test_a_jump_host_that_dies_takes_the_connection_with_it(
    person, inner, bastion, key, connecting, jp_asyncio_loop
):
    person.host("bastion", server=bastion, IdentityFile=person.folder / "for_bastion")
    transport = connecting.to(person.host(server=inner, IdentityFile=key, ProxyJump="bastion"))
    gone = asyncio.Event()
    transport.on_closed(gone.set)
    bastion.drop_clients()
    jp_asyncio_loop.run_until_complete(asyncio.wait_for(gone.wait(), FAIL_SAFE_S))
    assert transport.state == "closed"


# ProxyCommand


def proxies():
    """Our children that are no servers of the tests, nor processes of these (shells with slow profiles)."""

    def below(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            if not process.name().startswith("sshd") and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid
                for child in process.children():
                    yield from below(child)

    return {pid for child in psutil.Process().children() for pid in below(child)}


@pytest.mark.parametrize("program", ["nc %h %p", "nc -N %h %p"])
def test_a_proxy_command(person, inner, key, connecting, jp_asyncio_loop, program):
    before = proxies()
    transport = connecting.to(person.host(server=inner, IdentityFile=key, ProxyCommand=program))
    assert connecting.says(transport) == "in\n"
    assert len(proxies() - before) == 1
    jp_asyncio_loop.run_until_complete(transport.aclose())
    assert proxies() == before
    assert person.ssh("gpu01", ACCEPT_NEW)[0]


def test_a_proxy_command_by_ssh_with_noise_on_stderr(person, inner, bastion, key, connecting):
    person.host(
        "bastion",
        server=bastion,
        IdentityFile=person.folder / "for_bastion",
        StrictHostKeyChecking="accept-new",
    )
    command = f"ssh -v -F {person.config} -W '[%h]:%p' bastion"
    transport = connecting.to(person.host(server=inner, IdentityFile=key, ProxyCommand=command))
    assert connecting.says(transport, "head -c 300000 /dev/zero | wc -c").strip() == "300000"


def test_a_proxy_command_and_its_children_end_with_a_lost_link(
    person, inner, key, connecting, jp_asyncio_loop
):
    before = proxies()
    command = "sh -c 'trap \"\" TERM; sleep 1000 & nc %h %p; wait'"
    # The children keep the socket open, so only the alive messages tell.
    options = {"ProxyCommand": command, "ServerAliveInterval": 1}
    transport = connecting.to(person.host(server=inner, IdentityFile=key, **options))
    assert len(proxies() - before) >= 2
    inner.drop_clients()
    jp_asyncio_loop.run_until_complete(soon(lambda: transport.state == "closed"))
    jp_asyncio_loop.run_until_complete(asyncio.wait_for(transport.aclose(), FAIL_SAFE_S))
    wait_until(lambda: proxies() == before)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo no route for you >&2; exit 3'", "no route for you"),
        ("/no/such/program %h", "/no/such/program"),
        ("nc 127.0.0.1 {closed}", "efused"),
        ("true", "said nothing"),
        ("echo hello", "said nothing"),
    ],
)
def test_a_proxy_command_that_fails(person, inner, key, connecting, command, said):
    before = proxies()
    command = command.format(closed=free_port())
    command = command.replace("nc ", "nc -v ") if "nc" in command else command
    error = connecting.error(person.host(server=inner, IdentityFile=key, ProxyCommand=command))
    assert (error.code, error.retryable) == ("ssh_proxy_failed", True)
    assert said in error.message
    assert "ProxyCommand" in error.hint
    assert not person.ssh("gpu01", ACCEPT_NEW)[0]
    assert proxies() == before


def test_a_proxy_command_that_says_nothing(person, inner, key, connecting):
    before = proxies()
    target = person.host(server=inner, IdentityFile=key, ProxyCommand="sleep 1000", ConnectTimeout=1)
    assert connecting.error(target).code == "ssh_timeout"
    assert proxies() == before


def test_a_cancelled_attempt_leaves_nothing(person, inner, key, connecting, jp_asyncio_loop):
    before = proxies()
    target = person.host(server=inner, IdentityFile=key, ProxyCommand="sleep 1000")

    async def cancel():
        task = asyncio.ensure_future(connecting.aio(target))
        await soon(lambda: proxies() != before)
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    jp_asyncio_loop.run_until_complete(cancel())
    wait_until(lambda: proxies() == before)


# addresses


def test_ipv6(person, server_of, key, connecting, own_known_hosts):
    server = server_of(address="::1")
    server.authorize(key)
    target = person.host(server=server, IdentityFile=key)
    connecting.to(target)
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[::1]:{server.port}", "-f", own_known_hosts], capture_output=True
    )
    assert found.returncode == 0
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=yes", f"-oUserKnownHostsFile={own_known_hosts}")[0]


def test_a_host_with_several_addresses(person, server_of, key, connecting):
    server = server_of()  # on 127.0.0.1 only; `localhost` may be ::1 first
    server.authorize(key)
    target = person.host(HostName="localhost", Port=server.port, IdentityFile=key)
    connecting.to(target)


@pytest.mark.parametrize(("family", "gets_in"), [("inet", False), ("inet6", True)])
def test_an_address_family(person, server_of, key, connecting, family, gets_in):
    server = server_of(address="::1")
    server.authorize(key)
    target = person.host(server=server, IdentityFile=key, AddressFamily=family)
    assert person.ssh("gpu01", ACCEPT_NEW)[0] is gets_in
    if gets_in:
        connecting.to(target)
    else:
        assert connecting.error(target).code == "ssh_unknown_host"


def test_a_bind_address(person, inner, key, connecting):
    connecting.to(person.host(server=inner, IdentityFile=key, BindAddress="127.0.0.2"))
    assert "Connection from 127.0.0.2" in inner.log.read_text()


def test_compression_and_alive_messages(person, inner, key, connecting):
    target = person.host(server=inner, IdentityFile=key, Compression="yes", ServerAliveInterval=1)
    transport = connecting.to(target)
    assert transport.connection.get_extra_info("send_compression") == "zlib@openssh.com"
    assert transport.connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"


def test_an_agent_is_forwarded_only_where_it_is_wanted(person, inner, key, connecting, agent):
    agent.add(key)
    options = {"IdentityFile": key, "IdentityAgent": agent.socket}
    plain = connecting.to(person.host(server=inner, **options))
    assert connecting.says(plain, "echo ${SSH_AUTH_SOCK:-none}") == "none\n"
    forwarded = connecting.to(person.host(server=inner, **options, ForwardAgent="yes"))
    assert key.name in connecting.says(forwarded, "ssh-add -l")


# servers that are none


def test_an_unknown_host(person, connecting):
    error = connecting.error(person.host(HostName="no-such-host.invalid"))
    assert error.code == "ssh_unknown_host"
    assert "no-such-host.invalid" in error.message


def test_a_port_where_nobody_listens(person, connecting):
    error = connecting.error(person.host(HostName="127.0.0.1", Port=free_port()))
    assert (error.code, error.retryable) == ("ssh_refused", True)
    assert error.message.startswith("gpu01 (")


def test_localhost_where_nobody_listens_on_any_of_its_addresses(person, connecting):
    error = connecting.error(person.host(HostName="localhost", Port=free_port()))
    assert error.code == "ssh_refused"


@contextlib.contextmanager
def listening(serve):
    """A server of one sort of answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        peers = []

        def run():
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    peer, _ = server.accept()
                    peers.append(peer)
                    threading.Thread(target=serve, args=(peer,), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()
        yield server.getsockname()[1]
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        for peer in peers:
            peer.close()


def test_a_server_that_accepts_and_then_says_nothing(person, connecting):
    with listening(lambda peer: None) as port:
        error = connecting.error(person.host(HostName="127.0.0.1", Port=port, ConnectTimeout=1))
    assert (error.code, error.retryable) == ("ssh_timeout", True)
    assert "accepted the connection and then said nothing" in error.message


def test_a_server_that_stops_after_its_first_words(person, connecting):
    with listening(lambda peer: peer.sendall(b"SSH-2.0-Stops\r\n")) as port:
        error = connecting.error(person.host(HostName="127.0.0.1", Port=port, ConnectTimeout=1))
    assert error.code == "ssh_timeout"
    assert "while we logged in" in error.message


def test_a_server_that_hangs_up_at_once(person, connecting):
    with listening(lambda peer: peer.close()) as port:
        error = connecting.error(person.host(HostName="127.0.0.1", Port=port))
    assert (error.code, error.retryable) == ("ssh_unreachable", True)
    assert "closed the connection" in error.message


def test_a_web_server_is_no_ssh_server(person, connecting):
    server = Daemon()
    try:
        server.launch([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(server.port)])
        error = connecting.error(person.host(HostName="127.0.0.1", Port=server.port))
    finally:
        server.finish()
    assert (error.code, error.retryable) == ("ssh_protocol_error", False)
    assert "is no SSH server" in error.message
    assert "Check the port" in error.hint


def test_a_server_that_is_full(person, server_of, key, connecting):
    server = server_of(extra="MaxStartups 1:100:1\n")
    server.authorize(key)
    wait_until(lambda: connections_of(server) == 0)  # the one that saw it start
    with socket.create_connection(("127.0.0.1", server.port)) as first:
        assert first.recv(100).startswith(b"SSH-")
        error = connecting.error(person.host(server=server, IdentityFile=key))
    assert (error.code, error.retryable) in {("ssh_unreachable", True), ("ssh_protocol_error", False)}
    wait_until(lambda: connections_of(server) == 0)
    connecting.to(person.host(server=server, IdentityFile=key))


def test_a_configuration_that_ssh_does_not_understand(person, connecting):
    target = person.host(NoSuchKeyword="yes")
    error = connecting.error(target)
    assert error.code == "usage_bad_ssh_config"
    assert "nosuchkeyword" in error.message.lower()
    assert str(person.config) in error.message


# where OpenSSH is not installed


def test_without_openssh_our_own_reader_finds_the_host(person, inner, bastion, key, connecting, monkeypatch):
    person.host("bastion", server=bastion, IdentityFile=person.folder / "for_bastion")
    target = person.host(server=inner, IdentityFile=key, ProxyJump="bastion")
    monkeypatch.setattr("jupyter_rmx.transports.ssh_resolve.shutil.which", lambda _: None)
    assert connecting.says(connecting.to(target)) == "in\n"
    assert "Accepted publickey" in bastion.log.read_text()
    os.unlink(person.config)
    assert connecting.error(target).code == "usage_bad_ssh_config"


# nothing is left over


def test_nothing_is_left_of_many_attempts(person, inner, bastion, key, connecting, jp_asyncio_loop):
    person.host("bastion", server=bastion, IdentityFile=person.folder / "for_bastion")
    good = person.host(server=inner, IdentityFile=key, ProxyJump="bastion")
    proxied = person.host("proxied", server=inner, IdentityFile=key, ProxyCommand="nc %h %p")
    refused = person.host("refused", server=inner)
    dead = person.host("dead", HostName="127.0.0.1", Port=free_port(), ProxyJump="bastion")

    async def once():
        for target in (good, proxied):
            await (await connecting.aio(target)).aclose()
        for target in (refused, dead):
            with pytest.raises(RmxError):
                await connecting.aio(target)

    async def state():
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        return len(os.listdir("/proc/self/fd")), len(tasks), proxies()

    async def settled():
        deadline = time.monotonic() + FAIL_SAFE_S
        while True:
            fds, tasks, programs = now = await state()
            if fds <= before[0] and tasks <= before[1] and programs <= before[2]:
                return
            assert time.monotonic() < deadline, (before, now)
            await asyncio.sleep(0.05)

    jp_asyncio_loop.run_until_complete(once())
    gc.collect()  # what earlier tests left to the collector
    jp_asyncio_loop.run_until_complete(asyncio.sleep(0.5))
    before = jp_asyncio_loop.run_until_complete(state())
    for _ in range(3):
        jp_asyncio_loop.run_until_complete(once())
    jp_asyncio_loop.run_until_complete(settled())
