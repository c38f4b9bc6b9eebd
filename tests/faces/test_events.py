"""`GET events` by real HTTP clients: two server processes on one store, resumed links, clients and servers that go away."""

import asyncio
import json
import sqlite3
import threading

import pytest

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.models import VMSpec
from tests.faces.fake_server import FakeServer

FAIL_SAFE_S = 60


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two servers of one user on one store."""
    folder = tmp_path_factory.mktemp("events")
    with (
        FakeServer(folder / "one") as one,
        FakeServer(folder / "two", data_dir=one.data_dir) as two,
        one.client() as first,
        two.client() as second,
    ):
        assert first.get("healthz").status_code == second.get("healthz").status_code == 200
        yield one, two


class Stream:
    """One link, read block by block."""

    def __init__(self, client, last=None, **params):
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        self._context = client.stream("GET", "events", headers=headers, params=params, timeout=FAIL_SAFE_S)
        self.response = self._context.__enter__()
        assert self.response.status_code == 200
        self._lines = self.response.iter_lines()
        first = self.block()
        assert set(first) == {"retry", "id"}
        self.place = int(first["id"])

    def block(self):
        """The next block that is not only a sign of life."""
        block, quiet = {}, 0
        for line in self._lines:
            if line.startswith(":"):
                quiet += 1
                assert quiet < 5, "nothing came for a minute"  # a fail-safe: the link itself never times out
                continue
            if not line:
                if block:
                    return block
                continue
            name, _, value = line.partition(": ")
            block[name] = value
        return None

    def event(self):
        block = self.block()
        if block is None:
            return None
        wire = json.loads(block["data"])
        assert (int(block["id"]), block["event"]) == (wire["id"], wire["type"])
        return wire

    def until(self, machine, status):
        """All events up to the one that says so."""
        found = []
        while True:
            found.append(self.event())
            last = found[-1]
            if (
                last["type"] == "machine.state"
                and last["machine"] == machine
                and last["data"]["status"] == status
            ):
                return found

    def close(self):
        self._context.__exit__(None, None, None)


@pytest.fixture
def follow():
    opened = []

    def start(client, *words, **named):
        opened.append(Stream(client, *words, **named))
        return opened[-1]

    yield start
    for stream in opened:
        stream.close()


def live(http, name):
    """Make a machine and end it."""
    made = http.post("vms", json={"name": name})
    assert made.status_code == 200, made.text
    assert http.delete(f"vms/{name}").status_code == 200


def rows_of(server):
    with sqlite3.connect(server.data_dir / "store.sqlite3") as db:
        return [row for (row,) in db.execute("SELECT id FROM events ORDER BY id")]


def test_a_follower_sees_new_events_only_and_those_of_both_servers(pair, follow):
    one, two = pair
    with one.client() as first, two.client() as second:
        live(first, "before")
        before = rows_of(one)[-1]
        streams = [follow(first), follow(second)]
        live(first, "mine")
        live(second, "theirs")
        for stream in streams:
            assert stream.response.headers["Content-Type"] == "text/event-stream"
            assert stream.place == before
            seen = stream.until("mine", "destroyed") + stream.until("theirs", "destroyed")
            ids = [event["id"] for event in seen]
            assert ids == [row for row in rows_of(one) if before < row <= ids[-1]]
            assert {"machine.state", "operation.step", "vm.created", "vm.destroyed"} <= {
                e["type"] for e in seen
            }


def test_a_link_that_is_resumed_loses_and_repeats_nothing(pair, follow):
    one, two = pair
    with one.client() as first, two.client() as second:
        stream = follow(first)
        begin, got, last = stream.place, [], stream.place
        worker = threading.Thread(target=lambda: [live(second, f"cut-{n}") for n in range(6)])
        worker.start()
        clients = [first, second]
        for turn in range(10_000):
            event = stream.event()
            got.append(event["id"])
            last = event["id"]
            if (event["machine"], event["data"].get("status")) == ("cut-5", "destroyed"):
                break
            if turn % 3 == 2:  # cut, and go on at the other server
                stream.close()
                last_as = {"last": last} if turn % 2 else {"last_event_id": str(last)}
                stream = follow(clients[turn % 2], **last_as)
                assert stream.place == last
        worker.join()
        assert got == [row for row in rows_of(one) if begin < row <= last]


@pytest.mark.parametrize("last", [10**12, 10**17])
def test_a_place_that_is_none_is_a_reset_first(pair, follow, last):
    one, _ = pair
    with one.client() as http:
        live(http, "older")
        stream = follow(http, last)
        event = stream.event()
        assert (event["type"], event["id"]) == ("reset", rows_of(one)[-1])
        live(http, "newer")
        seen = stream.until("newer", "destroyed")
        assert seen[0]["id"] > event["id"]


def test_a_place_that_is_not_kept_any_more_is_a_reset_first(pair, follow):
    one, _ = pair
    with one.client() as http:
        live(http, "forgotten")
        place = rows_of(one)[-3]
        with sqlite3.connect(one.data_dir / "store.sqlite3") as db:
            db.execute("DELETE FROM events WHERE id <= ? AND type NOT LIKE 'vm.%'", (place + 1,))
            db.execute("DELETE FROM events WHERE id = ?", (place,))
        stream = follow(http, place)
        assert stream.event()["type"] == "reset"


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19])
def test_a_place_that_is_no_number_is_refused(pair, last):
    one, _ = pair
    with one.client() as http:
        for given in ({"headers": {"Last-Event-ID": last}}, {"params": {"last_event_id": last}}):
            answer = http.get("events", **given)
            assert (answer.status_code, answer.json()["details"]["field"]) == (400, "last_event_id")


def test_a_client_that_goes_away_leaves_nothing_and_a_server_that_stops_ends_the_rest(tmp_path):
    server = FakeServer(tmp_path / "jupyter").start()
    with server.client() as http:
        live(http, "demo")
        for _ in range(20):
            Stream(http).close()
        stream = Stream(http)
        server.stop()
        assert stream.block() is None
        stream.close()
    assert "Traceback" not in server.log(), server.log()
    assert "was never" not in server.log()


async def test_the_client_follows_through_a_link_that_breaks(pair):
    one, two = pair
    machines = HttpRemoteMachines(one.connection)
    other = HttpRemoteMachines(two.connection)
    try:
        await asyncio.wait_for(cut_and_follow(one, machines, other), FAIL_SAFE_S)
    finally:
        await machines.aclose()
        await other.aclose()


async def cut_and_follow(one, machines, other):
    events = machines.events()
    first = asyncio.ensure_future(events.__anext__())
    name = 0
    while not first.done():  # it may not listen yet
        await other.create(VMSpec(f"told-{name}"))
        await other.destroy(f"told-{name}")
        name += 1
    got = [(await first).id]
    # The link is closed under it, as by a proxy that is restarted.
    await machines._http._transport.aclose()
    await other.create(VMSpec("after"))
    await other.destroy("after")
    async for event in events:
        got.append(event.id)
        if (event.machine, event.data.get("status")) == ("after", "destroyed"):
            break
    await events.aclose()
    assert got == [row for row in rows_of(one) if got[0] <= row <= got[-1]]
    resumed = machines.events(after=got[0])
    assert (await resumed.__anext__()).id == got[1]
    await resumed.aclose()
