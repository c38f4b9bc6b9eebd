"""The engine's laws, on workflows made for the purpose."""

import asyncio
import contextlib
from datetime import timedelta

import pytest
from given import FAIL_SAFE_S, ManualClock, fails, until

from jupyter_rmx.control.engine import LONGEST_RETRY_S, Engine, OperationLostError, retry_after
from jupyter_rmx.control.leftovers import LONGEST_AHEAD
from jupyter_rmx.control.steps import Run, Step, Workflow, boundaries
from jupyter_rmx.errors import ProviderError, StoreError, UsageError, WorkflowError
from jupyter_rmx.store.store import Store


class Scripted:
    """A workflow `pause` of steps a and b; what happens is written to `log`, and each act can be told what to do."""

    def __init__(self, **options):
        self.log = []
        self.acts = {}
        self.refuse = None
        steps = tuple(
            Step(
                name,
                self.act(name),
                before=self.write(f"before {name}"),
                after=self.write(f"after {name}"),
                undo=self.act(f"undo {name}"),
                **options.get(name, {}),
            )
            for name in ("a", "b")
        )
        self.workflow = Workflow(
            "pause",
            steps,
            begin=self.begin,
            finish=self.write("finish"),
            failed=self.write("failed"),
            failing=self.failing,
            on_error=options.get("on_error", "undo"),
        )

    async def begin(self, tx, run):
        self.log.append("begin")
        if self.refuse is not None:
            raise self.refuse

    async def failing(self, tx, run, error):
        self.log.append(f"failing {error.code}")

    def act(self, name):
        async def do(run):
            self.log.append(name)
            run.data[name] = run.data.get(name, 0) + 1
            act = self.acts.get(name)
            if isinstance(act, Exception):
                raise act
            if act is not None:
                await act()

        return do

    def write(self, name):
        async def do(tx, run):
            self.log.append(name)
            act = self.acts.get(name)
            if isinstance(act, Exception):
                raise act

        return do


NO = ProviderError("No.", hint="Wait.", code="vm_no_capacity")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, jp_asyncio_loop):
    made = Store(f"sqlite+aiosqlite:///{tmp_path}/store.sqlite3")
    yield made
    jp_asyncio_loop.run_until_complete(made.aclose())


@pytest.fixture
def engines(store, clock, jp_asyncio_loop):
    made = []

    def make(workflow, **options):
        made.append(Engine(store, clock, **options))
        made[-1].add(workflow)
        return made[-1]

    yield make
    for engine in made:
        jp_asyncio_loop.run_until_complete(engine.aclose(stop_s=0))


def a_run():
    return Run("op_1", "pause", "me", "vm_1", {"machine": "demo"})


async def stored(store):
    async with store.read() as tx:
        return await tx.operations.get("op_1")


async def dead(engine, store):
    """As if its process was killed at this instant."""
    for task in list(engine._tasks.values()):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def hangs(reached):
    async def act():
        reached.set()
        await asyncio.Event().wait()

    return act


async def test_steps_are_done_in_order_and_each_is_written_around_its_act(engines, store):
    script = Scripted()
    run = await engines(script.workflow).run(a_run())
    assert script.log == ["begin", "before a", "a", "after a", "before b", "b", "after b", "finish"]
    assert run.data == {"machine": "demo", "a": 1, "b": 1}
    record = await stored(store)
    assert (record.operation.state, record.operation.step, record.data) == ("done", "b", run.data)


async def test_a_step_is_in_the_store_before_it_is_done(engines, store):
    script = Scripted()
    seen = {}

    def look(name):
        async def act():
            record = await stored(store)
            seen[name] = (record.operation.step, record.operation.state, record.data.get("a"))

        return act

    script.acts = {"a": look("a"), "b": look("b")}
    await engines(script.workflow).run(a_run())
    assert seen == {"a": ("a", "running", None), "b": ("b", "running", 1)}


async def test_what_begin_refuses_leaves_nothing(engines, store):
    script = Scripted()
    script.refuse = UsageError("No.", hint="Another.")
    engine = engines(script.workflow)
    await fails("usage_invalid", engine.run(a_run()))
    assert (script.log, await stored(store), engine.is_mine("op_1")) == (["begin"], None, False)


async def test_a_failure_takes_back_what_was_done_last_first(engines, store):
    script = Scripted()
    script.acts["b"] = NO
    await fails("vm_no_capacity", engines(script.workflow).run(a_run()))
    assert script.log[5:] == ["b", "failing vm_no_capacity", "undo b", "undo a", "failed"]
    record = await stored(store)
    assert (record.operation.state, record.operation.error["error"]) == ("failed", "vm_no_capacity")


async def test_a_fault_of_our_own_is_taken_back_too_and_named(engines, store):
    script = Scripted()
    script.acts["a"] = KeyError("x")
    with pytest.raises(KeyError):
        await engines(script.workflow).run(a_run())
    assert script.log[2:] == ["a", "failing internal_error", "undo a", "failed"]
    assert (await stored(store)).operation.error["error"] == "internal_error"


async def test_an_undo_that_fails_is_put_off_and_done_later(engines, store, clock):
    script = Scripted()
    script.acts = {"b": NO, "undo a": ProviderError("Away.", hint="Wait.")}
    engine = engines(script.workflow)
    error = await fails("vm_no_capacity", engine.run(a_run()))
    assert error.details["cleanup_pending"]
    record = await stored(store)
    assert (record.operation.state, record.worker, record.attempts) == ("undoing", None, 1)
    assert record.retry_at == clock.now() + retry_after(1)
    assert await engine.wait("op_1", seconds=FAIL_SAFE_S)
    del script.acts["undo a"]
    await engine.take_up(record)
    record = await stored(store)
    assert (record.operation.state, record.operation.error["error"]) == ("failed", "vm_no_capacity")


async def test_what_must_not_be_lost_is_tried_again_and_not_taken_back(engines, store):
    script = Scripted(on_error="retry")
    script.acts["b"] = NO
    engine = engines(script.workflow)
    await fails("vm_no_capacity", engine.run(a_run()))
    record = await stored(store)
    assert (record.operation.state, record.operation.step, record.worker) == ("running", "b", None)
    assert not [line for line in script.log if line.startswith(("undo", "fail"))]
    script.acts.clear()
    await engine.take_up(record)
    assert (await stored(store)).operation.state == "done"
    assert script.log.count("a") == 1


async def test_steps_that_are_left_out_are_not_there(engines, store):
    script = Scripted(a={"skip": lambda run: True})
    script.acts["b"] = NO
    await fails("vm_no_capacity", engines(script.workflow).run(a_run()))
    assert script.log == ["begin", "before b", "b", "failing vm_no_capacity", "undo b", "failed"]


async def test_a_store_that_fails_in_the_middle_leaves_the_operation_to_this_process(engines, store):
    """What is in the world is taken back, and the row follows when the store answers again."""
    script = Scripted()
    script.acts["after b"] = script.acts["failed"] = StoreError(
        "Full.", hint="Tidy up.", code="store_disk_full"
    )
    engine = engines(script.workflow)
    error = await fails("store_disk_full", engine.run(a_run()))
    assert error.details["cleanup_pending"]
    assert script.log[-3:] == ["undo b", "undo a", "failed"]
    assert engine.loose == {"op_1"}
    script.acts.clear()
    await engine.take_up(await stored(store))
    assert ((await stored(store)).operation.state, engine.loose) == ("failed", frozenset())


# --- killed


async def killed_in(engine, script, store, step):
    reached = asyncio.Event()
    script.acts[step] = hangs(reached)
    task = await engine.start(a_run())
    await asyncio.wait_for(reached.wait(), FAIL_SAFE_S)
    await dead(engine, store)
    assert task.cancelled()
    script.acts.clear()
    script.log.clear()
    return await stored(store)


@pytest.mark.parametrize(
    ("after_kill", "log", "state"),
    [
        ("again", ["b", "after b", "finish"], "done"),
        ("back", ["failing vm_operation_interrupted", "undo b", "undo a", "failed"], "failed"),
    ],
)
async def test_the_next_process_goes_on_as_the_step_says(engines, store, after_kill, log, state):
    script = Scripted(b={"after_kill": after_kill})
    record = await killed_in(engines(script.workflow), script, store, "b")
    await engines(script.workflow).take_up(record)
    assert script.log == log
    assert (await stored(store)).operation.state == state


@pytest.mark.parametrize(
    ("there", "log", "state"),
    [
        (True, ["after b", "finish"], "done"),
        (False, ["failing vm_operation_interrupted", "undo b", "undo a", "failed"], "failed"),
    ],
)
async def test_the_next_process_looks_whether_it_was_done(engines, store, there, log, state):
    async def found(run):
        return there

    script = Scripted(b={"after_kill": "look", "found": found})
    record = await killed_in(engines(script.workflow), script, store, "b")
    await engines(script.workflow).take_up(record)
    assert (script.log, (await stored(store)).operation.state) == (log, state)


async def test_while_nobody_can_say_whether_it_was_done_it_stays_as_it_is(engines, store):
    answers = [NO]

    async def found(run):
        if answers:
            raise answers.pop()
        return True

    script = Scripted(b={"after_kill": "look", "found": found})
    record = await killed_in(engines(script.workflow), script, store, "b")
    engine = engines(script.workflow)
    await engine.take_up(record)
    assert (script.log, engine.loose, (await stored(store)).operation.state) == ([], {"op_1"}, "running")
    await engine.take_up(await stored(store))
    assert ((await stored(store)).operation.state, engine.loose) == ("done", frozenset())


async def test_a_process_killed_while_it_went_back_is_followed_by_one_that_goes_back(engines, store):
    script = Scripted()
    script.acts["b"] = NO
    engine, reached = engines(script.workflow), asyncio.Event()
    script.acts["undo a"] = hangs(reached)
    await engine.start(a_run())
    await asyncio.wait_for(reached.wait(), FAIL_SAFE_S)
    await dead(engine, store)
    record = await stored(store)
    assert record.operation.state == "undoing"
    script.acts.clear()
    await engines(script.workflow).take_up(record)
    record = await stored(store)
    assert (record.operation.state, record.operation.error["error"]) == ("failed", "vm_no_capacity")


# --- two engines, one operation


async def test_an_operation_that_was_taken_over_stops_with_its_next_write(engines, store):
    """The slow process (a laptop that slept) does no further step, and undoes nothing of what the other one did."""
    script = Scripted(b={"after_kill": "again"}, a={"after_kill": "again"})
    slow, other = engines(script.workflow), engines(script.workflow)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def sleeps():
        reached.set()
        await go_on.wait()

    script.acts["a"] = sleeps
    task = await slow.start(a_run())
    await asyncio.wait_for(reached.wait(), FAIL_SAFE_S)
    script.acts.clear()
    await other.take_up(await stored(store))
    assert (await stored(store)).operation.state == "done"
    log = list(script.log)
    go_on.set()
    with pytest.raises(OperationLostError) as caught:
        await task
    assert (caught.value.code, caught.value.retryable) == ("vm_operation_taken_over", True)
    assert [line for line in script.log[len(log) :] if not line.startswith(("after", "before"))] == []
    record = await stored(store)
    assert (record.operation.state, record.worker) == ("done", other.worker.id)


async def test_one_of_many_takes_an_operation_up(engines, store):
    script = Scripted(b={"after_kill": "again"})
    record = await killed_in(engines(script.workflow), script, store, "b")
    others = [engines(script.workflow) for _ in range(5)]
    await asyncio.gather(*(engine.take_up(record) for engine in others))
    assert (script.log.count("b"), (await stored(store)).operation.state) == (1, "done")


async def test_one_process_takes_it_up_once(engines, store):
    script = Scripted(b={"after_kill": "again"})
    record = await killed_in(engines(script.workflow), script, store, "b")
    engine = engines(script.workflow)
    await asyncio.gather(*(engine.take_up(record) for _ in range(5)))
    assert script.log.count("b") == 1


async def test_an_operation_of_a_newer_version_is_left_alone(engines, store):
    script = Scripted()
    record = await killed_in(engines(script.workflow), script, store, "b")
    newer = Workflow("fork", script.workflow.steps)
    await engines(newer).take_up(record)
    assert ((await stored(store)).worker, script.log) == (record.worker, [])


# --- waiting


async def test_whoever_waits_may_go_away(engines, store):
    script = Scripted()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def waits():
        reached.set()
        await go_on.wait()

    script.acts["a"] = waits
    engine = engines(script.workflow)
    caller = asyncio.ensure_future(engine.run(a_run()))
    await asyncio.wait_for(reached.wait(), FAIL_SAFE_S)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert engine.is_mine("op_1")
    assert not await engine.wait("op_1", seconds=0)
    go_on.set()
    assert await engine.wait("op_1", seconds=FAIL_SAFE_S)
    assert (await stored(store)).operation.state == "done"


async def test_an_operation_of_another_process_is_waited_for_through_the_store(engines, store, clock):
    script = Scripted()
    go_on = asyncio.Event()
    script.acts["a"] = go_on.wait
    first, second = engines(script.workflow), engines(script.workflow)
    await first.start(a_run())
    waiting = asyncio.ensure_future(second.wait("op_1", seconds=1))
    await asyncio.sleep(0)  # it knows its deadline now
    clock.go_on(2)
    assert not await asyncio.wait_for(waiting, FAIL_SAFE_S)
    waiting = asyncio.ensure_future(second.wait("op_1", seconds=1))
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.wait_for(waiting, FAIL_SAFE_S)
    assert await second.wait("op_none", seconds=1)


async def test_at_the_end_work_is_let_finish_and_the_rest_is_left_for_the_next(engines, store):
    script = Scripted(b={"after_kill": "again"})
    reached = asyncio.Event()
    script.acts["b"] = hangs(reached)
    engine = engines(script.workflow)
    await engine.start(a_run())
    await asyncio.wait_for(reached.wait(), FAIL_SAFE_S)
    await engine.aclose(stop_s=0)
    async with store.read() as tx:
        assert await tx.workers.all() == {}
    script.acts.clear()
    record = await stored(store)
    assert record.operation.state == "running"
    next_one = engines(script.workflow)
    await next_one.take_up(record)
    assert (await stored(store)).operation.state == "done"


async def test_work_that_ends_in_time_is_not_cut(engines, store):
    script = Scripted()
    script.acts["a"] = lambda: asyncio.sleep(0.05)
    engine = engines(script.workflow)
    await engine.start(a_run())
    await engine.aclose(stop_s=FAIL_SAFE_S)
    assert (await stored(store)).operation.state == "done"


async def test_each_step_is_told_to_followers(engines, store):
    script = Scripted()
    await engines(script.workflow).run(a_run())
    async with store.read() as tx:
        events = await tx.events.after("me", 0, limit=10)
    told = [(event.type, event.machine, event.data["step"], event.data["state"]) for event in events]
    assert told == [("operation.step", "demo", step, state) for step, state in
                    (("a", "running"), ("b", "running"), ("b", "done"))]  # fmt: skip


async def test_the_probe_meets_every_boundary_of_a_way_back(engines, store):
    met = []
    script = Scripted()
    script.acts["b"] = NO
    engine = engines(script.workflow, probe=lambda at: met.append((at.step, at.moment)))
    await fails("vm_no_capacity", engine.run(a_run()))
    wanted = {(at.step, at.moment) for at in boundaries(script.workflow)}
    assert set(met) == wanted - {("b", "done")}
    await until(lambda: not engine.is_mine("op_1"))


def test_tries_come_rarer_but_never_stop():
    waits = [retry_after(attempt).total_seconds() for attempt in range(1, 200)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits == sorted(waits)
    assert max(waits) == LONGEST_RETRY_S
    assert timedelta(seconds=max(waits)) < LONGEST_AHEAD


def test_an_error_of_a_lost_operation_says_what_to_do():
    error = OperationLostError("x", hint="y")
    assert isinstance(error, WorkflowError)
    assert (error.code, error.status, error.retryable) == ("vm_operation_taken_over", 409, True)
