"""Commands over SSH, on a real OpenSSH server and on the embedded machine."""

import asyncio
import hashlib

import pytest

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import ExecSpec, Exit, Output
from jupyter_rmx.transports.ssh import PACKET_MAX, WINDOW
from jupyter_rmx.transports.ssh_session import HIGH_WATER

NASTY = "a b'c\"d $HOME `x` \\n ünïcødé\nsecond line\n"


async def test_streams_are_kept_apart_in_order_of_arrival(transport):
    process = await transport.run(
        ExecSpec("printf 1; read x; printf 2 >&2; read x; printf 3; read x; exit 4", stdin_open=True)
    )
    events = []
    async for event in process.events():
        events.append(event)
        if isinstance(event, Output):
            await process.write(b"\n")
    assert events == [Output("stdout", b"1"), Output("stderr", b"2"), Output("stdout", b"3"), Exit(code=4)]


async def test_twenty_megabytes_arrive_whole(transport):
    process = await transport.run(ExecSpec("yes 0123456789abcdef | head -c 20000000"))
    digest, count = hashlib.sha256(), 0
    async for event in process.events():
        if isinstance(event, Output):
            digest.update(event.data)
            count += len(event.data)
    assert count == 20_000_000
    assert digest.digest() == hashlib.sha256((b"0123456789abcdef\n" * 1_200_000)[:20_000_000]).digest()


async def test_a_process_that_nobody_reads_stops(transport, remote_folder, shell):
    counter = f"{remote_folder}/count"
    process = await transport.run(
        ExecSpec(f"i=0; while :; do head -c 65536 /dev/zero; i=$((i+1)); echo $i > {counter}; done")
    )
    seen, same = -1, 0
    for _ in range(60):  # the fail-safe
        now = int((await shell(transport, f"cat {counter} 2>/dev/null || echo 0")).stdout or 0)
        same = same + 1 if now == seen and now else 0
        seen = now
        if same == 5:
            break
        await asyncio.sleep(0.1)
    if same < 5:
        await process.aclose()
        pytest.fail("the producer goes on")
    assert seen * 65536 < 16 * 1024**2
    assert HIGH_WATER <= process._session.buffered < HIGH_WATER + PACKET_MAX
    assert sum(len(data) for data, _ in process._session.channel._recv_buf) <= WINDOW
    count = 0
    async for event in process.events():  # nothing was dropped, and reading sets it going again
        assert not event.data.strip(b"\0")
        count += len(event.data)
        if count > 24 * 1024**2:
            break
    await process.aclose()


async def test_exit_codes(transport, shell):
    for code in (0, 1, 3, 127, 255):
        assert (await shell(transport, f"exit {code}")).exit == Exit(code=code)


async def test_end_by_a_signal_has_its_name(transport, shell):
    for name in ("KILL", "TERM"):
        assert (await shell(transport, f"kill -{name} $$")).exit == Exit(signal=name)


@pytest.fixture
def is_alive(shell):
    """Whether a process runs there. Orphans that their new parent has not yet collected (zombies) do not."""

    async def ask(transport, pid):
        return (await shell(transport, f"grep -q '^State:.[^ZX]' /proc/{pid}/status 2>/dev/null")).exit.ok

    return ask


async def _pids_then_sleep(transport):
    """A command with a child and a grandchild in its process group; the grandchild's pid and the event iterator."""
    process = await transport.run(ExecSpec("""sh -c 'sh -c "echo \\$\\$; exec sleep 1000"; true'; true"""))
    events = process.events()
    first = await events.__anext__()
    return process, events, int(first.data)


@pytest.mark.parametrize("name", ["INT", "TERM", "KILL"])
async def test_a_signal_reaches_the_whole_group(transport, is_alive, eventually, name):
    process, events, grandchild = await _pids_then_sleep(transport)
    assert await is_alive(transport, grandchild)
    await process.signal(name)

    async def to_the_end():
        return [event async for event in events]

    rest = await asyncio.wait_for(to_the_end(), 30)
    assert isinstance(rest[-1], Exit)
    assert not rest[-1].ok

    async def gone():
        return not await is_alive(transport, grandchild)

    await eventually(gone)


async def test_a_signal_after_the_end_does_nothing(transport, collect):
    process = await transport.run(ExecSpec("true"))
    assert (await collect(process)).exit.ok
    await process.signal("INT")
    await process.write(b"too late")
    await process.aclose()


async def test_letting_go_hangs_up_the_group(transport, is_alive, eventually):
    process, _, grandchild = await _pids_then_sleep(transport)
    await process.aclose()

    async def gone():
        return not await is_alive(transport, grandchild)

    await eventually(gone)


async def test_a_start_that_is_cancelled_leaves_nothing(transport, eventually):
    for turns in range(6):
        task = asyncio.create_task(transport.run(ExecSpec("exec sleep 1000")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def no_channel():
        return not transport.connection._channels

    await eventually(no_channel)


async def test_closing_the_transport_hangs_up_its_commands(
    endpoint, transport, open_transport, is_alive, eventually
):
    _, _, grandchild = await _pids_then_sleep(transport)
    await transport.aclose()
    assert transport.state == "closed"
    other = await open_transport(endpoint)

    async def gone():
        return not await is_alive(other, grandchild)

    await eventually(gone)


async def test_standard_input(transport, collect):
    process = await transport.run(ExecSpec("cat; echo end", stdin_open=True))
    sent = bytes(range(256)) * 4096
    reading = asyncio.create_task(collect(process))
    for start in range(0, len(sent), 100_000):
        await process.write(sent[start : start + 100_000])
    await process.write_eof()
    assert (await reading).stdout == sent + b"end\n"


async def test_without_input_the_command_sees_its_end(transport, shell):
    assert (await shell(transport, "cat; echo end")).stdout == b"end\n"


async def test_bytes_are_left_alone(transport, shell):
    done = await shell(transport, r"printf '\377\376\000\200\303'; printf '\301\000' >&2")
    assert (done.stdout, done.stderr) == (b"\xff\xfe\0\x80\xc3", b"\xc1\0")


async def test_standard_error_without_a_newline_is_whole(transport, shell):
    assert (await shell(transport, "printf rmx-group- >&2")).stderr == b"rmx-group-"


async def test_environment(transport, shell):
    env = {"RMX_A": NASTY, "B2": "", "_c": "'", "RMX_D": "-n \\c"}
    command = 'printf "%s|" "$RMX_A" "$B2" "$_c" "$RMX_D"; cat; env | grep -c "^RMX_NL\\|^RMX_ENV"'
    done = await shell(transport, command, env=env)
    assert done.stdout == f"{NASTY}||'|-n \\c|0\n".encode()
    assert done.stderr == b""


async def test_values_of_the_environment_are_in_no_process_list(transport, shell):
    done = await shell(
        transport, "cat /proc/[0-9]*/cmdline; echo $TOKEN | wc -c", env={"TOKEN": "s3cret-value"}
    )
    assert b"s3cret" not in done.stdout
    assert done.stdout.endswith(b"13\n")


async def test_what_cannot_be_said_to_a_shell(transport, shell):
    refused = [
        *(
            (ExecSpec("true", env={name: "x"}), "usage_bad_env")
            for name in ("", "1A", "A-B", "A;B", "Ä", "A\n")
        ),
        (ExecSpec("true", env={"A": "\0"}), "usage_bad_env"),
        (ExecSpec("true", cwd="a\0b"), "usage_bad_cwd"),
        *((ExecSpec(command), "usage_bad_command") for command in ("", " \n", "echo \0", "echo \ud800")),
    ]
    for spec, code in refused:
        with pytest.raises(UsageError) as caught:
            await transport.run(spec)
        assert caught.value.code == code
        assert caught.value.hint
    assert (await shell(transport, "echo ok")).stdout == b"ok\n"


async def test_working_directory(transport, shell, remote_folder):
    home = (await shell(transport, "cd && pwd")).stdout.decode().strip()
    assert (await shell(transport, "pwd", cwd="~")).stdout.decode().strip() == home
    for name in ("it's a $dir", "-n", "ünï 日本", "~", "new\nline"):
        where = f"{remote_folder}/{name}"
        made = await shell(transport, 'mkdir -- "$D"', env={"D": name}, cwd=remote_folder)
        assert made.exit.ok, made.stderr
        for cwd in (where, f"~/{where}", f"{home}/{where}"):
            assert (await shell(transport, "pwd\npwd", cwd=cwd)).stdout.decode() == f"{home}/{where}\n" * 2


async def test_a_missing_working_directory_stops_the_command(transport, shell):
    done = await shell(transport, "echo ran\necho ran", cwd="no such folder")
    assert not done.exit.ok
    assert done.stdout == b""
    assert b"no such folder" in done.stderr


async def test_a_command_of_a_hundred_kilobytes(transport, shell):
    """Below the kernel's limit of 128 KiB for one argument."""
    text = "x" * 100_000
    assert (await shell(transport, f"echo {text}")).stdout == text.encode() + b"\n"


async def test_many_at_once(transport, shell):
    done = await asyncio.gather(*(shell(transport, f"echo {n}; exit {n}") for n in range(24)))
    assert [(one.stdout, one.exit.code) for one in done] == [(f"{n}\n".encode(), n) for n in range(24)]
