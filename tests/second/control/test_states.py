"""The table of states is closed and total, and rows keep to it."""

import asyncio
from typing import get_args

import pytest
from given import ManualClock, fails, one_row, planes, settled
from plane import check_true

from jupyter_rmx.control.states import ACTIVE, MOVES, SEEN, SETTLED, sources_of
from jupyter_rmx.models import VMSpec, VMStatus
from jupyter_rmx.providers.base import ProviderStatus
from jupyter_rmx.store.schema import ENDED

STATES = frozenset(get_args(VMStatus))
WORDS = frozenset(get_args(ProviderStatus))


@pytest.fixture
def plane(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop, clock=ManualClock()) as make:
        yield make()


def test_every_state_is_in_the_table_and_leads_to_states():
    assert MOVES.keys() == STATES
    assert all(targets <= STATES and state not in targets for state, targets in MOVES.items())
    assert ACTIVE | SETTLED | set(ENDED) == STATES


def test_ended_is_final_and_all_else_comes_to_an_end():
    assert {state for state, targets in MOVES.items() if not targets} == set(ENDED)
    for state in STATES:
        reached, new = set(), {state}
        while new:
            reached |= new
            new = {target for one in new for target in MOVES[one]} - reached
        assert reached & set(ENDED), state
    assert {state for state in STATES if not sources_of(state)} == {"creating"}


def test_sources_are_the_table_read_backwards():
    for target in STATES:
        assert sources_of(target) == {state for state in STATES if target in MOVES[state]}


def test_whatever_a_provider_says_of_a_settled_machine_has_one_meaning_along_the_table():
    assert SEEN.keys() == {(state, word) for state in SETTLED for word in WORDS}
    for (state, word), seen in SEEN.items():
        assert seen.status == state or seen.status in MOVES[state]
        assert (seen.status == "destroyed") == (word == "gone")
        assert (seen.reason_code is None) == (seen.reason is None)
        assert (seen.reason_code is None) == (word not in {"gone", "stopped"})


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("running", "running", None),
        ("creating", "running", None),
        ("paused", "paused", None),
        ("stopped", "paused", "vm_stopped"),
        ("gone", "destroyed", "vm_gone"),
        ("on fire", "running", None),
    ],
)
async def test_a_row_follows_what_its_provider_says(plane, said, status, reason, caplog):
    vm = await plane.control.create(VMSpec("demo"), key="k")
    plane.provider.vanish(vm.provider_vm_id) if said == "gone" else plane.provider.drift(
        vm.provider_vm_id, said
    )
    await plane.control.observer.look_or_keep(await plane.control.known("demo"))
    row = await one_row(plane)
    assert (row.vm.status, row.vm.reason_code, row.active) == (status, reason, status == "running")
    assert ("taken for running" in caplog.text) == (said == "on fire")
    assert (row.key is None) == (status == "destroyed")


async def test_a_paused_machine_that_its_provider_started_runs_and_counts(plane):
    vm = await plane.control.create(VMSpec("demo"))
    await plane.use.pause("demo")
    assert not (await one_row(plane)).active
    plane.provider.drift(vm.provider_vm_id, "creating")
    assert (await plane.control.get("demo")).status == "paused"
    plane.provider.drift(vm.provider_vm_id, "running")
    assert (await plane.control.get("demo")).status == "running"
    assert (await one_row(plane)).active


async def test_what_a_provider_says_is_not_believed_over_a_change_that_was_made_meanwhile(plane):
    await plane.control.create(VMSpec("demo"))
    before = await plane.control.known("demo")
    await plane.use.pause("demo")
    await plane.use.resume("demo")
    kept = await plane.control.observer.believe(before, "paused")
    assert (kept.vm.status, kept.version > before.version) == ("running", True)


async def test_an_operation_has_its_machine_to_itself(plane):
    """While it is being paused nobody believes the provider, pauses it again, or ends it under the hand."""
    vm = await plane.control.create(VMSpec("demo"))
    plane.provider.hang("pause")
    pausing = asyncio.ensure_future(plane.use.pause("demo"))
    while not plane.provider.held("pause"):
        await asyncio.sleep(0.002)
    plane.provider.vanish(vm.provider_vm_id)
    row = await plane.control.observer.look(await one_row(plane))
    assert (row.vm.status, bool(row.operation_id)) == ("running", True)
    assert plane.provider.calls("status") == []
    plane.provider.release()
    await fails("vm_not_found", pausing)
    assert (await one_row(plane)).vm.reason_code == "vm_gone"
    await settled(plane)
    await check_true(plane)


async def test_each_change_of_state_is_told_once(plane):
    vm = await plane.control.create(VMSpec("demo"))
    await plane.use.pause("demo")
    await plane.use.resume("demo")
    plane.provider.drift(vm.provider_vm_id, "stopped")
    for _ in range(2):
        await plane.control.get("demo")
    await plane.control.destroy("demo")
    async with plane.store.read() as tx:
        events = await tx.events.after("me", 0, limit=1000)
    told = [event.data["status"] for event in events if event.type == "machine.state"]
    assert told == ["creating", "running", "paused", "running", "paused", "destroying", "destroyed"]
