"""Kept connections: tried again with back-off, parked, and begun anew; time is moved by hand."""

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

from jupyter_rmx.errors import ProviderError, TransportError, UsageError
from jupyter_rmx.transports import watch
from jupyter_rmx.transports.pool import TransportPool
from jupyter_rmx.transports.reconnect import STABLE_S, Reconnect, ReconnectRules
from tests.lines import HandTiming, Line, Opener, fail_safe, failure, ready_opener, settle


@pytest.fixture(autouse=True)
def _fail_safe(jp_asyncio_loop):
    with fail_safe(jp_asyncio_loop):
        yield


class Kept:
    """A pool with one kept key."""

    def __init__(self, *, limit=20, delay_s=2.0):
        self.timing = HandTiming()
        self.told = []
        self.pool = TransportPool(
            ReconnectRules(limit, delay_s),
            timing=self.timing,
            on_state=lambda key, state: self.told.append(state),
        )
        self.opener = ready_opener()
        self.pool.keep("k", self.opener)

    async def get(self, **options):
        return await self.pool.get("k", self.opener, **options)

    async def lose(self):
        line = self.opener.made[-1]
        line.lose()
        await settle()

    async def advance(self, seconds):
        self.timing.advance(seconds)
        await settle()

    @property
    def state(self):
        return self.pool.state("k")

    def words(self):
        words, self.told = [state.status for state in self.told], []
        return words


async def _ready(**options):
    kept = Kept(**options)
    await kept.get()
    kept.words()
    await kept.advance(STABLE_S)
    return kept


async def test_keeping_opens_nothing():
    kept = Kept()
    await kept.advance(3600)
    assert (kept.opener.calls, kept.told, kept.state.status) == (0, [], "idle")


async def test_a_lost_one_comes_back_by_itself():
    kept = await _ready()
    await kept.lose()
    state = kept.state
    assert (state.status, state.attempt, state.next_in_s) == ("reconnecting", 1, 2.0)
    assert (state.code, bool(state.reason), bool(state.hint)) == ("ssh_connection_lost", True, True)
    await kept.advance(1.99)
    assert kept.opener.calls == 1
    await kept.advance(0.01)
    assert kept.state.status == "ready"
    assert [(state.status, state.attempt, state.next_in_s) for state in kept.told] == [
        ("reconnecting", 1, 2.0),
        ("reconnecting", 1, 0.0),
        ("ready", 0, None),
    ]
    assert await kept.get() is kept.opener.made[1]


async def test_one_that_nobody_keeps_stays_away():
    timing = HandTiming()
    pool, open_one = TransportPool(timing=timing), ready_opener()
    (await pool.get("k", open_one)).lose()
    timing.advance(3600)
    await settle()
    assert open_one.calls == 1
    assert pool.state("k").status == "idle"


async def test_back_off_doubles_up_to_a_minute_and_ends_at_the_limit():
    kept = await _ready(limit=8)
    await kept.lose()
    delays = []
    for attempt in range(1, 9):
        assert kept.state.attempt == attempt
        delays.append(kept.state.next_in_s)
        kept.opener.error = failure(f"ssh_{'odd' if attempt % 2 else 'even'}")
        await kept.advance(kept.state.next_in_s)
    assert delays == [2, 4, 8, 16, 32, 60, 60, 60]
    assert kept.state.status == "blocked"
    assert kept.state.code == "ssh_even"
    await kept.advance(1e6)
    assert kept.opener.calls == 1 + 8
    assert kept.timing.waiting == []


async def test_parks_after_three_that_are_the_same():
    kept = await _ready()
    await kept.lose()
    kept.opener.error = failure("ssh_refused")
    for delay in (2, 4, 8):
        assert kept.state.next_in_s == delay
        await kept.advance(delay)
    assert kept.state.status == "blocked"
    assert kept.state.reason == "It failed by ssh_refused."
    assert kept.state.hint.startswith("Do something. ")
    assert "use the machine" in kept.state.hint


@pytest.mark.parametrize(
    "error",
    [
        failure("ssh_auth_failed"),
        failure("ssh_host_key_changed"),
        failure("ssh_needs_answer"),
        failure("ssh_bad_key", retryable=False),
        UsageError("The target is none.", hint="Write another."),
        ProviderError("It does not run.", hint="Resume it.", code="vm_not_running"),
    ],
    ids=lambda error: error.code,
)
async def test_parks_at_once_where_only_a_person_can_help(error):
    kept = await _ready()
    await kept.lose()
    kept.opener.error = error
    await kept.advance(2)
    state = kept.state
    assert (state.status, state.code, state.reason, state.hint) == (
        "blocked",
        error.code,
        error.message,
        error.hint,
    )
    await kept.advance(1e6)
    assert kept.opener.calls == 2


@pytest.mark.parametrize("code", ["ssh_unknown_host", "ssh_protocol_error"])
async def test_what_often_passes_is_tried_again_though_the_error_says_no(code):
    kept = await _ready()
    await kept.lose()
    kept.opener.error = failure(code, retryable=False)
    await kept.advance(2)
    assert kept.state.status == "reconnecting"
    kept.opener.error = None
    await kept.advance(4)
    assert kept.state.status == "ready"


async def test_an_error_of_no_tree_is_parked_and_logged(caplog):
    kept = await _ready()
    await kept.lose()
    kept.opener.error = ZeroDivisionError("a slip of ours")
    await kept.advance(2)
    assert kept.state.status == "blocked"
    assert kept.state.hint
    assert "a slip of ours" in caplog.text
    assert "a slip of ours" not in str(kept.state)


async def test_limit_zero_means_never_by_itself():
    kept = await _ready(limit=0)
    await kept.lose()
    assert kept.state.status == "blocked"
    assert kept.timing.waiting == []
    assert (await kept.get()).state == "ready"


async def test_a_server_that_throws_everybody_out_is_not_asked_for_ever():
    kept = Kept()
    await kept.get()
    for delay in (2, 4):
        await kept.lose()
        assert kept.state.next_in_s == delay
        await kept.advance(delay)
        assert kept.state.status == "ready"
    await kept.lose()
    assert kept.state.status == "blocked"


async def test_one_that_held_begins_a_fresh_count():
    kept = await _ready()
    for _ in range(5):
        await kept.lose()
        assert (kept.state.attempt, kept.state.next_in_s) == (1, 2.0)
        await kept.advance(2)
        await kept.advance(STABLE_S)
        assert kept.state.status == "ready"


async def test_a_person_does_not_wait_for_the_back_off():
    kept = await _ready()
    await kept.lose()
    line = await kept.get()
    assert line is kept.opener.made[1]
    assert kept.words() == ["reconnecting", "connecting", "ready"]
    await kept.advance(10)
    assert kept.opener.calls == 2  # the try that waited is off


async def test_a_poll_waits_for_the_next_try_and_joins_it():
    kept = await _ready()
    await kept.lose()
    waiting = [asyncio.create_task(kept.get(asked=False)) for _ in range(3)]
    await settle()
    assert kept.opener.calls == 1
    await kept.advance(2)
    assert await asyncio.gather(*waiting) == [kept.opener.made[1]] * 3
    assert kept.opener.calls == 2


async def test_polls_get_the_error_of_the_try_they_waited_for():
    kept = await _ready()
    await kept.lose()
    kept.opener.error = failure("ssh_refused")
    waiting = asyncio.create_task(kept.get(asked=False))
    await kept.advance(2)
    with pytest.raises(TransportError) as caught:
        await waiting
    assert caught.value.code == "ssh_refused"


async def test_a_parked_one_is_an_error_for_polls_and_a_try_for_a_person():
    kept = await _ready()
    await kept.lose()
    kept.opener.error = failure("ssh_auth_failed")
    await kept.advance(2)
    with pytest.raises(TransportError) as caught:
        await kept.get(asked=False)
    assert (caught.value.code, caught.value.retryable) == ("ssh_auth_failed", False)
    assert (caught.value.message, caught.value.hint) == ("It failed by ssh_auth_failed.", "Do something.")
    assert kept.opener.calls == 2
    kept.opener.error = None
    assert (await kept.get()).state == "ready"
    assert kept.opener.calls == 3


async def test_a_person_joins_the_try_that_is_under_way():
    kept = await _ready()
    kept.opener.go.clear()
    await kept.lose()
    await kept.advance(2)
    waiting = asyncio.create_task(kept.get())
    await settle()
    assert kept.opener.calls == 2
    kept.opener.go.set()
    assert await waiting is kept.opener.made[1]
    assert kept.opener.calls == 2


async def test_a_person_who_can_answer_is_asked_though_our_own_try_could_not():
    """The try that was under way had nobody to ask; the one who came has."""
    kept = await _ready()
    kept.opener.go.clear()
    kept.opener.error = failure("ssh_needs_answer")
    await kept.lose()
    await kept.advance(2)
    by_person = ready_opener()
    waiting = [asyncio.create_task(kept.pool.get("k", by_person)) for _ in range(2)]
    await settle()
    kept.opener.go.set()
    assert await asyncio.gather(*waiting) == [by_person.made[0]] * 2
    assert by_person.calls == 1


async def test_a_person_whose_own_try_wants_an_answer_meets_the_error_once():
    kept = Kept()
    kept.opener.error = failure("ssh_needs_answer")
    with pytest.raises(TransportError):
        await kept.get()
    assert kept.opener.calls == 1
    assert kept.state.status == "blocked"


async def test_a_first_try_by_a_person_that_fails_goes_on_by_itself():
    kept = Kept()
    kept.opener.error = failure("ssh_timeout")
    with pytest.raises(TransportError):
        await kept.get()
    assert (kept.state.status, kept.state.attempt) == ("reconnecting", 1)
    kept.opener.error = None
    await kept.advance(2)
    assert kept.state.status == "ready"


@pytest.mark.parametrize("how", ["rearm", "rearm_all"])
@pytest.mark.parametrize("code", ["ssh_refused", "ssh_auth_failed", "ssh_host_key_changed"])
async def test_a_parked_one_begins_anew(how, code):
    kept = await _ready()
    await kept.lose()
    kept.opener.error = failure(code)
    await kept.advance(2)
    await kept.advance(4)
    await kept.advance(8)
    assert kept.state.status == "blocked"
    calls = kept.opener.calls
    kept.opener.error = failure("ssh_refused")
    _rearm(kept, how)
    await settle()
    assert kept.opener.calls == calls + 1
    assert (kept.state.status, kept.state.attempt, kept.state.next_in_s) == ("reconnecting", 1, 2.0)
    kept.opener.error = None
    _rearm(kept, how)
    await settle()
    assert kept.state.status == "ready"
    _rearm(kept, how)  # what is ready is left alone
    await settle()
    assert kept.opener.calls == calls + 2


def _rearm(kept, how):
    if how == "rearm":
        kept.pool.rearm("k")
    else:
        kept.pool.rearm_all()


async def test_a_new_network_rings_no_phone():
    kept = await _ready()
    await kept.lose()
    kept.opener.error = failure("ssh_needs_answer")
    await kept.advance(2)
    kept.pool.rearm_all()
    await settle()
    assert kept.opener.calls == 2
    kept.pool.rearm("k")
    await settle()
    assert kept.opener.calls == 3


async def test_rearming_what_is_idle_or_unknown_does_nothing():
    kept = Kept()
    kept.pool.rearm("k")
    kept.pool.rearm("other")
    kept.pool.rearm_all()
    await settle()
    assert kept.opener.calls == 0


async def test_letting_go_ends_the_tries_and_leaves_what_is_ready():
    kept = await _ready()
    kept.pool.let_go("k")
    assert kept.pool.keys() == ["k"]
    await kept.lose()
    assert kept.state.status == "idle"
    kept.pool.keep("k", kept.opener)
    await kept.get()
    await kept.lose()
    waiting = asyncio.create_task(kept.get(asked=False))
    await settle()
    kept.pool.let_go("k")
    assert kept.state.status == "idle"
    assert (await waiting).state == "ready"  # who waited opens it for themselves
    await kept.pool.aclose()
    assert kept.timing.waiting == []


async def test_dropping_ends_the_tries_and_those_who_wait():
    kept = await _ready()
    await kept.lose()
    waiting = asyncio.create_task(kept.get(asked=False))
    await settle()
    await kept.pool.drop("k")
    with pytest.raises(TransportError) as caught:
        await waiting
    assert caught.value.code == "ssh_connection_lost"
    await kept.advance(3600)
    assert kept.opener.calls == 1
    assert kept.state.status == "idle"
    assert kept.pool._links == {}


async def test_a_kept_one_is_closed_when_idle_without_being_opened_again():
    kept = await _ready()
    await kept.advance(600)
    assert kept.state.status == "idle"
    await kept.advance(3600)
    assert kept.opener.calls == 1
    await kept.get()
    await kept.lose()
    assert kept.state.status == "reconnecting"  # and it is still kept


async def test_a_try_that_is_dropped_closes_what_it_made():
    """`open` may have come to its end when it is cancelled."""
    pool, made = TransportPool(timing=HandTiming()), []

    class Stubborn(Opener):
        async def __call__(self):
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                made.append(Line())
                return made[0]

    waiting = asyncio.create_task(pool.get("k", Stubborn()))
    await settle()
    await pool.drop("k")
    with pytest.raises(TransportError):
        await waiting
    assert made[0].closed == 1


def test_a_record_is_forgotten_only_when_it_may_be():
    record = Reconnect(ReconnectRules())
    record.failed(failure("ssh_refused"))
    record.lost(failure("ssh_connection_lost"), STABLE_S - 0.1)
    assert record.attempt == 2
    record.lost(failure("ssh_connection_lost"), STABLE_S)
    assert record.attempt == 1


class Days:
    """A wall clock and a monotonic one that differ, and a network; each step is one look of the watcher."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.wall, self.steady = datetime(2026, 1, 1, tzinfo=timezone.utc), 50.0
        self.addresses = frozenset({"10.0.0.2"})

    def now(self):
        return self.wall

    def monotonic(self):
        return self.steady

    async def sleep(self, seconds):
        if not self.steps:
            await asyncio.Event().wait()
        wall, steady, addresses = self.steps.pop(0)
        self.wall += timedelta(seconds=wall)
        self.steady += steady
        self.addresses = frozenset(addresses)


HOME = {"10.0.0.2"}


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        ([(3, 3, HOME)] * 5, 0),
        ([(9, 9, HOME)] * 5, 0),  # a busy computer
        ([(3600, 3, HOME), (3, 3, HOME)], 1),  # asleep, and the monotonic clock with it
        ([(3600, 3600, HOME), (3, 3, HOME)], 1),  # stopped, or asleep where that clock goes on
        ([(-3600, 3, HOME)], 0),  # the wall clock was put back
        ([(3, 3, set()), (3, 3, set())], 0),  # the network went
        ([(3, 3, set()), (3, 3, HOME)], 1),  # and came back
        ([(3, 3, {"192.168.0.7"})], 1),
        ([(3, 3, {*HOME, "10.8.0.1"}), (3, 3, HOME)], 1),  # a VPN came, and went
    ],
)
async def test_the_watcher_tells_of_new_networks_and_of_sleep(steps, times):
    days, told = Days(*steps), []
    task = asyncio.create_task(
        watch.watch_network(
            lambda: told.append(1), addresses=lambda: days.addresses, clock=days, sleep=days.sleep
        )
    )
    await settle()
    assert days.steps == []
    assert len(told) == times
    task.cancel()
    await asyncio.wait([task])


def test_addresses_are_those_of_a_network(monkeypatch):
    import socket
    from types import SimpleNamespace

    import psutil

    def one(family, address):
        return SimpleNamespace(family=family, address=address)

    found = {
        "lo": [one(socket.AF_INET, "127.0.0.1"), one(socket.AF_INET6, "::1")],
        "eth0": [
            one(socket.AF_INET, "10.0.0.2"),
            one(socket.AF_INET6, "fe80::1%eth0"),
            one(socket.AF_INET6, "2001:db8::1"),
            one(psutil.AF_LINK, "00:00:00:00:00:00"),
        ],
        "usb0": [one(socket.AF_INET, "169.254.3.4")],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    assert watch.local_addresses() == {"10.0.0.2", "2001:db8::1"}
    monkeypatch.undo()
    assert not any(address.startswith("127.") for address in watch.local_addresses())
