"""Two processes' reconcilers on one store: shared on PostgreSQL, one elected on SQLite."""

from collections import Counter
from datetime import timedelta

from racers import Race

from jupyter_rmx.control.reconcile import BATCH, LOOK_EVERY
from jupyter_rmx.models import VM, VMSpec
from jupyter_rmx.providers.base import ProviderSpec
from jupyter_rmx.store.machines import MachineRecord

MACHINES = 2 * BATCH
LATER_S = LOOK_EVERY.total_seconds() + 1


async def many(plane):
    """So many machines that one round of one process cannot look at all; none was looked at for long."""
    clock, records = plane.control.context.clock, []
    for number in range(MACHINES):
        name = f"m{number}"
        made = await plane.provider.create(
            ProviderSpec(name, plane.control.owner, None, None), key=f"vm_{name}"
        )
        now = clock.now() - timedelta(hours=1)
        vm = VM(
            made.key, name, plane.control.owner, "fake", "running", now, provider_vm_id=made.provider_vm_id
        )
        records.append(MachineRecord(vm, None, VMSpec(name).fingerprint(), checked_at=now))
    async with plane.store.write() as tx:
        for record in records:
            assert await tx.machines.insert(record)
    return {record.vm.provider_vm_id for record in records}


def looks(plane, since=0):
    """How often each machine was looked at, and by which process how many."""
    calls = [call for call in plane.provider.calls("status") if call.number > since]
    return Counter(call.arguments["id"] for call in calls), Counter(call.pid for call in calls)


def last(plane):
    return plane.provider.calls()[-1].number


def one_round(race, seconds):
    race.say(f"{seconds}")
    race.hear("done")


async def test_reconcilers_share_what_is_due(postgres_url, racers, plane_at):
    plane = plane_at(postgres_url, paid=False)
    ids = await many(plane)
    race = Race(racers, "Reconcile", plane, url=postgres_url, paid=False)
    for seconds in (0, LATER_S):
        since = last(plane)
        one_round(race, seconds)
        one_round(race, seconds)  # nothing is due any more
        each, by = looks(plane, since)
        assert each == dict.fromkeys(ids, 1)
        assert by == {racer.pid: BATCH for racer in racers}
    race.say("")
    race.answers()


async def test_a_clock_a_little_ahead_makes_nobody_look_again(postgres_url, racers, plane_at):
    plane = plane_at(postgres_url, paid=False)
    ids = await many(plane)
    race = Race(racers, "Reconcile", plane, url=postgres_url, paid=False)
    ahead, behind = racers
    for racer, seconds in ((ahead, 2), (ahead, 2), (behind, 0), (behind, 0)):
        racer.say(f"{seconds}")
        racer.hear("done")
    assert looks(plane) == (dict.fromkeys(ids, 1), {ahead.pid: MACHINES})
    race.say("")
    race.answers()


async def test_on_sqlite_one_is_elected_and_replaced_when_it_dies(racers, plane_at):
    plane = plane_at(None, paid=False)
    ids = await many(plane)
    race = Race(racers, "Reconcile", plane, paid=False)
    one_round(race, 0)
    one_round(race, 0)
    each, by = looks(plane)
    assert each == dict.fromkeys(ids, 1)
    ((elected, number),) = by.items()
    assert number == MACHINES
    dead, heir = sorted(racers, key=lambda racer: racer.pid != elected)

    dead.kill()
    since = last(plane)
    for _ in range(2):
        heir.say(f"{LATER_S}")
        heir.hear("done")
    assert looks(plane, since) == (dict.fromkeys(ids, 1), {heir.pid: MACHINES})
    heir.say("")
    heir.answers()
