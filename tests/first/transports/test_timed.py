"""Commands that take too long, on a real OpenSSH server and on the embedded machine."""

import asyncio

import pytest

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import ExecSpec, Exit, Output
from jupyter_rmx.transports import timed
from jupyter_rmx.transports.timed import TimedProcess

LONG_S = 600.0


async def gathered(process):
    """What came, and how it ended."""
    output = b""
    try:
        async for event in process.events():
            if isinstance(event, Exit):
                return output, event
            output += event.data
    except ProviderError as error:
        return output, error


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
async def test_a_command_over_its_time_ends_with_its_group(transport, shell, monkeypatch, trap):
    monkeypatch.setattr(timed, "GRACE_S", 0.5)
    mark = "600.25" if trap else "600.75"
    script = f"{trap}sleep {mark} & echo first; sleep {mark}; echo never"
    process = TimedProcess(await transport.run(ExecSpec(script)), 0.5)
    output, error = await asyncio.wait_for(gathered(process), 60)
    await process.aclose()
    assert (output, error.code, error.retryable) == (b"first\n", "vm_exec_timeout", False)
    assert error.details == {"timeout_ms": 500}
    left = await shell(transport, f"ps ax -o args= | grep -c '[s]leep {mark}'")
    assert left.stdout == b"0\n"


async def test_a_command_within_its_time_is_as_without(transport):
    process = TimedProcess(await transport.run(ExecSpec("echo out; exit 3")), LONG_S)
    assert await asyncio.wait_for(gathered(process), 60) == (b"out\n", Exit(3))
    await process.aclose()
    assert process._timer.done()


async def test_a_command_that_is_let_go_leaves_no_timer(transport):
    process = TimedProcess(await transport.run(ExecSpec("sleep 600")), LONG_S)
    await process.aclose()
    assert process._timer.done()


class Deaf:
    """A process whose link takes no signal."""

    def __init__(self):
        self.signals = []
        self._closed = asyncio.Event()

    async def events(self):
        yield Output("stdout", b"first\n")
        await self._closed.wait()
        raise ProviderError("The link is gone.", hint="Again.", code="ssh_connection_lost")

    async def signal(self, name):
        self.signals.append(name)
        raise ProviderError("No answer.", hint="Wait.", code="ssh_no_answer")

    async def aclose(self):
        self._closed.set()


async def test_where_no_signal_arrives_the_channel_is_closed(monkeypatch):
    monkeypatch.setattr(timed, "GRACE_S", 0.01)
    deaf = Deaf()
    process = TimedProcess(deaf, 0.01)
    output, error = await asyncio.wait_for(gathered(process), 60)
    assert (output, error.code, deaf.signals) == (b"first\n", "vm_exec_timeout", ["TERM", "KILL"])
    await process.aclose()
