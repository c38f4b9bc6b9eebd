"""A connection that is kept is opened again only for a host that is still on the list."""

from datetime import datetime, timezone

import pytest

from jupyter_rmx.errors import TransportError, WorkflowError
from jupyter_rmx.manager_links import Links
from jupyter_rmx.models import SSHTarget, Workspace

GPU = Workspace("ws_1", "gpu01", "me", SSHTarget("me@gpu01"), datetime.now(timezone.utc))


class Rows:
    """A list with at most one workspace."""

    def __init__(self):
        self.found = GPU

    def key_of(self, target):
        return f"key of {target.destination}"

    async def find(self, name):
        return self.found


class Pool:
    """Opens for each who asks, and remembers what is kept."""

    def __init__(self):
        self.kept = {}
        self.asked = []

    async def get(self, key, open_transport, *, asked=True):
        self.asked.append((key, asked))
        return await open_transport()

    def join(self, error):
        """The next one who asks joins an attempt of somebody else, which fails."""

        async def get(key, open_transport, *, asked=True):
            del self.get
            raise error

        self.get = get

    def keep(self, key, open_transport):
        self.kept[key] = open_transport


class Host:
    """Notes who could be asked, and lets in or not."""

    def __init__(self):
        self.error = None
        self.askers = []

    async def __call__(self, target, key, asker):
        self.askers.append(asker)
        if self.error is not None:
            raise self.error
        return (target, key)


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def pool():
    return Pool()


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def links(rows, pool, host):
    return Links(None, None, rows, pool, None, host)


async def test_a_kept_connection_asks_nobody_and_stops_with_the_row(links, rows, pool, host):
    person = object()
    told = []
    links.on_workspace = lambda workspace, key: told.append((workspace, key))
    assert await links.open(GPU, person) == (GPU.target, "key of me@gpu01")
    (again,) = pool.kept.values()
    await again()
    assert host.askers == [person, None]
    assert told == [(GPU, "key of me@gpu01")]
    rows.found = None
    with pytest.raises(WorkflowError) as caught:
        await again()
    assert (caught.value.code, caught.value.retryable, len(host.askers)) == ("vm_not_found", False, 2)


async def test_what_never_was_connected_is_not_kept(links, pool, host):
    host.error = TransportError("Refused.", code="ssh_refused")
    with pytest.raises(TransportError):
        await links.to(GPU, asked=False)
    assert (pool.kept, pool.asked) == ({}, [("key of me@gpu01", False)])


async def test_a_question_that_nobody_can_answer_names_the_machine(links, host):
    hint = "Run `%vm attach me@gpu01.lab` where you can type, or add your key."
    host.error = TransportError("It asks.", code="ssh_needs_answer", hint=hint)
    for _ in range(2):
        with pytest.raises(TransportError) as caught:
            await links.to(GPU)
        assert caught.value.hint == "Run `%vm attach gpu01` where you can type, or add your key."


async def test_a_person_who_joined_an_attempt_of_nobodys_is_asked(links, pool, host):
    needs = TransportError("It asks.", code="ssh_needs_answer", hint="%vm attach NAME")
    person = object()
    pool.join(needs)
    assert await links.open(GPU, person) == (GPU.target, "key of me@gpu01")
    assert host.askers == [person]
    for error, asker in ((needs, None), (TransportError("Refused.", code="ssh_refused"), person)):
        pool.join(error)
        with pytest.raises(TransportError):
            await links.open(GPU, asker)
    host.error = needs  # also the person could not answer
    with pytest.raises(TransportError):
        await links.open(GPU, person)
    assert host.askers == [person, person]
