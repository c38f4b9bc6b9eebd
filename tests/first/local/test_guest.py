"""What the SSH server inside a machine does with commands, terminals, files and ports."""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest


@pytest.fixture
def vm(house, jp_asyncio_loop):
    return jp_asyncio_loop.run_until_complete(house.create())


@pytest.fixture
def link(house, vm, jp_asyncio_loop):
    connection = jp_asyncio_loop.run_until_complete(house.ssh(vm))
    yield connection
    connection.close()
    jp_asyncio_loop.run_until_complete(connection.wait_closed())


async def test_output_error_and_exit_code_are_kept_apart(link):
    done = await link.run("printf out; printf err >&2; exit 3")
    assert (done.stdout, done.stderr, done.exit_status) == ("out", "err", 3)


async def test_every_byte_passes_both_ways(link):
    data = bytes(range(256)) * 8192
    done = await link.run("cat", input=data, encoding=None)
    assert done.stdout == data


async def test_commands_start_in_the_home_with_a_clean_environment(house, link, monkeypatch):
    done = await link.run("pwd; echo $HOME; cd; pwd; echo $ADDED", env={"ADDED": "yes"})
    pwd, home, after, added = done.stdout.split()
    assert pwd == home == after
    assert added == "yes"


async def test_jupyters_own_environment_does_not_leak_in(house, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "do-not-leak")
    vm = await house.create()
    everything = await house.sh(vm, "cat /proc/*/environ | tr '\\0' '\\n'")
    assert "JUPYTER_RMX_VM" in everything
    assert "do-not-leak" not in everything


@pytest.mark.parametrize("name", ["INT", "TERM", "KILL", "HUP", "USR1"])
async def test_a_signal_reaches_the_whole_process_group_and_is_reported(link, name):
    process = await link.create_process("sh -c 'echo $$; exec sleep 100'; echo after")
    child = (await process.stdout.readline()).strip()
    process.send_signal(name)
    done = await process.wait()
    assert done.exit_signal is not None and done.exit_signal[0] == name
    assert (await link.run(f"timeout 60 sh -c 'while kill -0 {child}; do sleep 0.02; done'")).exit_status == 0


async def test_a_command_that_handles_the_signal_ends_its_own_way(link):
    script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done"
    process = await link.create_process(script)
    await process.stdout.readline()
    process.send_signal("INT")
    done = await process.wait()
    assert (done.stdout, done.exit_status) == ("caught\n", 7)


async def test_a_child_in_the_background_neither_holds_the_command_nor_dies_of_a_broken_pipe(
    link, eventually
):
    script = "(while ! [ -e go ]; do sleep 0.02; done; echo late; echo later; : > wrote) & echo started"
    done = await link.run(script)
    assert (done.stdout, done.exit_status) == ("started\n", 0)

    async def wrote():
        return (await link.run("test -e wrote")).exit_status == 0

    await link.run("touch go")
    await eventually(wrote, "the child in the background wrote on")


async def test_losing_the_connection_hangs_up_on_the_command_but_not_on_nohup(house, vm, eventually):
    first = await house.ssh(vm)
    script = (
        "nohup sh -c ': > armed; while ! [ -e go ]; do sleep 0.02; done; echo x > survived' >/dev/null 2>&1 & "
        "while ! [ -e armed ]; do sleep 0.02; done; "
        "trap ': > hung-up; exit' HUP; echo ready; while :; do sleep 0.05; done"
    )
    process = await first.create_process(script)
    await process.stdout.readline()
    first.abort()
    async with await house.ssh(vm) as second:

        async def exists(name):
            return (await second.run(f"test -e {name}")).exit_status == 0

        await eventually(lambda: exists("hung-up"), "the command heard SIGHUP")
        await second.run("touch go")
        await eventually(lambda: exists("survived"), "the nohup'ed one went on")


async def test_a_slow_reader_holds_the_command_back(link, eventually):
    script = (
        "import os, sys\n"
        "fd = os.open('n', os.O_CREAT | os.O_RDWR)\n"
        "for n in range(1, 100000):\n"
        "    sys.stdout.buffer.write(bytes(65536)); sys.stdout.flush()\n"
        "    os.pwrite(fd, str(n).encode(), 0)\n"
    )
    process = await link.create_process(f'python -c "{script}"', encoding=None)
    process.channel.pause_reading()
    last = [b"", 0]

    async def stands_still():
        now = (await link.run("cat n 2>/dev/null; sleep 0.2")).stdout
        last[1] = last[1] + 1 if now and now == last[0] else 0
        last[0] = now
        return last[1] >= 3

    await eventually(stands_still, "the command waits for its reader")
    assert int(last[0]) * 65536 < 64 * 1024 * 1024
    process.kill()
    process.channel.resume_reading()
    process.close()


async def test_much_input_waits_for_a_slow_command(link):
    data = "x" * 8_000_000
    done = await link.run("sleep 0.3; wc -c", input=data)
    assert done.stdout.strip() == str(len(data))


async def test_input_to_a_command_that_does_not_read_is_dropped(link):
    done = await link.run("exec <&-; echo ok", input="x" * 3_000_000)
    assert (done.stdout, done.exit_status) == ("ok\n", 0)


async def test_large_output_of_a_command_that_has_ended_is_whole(link):
    done = await link.run("head -c 20000000 /dev/zero; head -c 1000000 /dev/zero >&2", encoding=None)
    assert (len(done.stdout), len(done.stderr)) == (20_000_000, 1_000_000)


async def test_what_a_command_wrote_before_its_end_waits_for_a_slow_reader(link, eventually):
    # The window of 2 MiB, at most 128 KiB in the guest's buffers, and at least one byte that stays in the pipe.
    size = 2 * 1024 * 1024 + 128 * 1024 + 1
    process = await link.create_process(f"head -c {size} /dev/zero; : > ended", encoding=None)
    process.channel.pause_reading()

    async def ended():
        return (await link.run("test -e ended")).exit_status == 0

    await eventually(ended, "the command ends before its output is read")
    process.channel.resume_reading()
    done = await process.wait()
    assert (len(done.stdout), done.exit_status) == (size, 0)


async def test_an_error_of_one_channel_leaves_the_connection_alone(link):
    keeps = await link.create_process("cat")
    bad = await link.run("true", env={"A=B\0": "x\0y"})
    assert bad.exit_status == 127
    assert "cannot start" in bad.stderr
    keeps.stdin.write("still here\n")
    assert await keeps.stdout.readline() == "still here\n"
    keeps.stdin.write_eof()
    assert (await keeps.wait()).exit_status == 0


async def test_thirty_commands_at_once_on_one_connection(link):
    done = await asyncio.gather(*(link.run(f"echo {n}; exit {n}") for n in range(30)))
    assert [(int(d.stdout), d.exit_status) for d in done] == [(n, n) for n in range(30)]


async def test_terminal_has_its_size_and_type_and_is_resized(link):
    process = await link.create_process(term_type="vt100", term_size=(100, 30))
    process.stdin.write("stty size; echo $TERM; tty; echo the-''end\n")
    shown = await process.stdout.readuntil("the-end\r\n")
    assert "30 100" in shown and "vt100" in shown and "/dev/pts/" in shown
    process.change_terminal_size(167, 40)
    process.stdin.write("stty size; exit 5\n")
    done = await process.wait()
    assert "40 167" in done.stdout
    assert done.exit_status == 5


async def test_ctrl_c_in_a_terminal_reaches_the_command_in_front(link):
    process = await link.create_process("sh", term_type="xterm")
    # The command in front says itself that it is there: a Ctrl-C any earlier would meet the shell alone.
    inner = """sh -c 'trap "exit 7" INT; echo rea""dy; while :; do sleep 0.05; done'"""
    process.stdin.write(f"trap : INT; {inner}; echo af''ter $?\n")
    await process.stdout.readuntil("ready\r\n")
    process.stdin.write("\x03")
    assert "after 7" in await process.stdout.readuntil("after 7")
    process.stdin.write("exit\n")
    await process.wait()


async def test_closing_a_terminal_hangs_up(house, vm, link, eventually):
    process = await link.create_process(
        "trap ': > hung-up; exit' HUP; echo ready; while :; do sleep 0.05; done", term_type="xterm"
    )
    await process.stdout.readline()
    process.channel.abort() if hasattr(process.channel, "abort") else process.close()

    async def hung_up():
        return (await link.run("test -e hung-up")).exit_status == 0

    await eventually(hung_up, "the terminal's command heard SIGHUP")


async def test_files_go_in_and_out_relative_to_the_home(link):
    async with link.start_sftp_client() as sftp:
        async with sftp.open("f", "wb") as file:
            await file.write(b"data")
        await sftp.rename("f", "g")
        assert (await link.run("cat ~/g")).stdout == "data"
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await sftp.stat("f")


async def test_ports_of_the_machine_can_be_dialled(link):
    server = await link.create_process(
        "python -c \"import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
        ' c, _ = s.accept(); c.sendall(c.recv(9).upper()); c.shutdown(1); c.recv(1)"'
    )
    port = int(await server.stdout.readline())
    reader, writer = await link.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    assert await reader.read() == b"HELLO"
    writer.close()
    await server.wait()
    with pytest.raises(asyncssh.ChannelOpenError) as caught:
        await link.open_connection("127.0.0.1", port)
    assert caught.value.code == asyncssh.OPEN_CONNECT_FAILED


async def test_only_the_machines_own_key_opens_it(house, vm):
    other = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await house.ssh(vm, client_keys=[other])


async def test_each_machine_has_keys_of_its_own(house, vm):
    other = await house.create("other")
    mine, theirs = [await house.provider.attach_endpoint(one.provider_vm_id) for one in (vm, other)]
    assert mine.host_key != theirs.host_key
    assert mine.client_key != theirs.client_key
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await house.ssh(vm, known_hosts=([asyncssh.import_public_key(theirs.host_key)], [], []))


async def test_openssh_clients_work(house, vm, house_folder):
    endpoint = await house.provider.attach_endpoint(vm.provider_vm_id)
    relay = house_folder / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n"
    )
    key, known = house_folder / "key", house_folder / "known"
    key.touch(mode=0o600)
    key.write_text(endpoint.client_key)
    known.write_text(f"machine {endpoint.host_key}\n")
    options = [
        *("-F", "none", "-o", f"ProxyCommand={sys.executable} {relay} {endpoint.unix_path}"),
        *("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"),
        *("-i", str(key), "-o", "IdentitiesOnly=yes", "-o", f"User={endpoint.username}"),
    ]

    def run(argv, **more):
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, **more)

    done = await asyncio.to_thread(
        run, ["ssh", *options, "machine", "cat; echo $0 >&2; exit 4"], input="piped"
    )
    assert (done.stdout, done.returncode) == ("piped", 4), done.stderr
    done = await asyncio.to_thread(run, ["ssh", "-tt", *options, "machine", "tty; exit 6"], input="")
    assert "/dev/pts/" in done.stdout and done.returncode == 6, done.stderr
    local = house_folder / "up"
    local.write_text("by sftp")
    batch = f"put {local} there\nls\n"
    done = await asyncio.to_thread(run, ["sftp", *options, "-b", "-", "machine"], input=batch)
    assert done.returncode == 0 and "there" in done.stdout, done.stderr
    assert await house.sh(vm, "cat there") == "by sftp"
    assert Path(local).exists()
