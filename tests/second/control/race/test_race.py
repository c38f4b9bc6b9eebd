"""The race test: two processes with a control plane each, on one store, 200 requests at the same time.

| case                 | what holds                                                                           |
| -------------------- | ------------------------------------------------------------------------------------ |
| one key              | one machine, one reservation, one row; all 200 get that machine                      |
| limit of 5, 200 keys | never a sixth machine at the provider, at no moment; reservations are machines       |
| destroy while exec   | one destroy at the provider, no command runs after it, all get an answer or its end  |
| pause while exec     | a command runs once or not at all; one resume for each pause; row and provider agree |

Calls at the provider are held until both processes are in the middle of it, so every run is a race and none depends on
how fast the computer is.
"""

from collections import Counter
from itertools import pairwise

from plane import check_true
from racers import Race, codes, wait_until

from jupyter_rmx.models import VMSpec

EACH = 100
HELD = 5
LIMIT = 5

# What a request may be told, but for its answer. Whatever else comes is a fault.
TOLD_AT_LIMIT = {"vm_active_limit_exceeded"}
TOLD_WHEN_DESTROYED = {"vm_not_found"}
TOLD_WHEN_PAUSED = {"vm_busy"}


async def test_one_key_makes_one_machine(shared_url, racers, plane_at):
    plane = plane_at(shared_url)
    plane.provider.hang("create", times=None)
    race = Race(racers, "OneKey", plane, url=shared_url, count=EACH)
    wait_until(lambda: plane.provider.held("create") == 1)
    race.hear("tried")
    plane.provider.release()
    answers = race.answers()

    assert codes(answers) == {"ok": 2 * EACH}, codes(answers)
    assert len({vm_id for _, vm_id in answers.values()}) == 1
    assert len(plane.provider.calls("create")) == 1
    assert len(plane.provider.machines()) == 1
    assert len(plane.credits.calls("reserve")) == 1
    assert plane.credits.calls("refund") == []
    assert len(await plane.rows()) == 1, "nobody made a second row that failed"
    await check_true(plane)


async def test_the_limit_holds_while_all_are_made(shared_url, racers, plane_at):
    plane = plane_at(shared_url)
    plane.provider.quota(LIMIT)  # a sixth, at any moment, would be refused there, and seen below
    plane.provider.hang("create", times=None)
    race = Race(racers, "Limit", plane, url=shared_url, count=EACH, max_active_owner=LIMIT)
    wait_until(lambda: plane.provider.held("create") == LIMIT)
    race.hear("tried")
    plane.provider.release()
    answers = race.answers()

    assert codes(answers) == {"ok": LIMIT} | dict.fromkeys(TOLD_AT_LIMIT, 2 * EACH - LIMIT), codes(answers)
    assert len(plane.provider.calls("create", "answered")) == len(plane.provider.calls("create")) == LIMIT
    assert len(plane.credits.calls("reserve")) == LIMIT == len(plane.credits.reservations(live=True))
    await check_true(plane)


async def test_the_limit_holds_while_machines_come_and_go(shared_url, racers, plane_at):
    plane = plane_at(shared_url)
    plane.provider.quota(LIMIT)
    race = Race(racers, "Churn", plane, url=shared_url, count=EACH, max_active_owner=LIMIT)
    answers = race.answers()

    assert set(codes(answers)) <= {"ok"} | TOLD_AT_LIMIT, codes(answers)
    made = plane.provider.calls("create")
    assert len(made) == codes(answers)["ok"] > LIMIT
    assert {call.outcome for call in made} == {"answered"}, "never more than the limit at the provider"
    assert len(plane.credits.calls("reserve")) == len(made)
    ended = Counter(call.arguments["id"] for call in plane.provider.calls("destroy", committed=True))
    assert set(ended.values()) == {1}
    assert plane.provider.machines() == []
    await check_true(plane)


async def demo(plane):
    """A machine, and commands of both processes that the provider does not begin before it is released."""
    vm = await plane.control.create(VMSpec("demo"), key="k")
    for share in range(2):
        for number in range(HELD):
            plane.provider.hang("exec", about=f"{share}-{number * 7}")
    return vm


async def test_destroy_while_commands_run(shared_url, racers, plane_at):
    plane = plane_at(shared_url)
    vm = await demo(plane)
    race = Race(racers, "Destroy", plane, url=shared_url, count=EACH)
    wait_until(lambda: plane.provider.held("exec") == 2 * HELD)
    race.say("now")
    wait_until(lambda: plane.provider.calls("destroy", committed=True))
    plane.provider.release()
    answers = race.answers()

    (destroyed,) = plane.provider.calls("destroy", committed=True)
    assert len(plane.provider.calls("destroy")) == 1
    ran = plane.provider.calls("exec", committed=True)
    assert all(call.began < destroyed.ended for call in ran)
    destroys = {name: answer for name, answer in answers.items() if name.startswith("other")}
    assert set(codes(destroys)) <= {"ok"} | TOLD_WHEN_DESTROYED, codes(destroys)
    assert {answer for kind, answer in destroys.values() if kind == "ok"} == {vm.id}
    execs = {name: answer for name, answer in answers.items() if name not in destroys}
    assert len(execs) == 2 * EACH
    assert set(codes(execs)) <= {"ok"} | TOLD_WHEN_DESTROYED, codes(execs)
    _ran_once_where_answered(execs, ran)
    held = {f"{share}-{number * 7}" for share in range(2) for number in range(HELD)}
    assert {execs[name][0] for name in held} == {"vm_not_found"}, "those that were begun too late"
    await check_true(plane)


def _ran_once_where_answered(execs, ran):
    """A command with an answer ran once, one with an error not at all: no answer was lost here."""
    times = Counter(call.arguments["command"] for call in ran)
    assert times == {name: 1 for name, (kind, _) in execs.items() if kind == "ok"}


async def test_pause_while_commands_run(shared_url, racers, plane_at):
    plane = plane_at(shared_url)
    await demo(plane)
    race = Race(racers, "Pause", plane, url=shared_url, count=EACH)
    wait_until(lambda: plane.provider.held("exec") == 2 * HELD)
    race.say("now")
    wait_until(lambda: plane.provider.calls("pause", committed=True))
    plane.provider.release()
    answers = race.answers()

    pauses = {name: answer for name, answer in answers.items() if name.startswith("other")}
    assert set(codes(pauses)) <= {"ok"} | TOLD_WHEN_PAUSED, codes(pauses)
    assert codes(pauses)["ok"]
    execs = {name: answer for name, answer in answers.items() if name not in pauses}
    assert len(execs) == 2 * EACH
    assert set(codes(execs)) <= {"ok"} | TOLD_WHEN_PAUSED, codes(execs)
    _ran_once_where_answered(execs, plane.provider.calls("exec", committed=True))
    _take_turns(plane.provider)
    await check_true(plane)


def _take_turns(provider):
    """Each pause is followed by one resume, if anybody needed the machine again, and neither is done twice."""
    moves = sorted(provider.calls("pause") + provider.calls("resume"), key=lambda call: call.number)
    assert all(call.committed for call in moves), moves
    assert all(before.ended < after.began for before, after in pairwise(moves))
    expected = ["pause", "resume"] * len(moves)
    assert [call.method for call in moves] == expected[: len(moves)]
    (machine,) = provider.machines()
    assert machine.status == ("paused" if len(moves) % 2 else "running")
