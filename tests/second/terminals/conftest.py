"""Terminals on a real OpenSSH server, seen as a tab sees them."""

import asyncio
import os

import pytest

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.errors import RmxError
from jupyter_rmx.terminals.hub import Terminals
from jupyter_rmx.terminals.terminal import Place
from tests.terminal_host import TerminalHost

FAIL_SAFE_S = 60


@pytest.fixture(autouse=True)
def terminals_are_given_out():
    """OpenSSH's server hands a terminal over to its user by chown, which the kernel grants to root only."""
    if os.geteuid() != 0:
        pytest.skip("no-kernel-feature: chown of a terminal needs root")


@pytest.fixture(scope="session")
def server():
    """An OpenSSH server whose user has bash, a short prompt, and no environment that it would take."""
    running = TerminalHost().start()
    yield running
    running.stop()


class Machines:
    """One machine `gpu01`, reached by one connection that is made again when it was lost."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.startup = None
        self.woken = []
        self.refusal = None
        self._transport = None

    async def find(self, machine):
        if machine not in {"gpu01", "ws_1"}:
            raise RmxError("no such machine", code="vm_not_found", status=404)
        return Place("ws_1", "gpu01", self.startup)

    async def connect(self, machine_id, *, wake):
        from jupyter_rmx.transports.ssh import connect

        self.woken.append(wake)
        if self.refusal is not None:
            raise self.refusal
        if self._transport is None or self._transport.state != "ready":
            self._transport = await connect(self.endpoint, key=machine_id)
        return self._transport

    async def transport(self):
        return await self.connect("ws_1", wake=True)

    async def aclose(self):
        if self._transport is not None:
            await self._transport.aclose()


@pytest.fixture
def machines(jp_asyncio_loop, server):
    known = Machines(server.endpoint)
    yield known
    jp_asyncio_loop.run_until_complete(known.aclose())


@pytest.fixture
def terminals(jp_asyncio_loop, machines):
    hub = Terminals(machines, SystemClock())
    yield hub
    jp_asyncio_loop.run_until_complete(hub.aclose())


class Screen:
    """A viewer: all that it was shown."""

    def __init__(self, terminal, size=None):
        self.terminal = terminal
        self.view = terminal.attach()
        self.text = ""
        if size is not None:
            self.view.resize(*size)

    async def until(self, mark):
        """Wait until `mark` is shown, and take what was shown up to there."""
        searched = 0
        while (found := self.text.find(mark, searched)) < 0:
            searched = max(0, len(self.text) - len(mark))
            more = await asyncio.wait_for(self.view.take(), FAIL_SAFE_S)
            assert more is not None, (self.view.ending, self.text[-2000:])
            self.text += more
        shown, self.text = self.text[: found + len(mark)], self.text[found + len(mark) :]
        return shown

    async def rest(self):
        """All until the end."""
        while (more := await asyncio.wait_for(self.view.take(), FAIL_SAFE_S)) is not None:
            self.text += more
        return self.text

    async def type(self, text):
        await asyncio.wait_for(self.terminal.type(self.view, text), FAIL_SAFE_S)

    async def say(self, command):
        """Run a command, and take its output; its words stand in two parts, so that the echo is not the output."""
        await self.type(f"{command}; echo do''ne\r")
        shown = await self.until("done\r\n")
        await self.until("> ")
        return shown.rpartition("do''ne\r\n")[2].removesuffix("done\r\n")

    def leave(self):
        self.terminal.detach(self.view)


@pytest.fixture
def look():
    return Screen


@pytest.fixture
def eventually():
    """Wait for a condition; the fail-safe is far beyond what it takes."""

    async def wait(condition):
        for _ in range(FAIL_SAFE_S * 50):
            if await condition():
                return
            await asyncio.sleep(0.02)
        pytest.fail("it did not happen")

    return wait
