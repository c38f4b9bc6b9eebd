"""Commands in hard places: one session only, servers that die, floods, readers that stop, signals with no way."""

import asyncio
import hashlib
import os
import signal

import psutil
import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import ExecSpec, Exit, Output
from jupyter_rmx.transports.spool import Spool
from jupyter_rmx.transports.spooled import SpooledProcess
from jupyter_rmx.transports.ssh import connect
from jupyter_rmx.transports.ssh_session import HIGH_WATER
from tests.login_shells import LoginServer

FAIL_SAFE_S = 60
MB = 1024 * 1024


@pytest.fixture(scope="module")
def host():
    """OpenSSH, its user with bash."""
    server = LoginServer("/bin/bash").start()
    yield server
    server.stop()


@pytest.fixture
def there(jp_asyncio_loop, host):
    """A connection to it."""
    transport = jp_asyncio_loop.run_until_complete(connect(host.endpoint, key="peer"))
    yield transport
    jp_asyncio_loop.run_until_complete(transport.aclose())


@pytest.fixture
def single(jp_asyncio_loop):
    """A connection to an OpenSSH server with MaxSessions 1."""
    server = LoginServer("/bin/bash", more="MaxSessions 1").start()
    transport = jp_asyncio_loop.run_until_complete(connect(server.endpoint, key="peer"))
    yield transport
    jp_asyncio_loop.run_until_complete(transport.aclose())
    server.stop()


async def first_line(process):
    events = process.events()
    event = await asyncio.wait_for(events.__anext__(), FAIL_SAFE_S)
    return event.data, events


async def rest_of(events):
    async def read():
        return [event async for event in events]

    return await asyncio.wait_for(read(), FAIL_SAFE_S)


async def holds(condition):
    async def look():
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), FAIL_SAFE_S)


def is_there(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- one session only -------------------------------------------------------------------------------------------


async def test_more_commands_than_sessions_take_turns(there, shell):
    """OpenSSH's own limit is 10."""
    done = await asyncio.gather(*(shell(there, f"sleep 0.1; echo {n}") for n in range(32)))
    assert [one.stdout for one in done] == [f"{n}\n".encode() for n in range(32)]


async def test_a_second_command_is_refused_clearly_and_the_first_goes_on(single, shell, monkeypatch):
    monkeypatch.setattr("jupyter_rmx.transports.ssh.SESSION_PATIENCE_S", 0.3)
    process = await single.run(ExecSpec("echo begun; cat; echo ended", stdin_open=True))
    line, events = await first_line(process)
    assert line == b"begun\n"
    with pytest.raises(TransportError) as caught:
        await shell(single, "echo second")
    assert caught.value.code == "ssh_session_refused"
    assert "MaxSessions" in caught.value.hint
    await process.write(b"input\n")
    await process.write_eof()
    rest = await rest_of(events)
    assert b"".join(event.data for event in rest[:-1]) == b"input\nended\n"
    assert rest[-1] == Exit(code=0)
    monkeypatch.undo()
    for text in (b"one\n", b"two\n"):  # one after the other there is no limit
        assert (await shell(single, f"printf '{text.decode()}'")).stdout == text


async def test_a_signal_finds_a_second_connection_where_there_is_one_session(single, monkeypatch):
    for name in ("INT", "TERM", "KILL"):
        process = await single.run(ExecSpec("sh -c 'echo $$; exec sleep 1000'; true"))
        line, events = await first_line(process)
        monkeypatch.setattr(
            process._session.channel, "send_signal", lambda name: None
        )  # as OpenSSH does for root
        await process.signal(name)
        assert not (await rest_of(events))[-1].ok
        await holds(lambda pid=int(line): not is_there(pid))


async def test_without_a_second_connection_sshs_own_request_is_sent(single):
    """OpenSSH delivers it to the group where the user is not root."""
    single.again = None
    process = await single.run(ExecSpec("sh -c 'echo $$; exec sleep 1000'; true"))
    line, events = await first_line(process)
    await process.signal("TERM")
    assert not (await rest_of(events))[-1].ok
    await holds(lambda: not is_there(int(line)))


async def test_where_no_signal_gets_through_the_last_one_says_so(single, monkeypatch):
    monkeypatch.setattr("jupyter_rmx.transports.ssh_process.END_PATIENCE_S", 0.2)
    single.again = None
    process = await single.run(ExecSpec("echo $$; exec sleep 1000"))
    line, _ = await first_line(process)
    monkeypatch.setattr(
        process._session.channel, "send_signal", lambda name: None
    )  # as OpenSSH does for root
    await process.signal("INT")
    with pytest.raises(TransportError) as caught:
        await process.signal("KILL")
    assert caught.value.code == "ssh_signal_refused"
    assert "MaxSessions" in caught.value.hint
    os.kill(int(line), signal.SIGKILL)


# -- signals ----------------------------------------------------------------------------------------------------


async def test_after_kill_the_group_is_gone_when_the_call_returns(there):
    process = await there.run(
        ExecSpec(
            "trap '' INT TERM; (trap '' INT TERM; echo $BASHPID; exec sleep 1000) & echo $!; wait; sleep 1000"
        )
    )
    seen = b""
    async for event in process.events():
        seen += event.data
        if seen.count(b"\n") == 2:
            break
    for name in ("INT", "TERM"):
        await process.signal(name)
    child = int(seen.split()[0])
    assert is_there(child)
    await process.signal("KILL")
    assert not is_there(child)


async def test_a_group_whose_leader_has_ended_still_gets_its_signal(there):
    """A child that holds the output keeps the command open after its shell is gone."""
    process = await there.run(ExecSpec("sleep 1000 & echo $!"))
    line, events = await first_line(process)
    await holds(lambda: process._session.exit is not None)
    await process.signal("INT")  # a background process of a script does not take it
    assert is_there(int(line))
    await process.signal("TERM")
    assert (await rest_of(events))[-1] == Exit(code=0)
    await holds(lambda: not is_there(int(line)))


async def test_a_group_that_stays_after_kill_is_told(there, monkeypatch):
    process = await there.run(ExecSpec("echo $$; exec sleep 1000"))
    line, _ = await first_line(process)
    monkeypatch.setattr(process._session.marker, "kill_command", lambda *_, **__: "exit 75")
    with pytest.raises(TransportError) as caught:
        await process.signal("KILL")
    assert caught.value.code == "ssh_still_runs"
    monkeypatch.undo()
    await process.signal("KILL")
    assert not is_there(int(line))


# -- servers that die -------------------------------------------------------------------------------------------


def kill_connections(server):
    """As when the machine dies: the server's processes for its connections end at once."""
    for child in psutil.Process(server.pid).children(recursive=True):
        if child.name() == "sshd":
            child.kill()


@pytest.mark.parametrize("size", [1000, HIGH_WATER + 200_000, 6 * MB])
async def test_a_server_that_dies_in_the_middle(host, size, shell):
    transport = await connect(host.endpoint, key="peer")
    process = await transport.run(ExecSpec(f"head -c {size} /dev/zero | tr '\\0' x; sleep 1000"))
    channel = process._session.channel
    arrived = min(size, 3 * MB)  # with a window of 4 MiB the command waits

    def here():
        return process._session.buffered + sum(len(data) for data, _ in channel._recv_buf)

    await holds(lambda: here() >= arrived)
    there = here()
    kill_connections(host)
    count, caught = 0, None
    try:
        async for event in process.events():
            assert isinstance(event, Output)
            assert event.data.strip(b"x") == b""
            count += len(event.data)
    except TransportError as error:
        caught = error
    assert caught is not None
    assert caught.code == "ssh_connection_lost"
    assert count >= there
    await asyncio.wait_for(transport.aclose(), FAIL_SAFE_S)
    again = await connect(host.endpoint, key="peer")  # the next command works
    assert (await shell(again, "echo back")).stdout == b"back\n"
    await again.aclose()


async def test_an_exception_in_a_callback_ends_its_own_session_only(there, shell, monkeypatch):
    other = await there.run(ExecSpec("cat", stdin_open=True))
    process = await there.run(ExecSpec("read x; head -c 3000000 /dev/zero", stdin_open=True))

    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(process._session.channel, "pause_reading", broken)
    await process.write(b"\n")
    await holds(lambda: process._session.ended)
    with pytest.raises(TransportError):
        await rest_of(process.events())
    await other.write(b"still here")
    await other.write_eof()
    assert (await rest_of(other.events()))[0].data == b"still here"
    assert (await shell(there, "echo alive")).stdout == b"alive\n"


# -- floods -----------------------------------------------------------------------------------------------------


async def test_two_hundred_megabytes_of_errors_beside_a_quiet_output(there):
    process = await there.run(ExecSpec("head -c 200000000 /dev/zero >&2; echo quiet"))
    count, quiet = 0, b""
    before = psutil.Process().memory_info().rss
    most = 0
    async for event in process.events():
        if isinstance(event, Exit):
            assert event == Exit(code=0)
        elif event.stream == "stderr":
            count += len(event.data)
            most = max(most, psutil.Process().memory_info().rss)
        else:
            quiet += event.data
    assert (count, quiet) == (200_000_000, b"quiet\n")
    assert most - before < 32 * MB


async def test_a_reader_that_stops_holds_no_memory_and_loses_nothing(there, tmp_path):
    spool = Spool(tmp_path, memory_max=MB, file_max=8 * MB)
    inner = await there.run(ExecSpec("head -c 100000000 /dev/zero | tr '\\0' x"))
    process, session = SpooledProcess(inner, spool), inner._session
    before = psutil.Process().memory_info().rss
    # The spool is full, then the channel is.
    await holds(lambda: spool.in_file > 7 * MB and session.buffered >= HIGH_WATER)
    assert spool.in_file <= 8 * MB
    assert psutil.Process().memory_info().rss - before < 32 * MB
    count = 0
    async for event in process.events():
        if isinstance(event, Output):
            assert event.data.strip(b"x") == b""
            count += len(event.data)
    assert count == 100_000_000
    await process.aclose()


async def test_random_bytes_on_both_streams_at_once(there):
    command = (
        "head -c 3000000 /dev/urandom | tee ~/one & head -c 3000000 /dev/urandom | tee ~/two >&2 & wait; wait"
    )
    process = await there.run(ExecSpec(f"{command}; echo; sha256sum ~/one ~/two"))
    streams = {"stdout": b"", "stderr": b""}
    async for event in process.events():
        if isinstance(event, Output):
            streams[event.stream] += event.data
    body, told = streams["stdout"][:3_000_000], streams["stdout"][3_000_001:].decode().split()
    assert [hashlib.sha256(data).hexdigest() for data in (body, streams["stderr"])] == told[::2]
