"""Pseudo-terminals over SSH."""

import asyncio
import os

import pytest

from jupyter_rmx.errors import TransportError, UsageError
from jupyter_rmx.models import Exit, PtySpec
from jupyter_rmx.transports.ssh_command import pty_text


@pytest.fixture(autouse=True)
def terminals_are_given_out(request):
    """OpenSSH's server hands a terminal over to its user by chown, which the kernel grants to root only."""
    if "[sshd]" in request.node.name and os.geteuid() != 0:
        pytest.skip("no-kernel-feature: chown of a terminal needs root")


async def _until(pty, mark):
    shown = b""
    while mark not in shown:
        data = await asyncio.wait_for(pty.read(), 60)
        assert data, shown
        shown += data
    return shown


@pytest.mark.parametrize("command", [None, "echo hello"])
def test_the_environment_is_never_part_of_the_command(command):
    assert pty_text(PtySpec(command=command, env={"TOKEN": "a secret"})) == command
    with pytest.raises(UsageError) as caught:
        pty_text(PtySpec(command=command, env={"A B": "c"}))
    assert caught.value.code == "usage_bad_env"


async def test_size_kind_and_resize(transport):
    pty = await transport.pty(
        PtySpec(
            command='echo "$TERM $A"; stty size; read x; stty size; exit 5',
            cols=101,
            rows=41,
            env={"A": "b c"},
        )
    )
    assert b"xterm-256color b c\r\n41 101\r\n" in await _until(pty, b"41 101\r\n")
    await pty.resize(120, 40)
    await pty.write(b"\n")
    await _until(pty, b"40 120\r\n")
    assert await pty.wait() == Exit(code=5)
    assert await pty.read() == b""
    await pty.resize(10, 10)
    await pty.write(b"too late")
    await pty.aclose()


async def test_an_interactive_shell(transport):
    pty = await transport.pty(PtySpec())
    await pty.write(b"stty -echo; echo rea''dy; exit 7\n")
    await _until(pty, b"ready\r\n")
    assert await asyncio.wait_for(pty.wait(), 60) == Exit(code=7)


async def test_the_interrupt_key(transport):
    command = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done"
    pty = await transport.pty(PtySpec(command=command))
    await _until(pty, b"ready\r\n")
    await pty.write(b"\x03")
    await _until(pty, b"caught\r\n")
    assert await asyncio.wait_for(pty.wait(), 60) == Exit(code=7)


async def test_hanging_up_ends_what_runs_there(transport, shell, eventually):
    pty = await transport.pty(PtySpec(command="echo pid $$.; exec sleep 1000"))
    shown = await _until(pty, b".")
    pid = int(shown.split()[1].rstrip(b"."))
    await pty.aclose()

    async def gone():
        return not (await shell(transport, f"grep -q '^State:.[^ZX]' /proc/{pid}/status 2>/dev/null")).exit.ok

    await eventually(gone)


async def test_a_cut_link_ends_a_terminal(relay, open_transport):
    transport = await open_transport(relay.endpoint)
    pty = await transport.pty(PtySpec(command="echo up; exec sleep 1000"))
    await _until(pty, b"up")
    relay.cut()
    for waiting in (pty.wait(), pty.read(), pty.write(b"x")):
        with pytest.raises(TransportError) as caught:
            await asyncio.wait_for(waiting, 60)
        assert caught.value.code == "ssh_connection_lost"
