"""Fixtures of the tests that connect to hosts of the user's own."""

import asyncio

import pytest

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import ExecSpec, Output
from jupyter_rmx.settings import Settings
from tests.sshd import Agent, OpenSSHServer, Person


@pytest.fixture
def server_of():
    """A function that starts an OpenSSH server."""
    running = []

    def start(**options):
        running.append(OpenSSHServer(**options))
        return running[-1]

    yield start
    for server in running:
        server.finish()


@pytest.fixture(scope="module")
def sshd_shared():
    """One OpenSSH server for tests that change nothing of it but who is let in."""
    server = OpenSSHServer(kinds=("ed25519", "ecdsa"))
    yield server
    server.finish()


@pytest.fixture
def person(tmp_path, monkeypatch):
    """Somebody without an agent."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("SHELL", "/bin/sh")
    folder = tmp_path / "person"
    folder.mkdir(mode=0o700)
    return Person(folder)


@pytest.fixture
def agent(tmp_path):
    """A real ssh-agent, empty."""
    running = Agent(tmp_path)
    yield running
    running.finish()


class Answers:
    """Answers questions from a list; keeps what was asked. An answer may be a function of the prompts."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def ask(self, title, instructions, prompts):
        self.asked.append((title, instructions, list(prompts)))
        if not prompts:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        return answer(prompts) if callable(answer) else answer

    @property
    def texts(self):
        return [[prompt.text for prompt in prompts] for _, _, prompts in self.asked]


class Connecting:
    """Connects; what it made is closed at the end."""

    def __init__(self, loop, settings):
        self.settings = settings
        self._loop = loop
        self._made = []

    def to(self, target, ask=None, **settings):
        """The transport."""
        return self._loop.run_until_complete(self.aio(target, ask, **settings))

    async def aio(self, target, ask=None, **settings):
        from jupyter_rmx.transports.ssh_target import connect_target

        chosen = Settings(owner="tests", data_dir=self.settings.data_dir, **settings)
        transport = await connect_target(target, key="k", ask=ask, settings=chosen)
        self._made.append(transport)
        return transport

    def error(self, target, ask=None, **settings):
        """The error of ours that it fails with."""
        with pytest.raises(RmxError) as caught:
            self.to(target, ask, **settings)
        return caught.value

    def says(self, transport, command="echo in"):
        """What a command prints there."""

        async def run():
            process = await transport.run(ExecSpec(command))
            return b"".join([e.data async for e in process.events() if isinstance(e, Output)])

        return self._loop.run_until_complete(run()).decode()

    def close(self):
        for transport in self._made:
            self._loop.run_until_complete(transport.aclose())


@pytest.fixture
def connecting(jp_asyncio_loop, tmp_path):
    """See `Connecting`."""
    made = Connecting(jp_asyncio_loop, Settings(owner="tests", data_dir=tmp_path / "data"))
    yield made
    made.close()


@pytest.fixture
def own_known_hosts(connecting):
    """Our own file."""
    return connecting.settings.data_dir / "known_hosts"
