"""The pool against a model of it that is too simple to be wrong: one key, and whatever may happen in any order."""

import asyncio
import itertools
import os
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jupyter_rmx.errors import TransportError
from jupyter_rmx.transports.pool import TransportPool
from jupyter_rmx.transports.reconnect import ReconnectRules
from tests.lines import HandTiming, Line, failure, settle

LIMIT, DELAY_S, IDLE_S, STABLE_S = 4, 2.0, 600.0, 30.0
HOPELESS = {"ssh_auth_failed", "ssh_needs_answer"}
SELDOM = st.integers(0, 11).map(lambda number: number == 11)
CODES = ["ssh_refused", "ssh_timeout", *sorted(HOPELESS)]


class Model:
    """What the contract says of one key."""

    def __init__(self):
        self.now = 0.0
        self.kept = False
        self.forget()

    def forget(self):
        self.status, self.failures, self.due, self.trying, self.ours = "idle", [], None, False, False

    def begin(self, *, ours=False):
        again = self.status in {"reconnecting", "blocked"} and self.failures
        self.status = "reconnecting" if again else "connecting"
        self.trying, self.ours, self.due = True, ours, None

    def succeed(self):
        self.status, self.trying = "ready", False
        self.ready_at = self.used_at = self.now

    def fail(self, code):
        self.trying = False
        if not self.kept:
            self.status = "idle"
            return
        self.failures.append(code)
        last = self.failures[-3:]
        if code in HOPELESS or (len(last) == 3 and len(set(last)) == 1) or len(self.failures) > LIMIT:
            self.status = "blocked"
        else:
            self.status = "reconnecting"
            self.due = self.now + self.delay

    def lose(self):
        if self.kept and self.now - self.ready_at >= STABLE_S:
            self.failures = []
        self.fail("ssh_connection_lost")

    @property
    def delay(self):
        return min(60.0, DELAY_S * 2 ** (len(self.failures) - 1))

    @property
    def attempt(self):
        return len(self.failures) if self.status == "reconnecting" else 0

    def advance(self, seconds):
        self.now += seconds
        if self.due is not None and self.due <= self.now:
            self.begin(ours=True)
        elif self.status == "ready" and self.used_at + IDLE_S <= self.now:
            self.status = "idle"


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.timing = HandTiming()
        self.timing.time = 0.0
        self.told = []
        self.pool = TransportPool(
            ReconnectRules(LIMIT, DELAY_S),
            idle_s=IDLE_S,
            timing=self.timing,
            on_state=lambda key, state: self.told.append(state),
        )
        self.model = Model()
        self.opens, self.lines = [], []
        self.joined, self.waiting = [], []

    async def open(self):
        self.opens.append(asyncio.get_running_loop().create_future())
        return await self.opens[-1]

    def do(self, action=lambda: None):
        async def run():
            result = action()
            if asyncio.iscoroutine(result):
                result = await result
            await settle()
            return result

        return self.loop.run_until_complete(run())

    def begun(self):
        """Who waited for the next try has joined it."""
        self.joined += self.waiting
        self.waiting = []

    @rule(asked=st.booleans())
    def get(self, asked):
        model = self.model
        task = self.do(lambda: self.loop.create_task(self.pool.get("k", self.open, asked=asked)))
        if model.status == "ready":
            model.used_at = model.now
            assert task.result() is self.lines[-1]
            return
        if not asked and model.status == "blocked" and not model.trying:
            assert task.exception().code == model.failures[-1]
            return
        if asked:
            model.failures = []
        if not asked and model.due is not None:
            self.waiting.append((task, asked))
            return
        if not model.trying:
            model.begin()
        self.joined.append((task, asked))
        self.begun()

    @precondition(lambda self: self.model.trying)
    @rule()
    def succeed(self):
        self.lines.append(Line())
        self.do(lambda: self.opens[-1].set_result(self.lines[-1]))
        self.model.succeed()
        assert [task.result() for task, _ in self.joined] == [self.lines[-1]] * len(self.joined)
        self.joined = []

    @precondition(lambda self: self.model.trying)
    @rule(code=st.sampled_from(CODES))
    def fail(self, code):
        ours = self.model.ours
        self.do(lambda: self.opens[-1].set_exception(failure(code)))
        self.model.fail(code)
        again = [
            (task, asked) for task, asked in self.joined if asked and ours and code == "ssh_needs_answer"
        ]
        for task, _ in set(self.joined) - set(again):
            assert task.exception().code == code
        self.joined = again
        if again:
            self.model.failures = []
            self.model.begin()

    @precondition(lambda self: self.model.status == "ready")
    @rule()
    def lose(self):
        self.do(self.lines[-1].lose)
        self.model.lose()

    @rule(seconds=st.sampled_from([1, 2, 5, 29, 30, 70, 599, 600]))
    def advance(self, seconds):
        self.do(lambda: self.timing.advance(seconds))
        self.model.advance(seconds)
        if self.model.trying:
            self.begun()

    @rule(asked=st.booleans())
    def rearm(self, asked):
        self.do((lambda: self.pool.rearm("k")) if asked else self.pool.rearm_all)
        model = self.model
        parked = model.status == "blocked" or model.due is not None
        if not parked or model.trying or (not asked and model.failures[-1] == "ssh_needs_answer"):
            return
        model.failures = []
        model.begin(ours=True)
        self.begun()

    @initialize(now=st.booleans())
    def kept_or_not(self, now):
        if now:
            self.keep()

    @rule()
    def keep(self):
        self.do(lambda: self.pool.keep("k", self.open))
        self.model.kept = True

    # These two end everything that came before: seldom enough that long stories are told.
    @rule(now=SELDOM)
    def let_go(self, now):
        if not now:
            return
        self.do(lambda: self.pool.let_go("k"))
        model = self.model
        model.kept, model.failures = False, []
        if model.status == "blocked" or model.due is not None:
            model.status, model.due = "idle", None
            if self.waiting:
                model.begin()
                self.begun()

    @rule(now=SELDOM)
    def drop(self, now):
        if not now:
            return
        self.do(lambda: self.pool.drop("k"))
        self.model.forget()
        self.model.kept = False
        for task, _ in self.joined + self.waiting:
            assert task.exception().code == "ssh_connection_lost"
        self.joined, self.waiting = [], []

    @invariant()
    def as_the_model_says(self):
        state, model = self.pool.state("k"), self.model
        assert state.status == model.status
        if not (model.trying and model.status == "reconnecting"):
            assert state.attempt == model.attempt
        if model.due is not None:
            assert state.next_in_s == model.delay
            assert self.timing.waiting == [model.due]
        assert self.pool.keys() == (["k"] if model.status == "ready" else [])
        assert [one.done() for one in self.opens].count(False) == int(model.trying)
        live = [line for line in self.lines if line.state == "ready"]
        assert live == (self.lines[-1:] if model.status == "ready" else [])
        assert not any(task.done() for task, _ in self.joined + self.waiting)
        assert bool(self.pool._links) == (model.kept or model.status != "idle")
        assert all(one != other for one, other in itertools.pairwise(self.told))

    def teardown(self):
        self.do(self.pool.aclose)
        assert self.timing.waiting == []
        for task, _ in self.joined + self.waiting:
            assert isinstance(task.exception(), TransportError)
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


SEEDS = (
    [random.SystemRandom().randrange(2**32) for _ in range(2000)] if os.environ.get("RMX_SOAK") else range(40)
)


@pytest.mark.parametrize("seed", SEEDS)
def test_long_walks(seed):
    """What is drawn above is short; parking and long counts need long stories."""
    rng = random.Random(seed)
    machine = Machine()
    machine.keep()
    for _ in range(250):
        model = machine.model
        steps = [
            lambda: machine.get(rng.random() < 0.5),
            lambda: machine.advance(rng.choice([1, 2, 5, 29, 30, 70, 599, 600])),
            lambda: machine.rearm(rng.random() < 0.5),
            machine.keep,
            lambda: machine.let_go(rng.random() < 0.2),
            lambda: machine.drop(rng.random() < 0.2),
        ]
        weights = [2, 4, 0.5, 1, 1, 1]
        if model.trying:
            steps += [machine.succeed, lambda: machine.fail(rng.choice(CODES[: rng.choice([2, 2, 4])]))]
            weights += [4, 6]
        if model.status == "ready":
            steps.append(machine.lose)
            weights.append(4)
        rng.choices(steps, weights)[0]()
        machine.as_the_model_says()
    machine.teardown()


Machine.TestCase.settings = settings(stateful_step_count=50, max_examples=settings.default.max_examples // 3)
TestModel = Machine.TestCase
