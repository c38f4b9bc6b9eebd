"""The life of tickets, grants and claims, by a clock that is set by hand."""

from datetime import datetime, timezone

import pytest

from jupyter_rmx.loopback.tickets import GRANT_IDLE_S, TICKET_S, Tickets


class HandClock:
    def __init__(self):
        self.at = 1000.0

    def now(self):
        return datetime.fromtimestamp(self.at, timezone.utc)

    def monotonic(self):
        return self.at


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def tickets(clock):
    return Tickets(clock, limit=10)


def mint(tickets, machine="vm_1", port=8000):
    return tickets.mint("me", machine, "demo-0a1b2c3d", port, "/x")


def grant(tickets, machine="vm_1", port=8000):
    return tickets.redeem(mint(tickets, machine, port), machine_id=machine, port=port).cookie


def test_a_ticket_is_good_once(tickets):
    ticket = mint(tickets)
    redeemed = tickets.redeem(ticket, machine_id="vm_1", port=8000)
    assert (redeemed.path, redeemed.grant.owner) == ("/x", "me")
    assert tickets.check(redeemed.cookie, machine_id="vm_1", port=8000) == redeemed.grant
    assert tickets.redeem(ticket, machine_id="vm_1", port=8000) is None


@pytest.mark.parametrize(("after", "good"), [(TICKET_S - 0.1, True), (TICKET_S, False)])
def test_a_ticket_lives_a_minute(tickets, clock, after, good):
    ticket = mint(tickets)
    clock.at += after
    assert (tickets.redeem(ticket, machine_id="vm_1", port=8000) is not None) is good


@pytest.mark.parametrize(("machine", "port"), [("vm_2", 8000), ("vm_1", 8001)])
def test_a_ticket_at_the_wrong_door_is_used_up(tickets, machine, port):
    ticket = mint(tickets)
    assert tickets.redeem(ticket, machine_id=machine, port=port) is None
    assert tickets.redeem(ticket, machine_id="vm_1", port=8000) is None


def test_a_grant_is_for_one_port_of_one_machine(tickets):
    cookie = grant(tickets)
    assert tickets.check(cookie, machine_id="vm_1", port=8001) is None
    assert tickets.check(cookie, machine_id="vm_2", port=8000) is None
    assert tickets.check(cookie + "x", machine_id="vm_1", port=8000) is None
    assert tickets.check("", machine_id="vm_1", port=8000) is None
    assert tickets.check("\udcff", machine_id="vm_1", port=8000) is None
    assert tickets.check(cookie, machine_id="vm_1", port=8000)


def test_a_grant_lives_on_with_its_use(tickets, clock):
    cookie = grant(tickets)
    for _ in range(3):
        clock.at += GRANT_IDLE_S - 1
        assert tickets.check(cookie, machine_id="vm_1", port=8000)
    clock.at += GRANT_IDLE_S
    assert tickets.check(cookie, machine_id="vm_1", port=8000) is None


def test_revoking_a_machine_ends_its_tickets_grants_and_claims_only(tickets):
    ticket, cookie, claim = mint(tickets), grant(tickets), tickets.new_open("vm_1", 8000)
    other = grant(tickets, "vm_2")
    tickets.revoke_machine("vm_1")
    assert tickets.redeem(ticket, machine_id="vm_1", port=8000) is None
    assert tickets.check(cookie, machine_id="vm_1", port=8000) is None
    assert not tickets.claim(claim)
    assert tickets.check(other, machine_id="vm_2", port=8000)


def test_one_window_claims_a_tab_once_and_in_time(tickets, clock):
    first, second = tickets.new_open("vm_1", 8000), tickets.new_open("vm_1", 8000)
    assert tickets.claim(first)
    assert not tickets.claim(first)
    clock.at += TICKET_S
    assert not tickets.claim(second)
    assert not tickets.claim("open_unknown")


def test_memory_is_bounded_and_the_least_used_goes_first(tickets):
    cookies = [grant(tickets) for _ in range(10)]
    assert tickets.check(cookies[0], machine_id="vm_1", port=8000)
    grant(tickets)
    assert tickets.check(cookies[0], machine_id="vm_1", port=8000)
    assert tickets.check(cookies[1], machine_id="vm_1", port=8000) is None


def test_no_secret_is_kept_or_shown(tickets):
    ticket = mint(tickets)
    redeemed = tickets.redeem(mint(tickets), machine_id="vm_1", port=8000)
    kept = repr(
        {name: vars(value) if hasattr(value, "__dict__") else value for name, value in vars(tickets).items()}
    )
    for secret in (ticket, redeemed.cookie):
        assert secret not in kept
        assert secret not in repr(redeemed)


def test_two_servers_use_two_cookie_names(clock):
    assert Tickets(clock).cookie_name != Tickets(clock).cookie_name
