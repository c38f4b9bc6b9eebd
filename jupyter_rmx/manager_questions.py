"""What servers ask while somebody attaches: each attempt to connect, and the question it waits with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from jupyter_rmx.errors import UsageError, WorkflowError
from jupyter_rmx.models import Prompt, Question, new_id
from jupyter_rmx.transports.base import Asker

QUESTION_S = 120.0
"""How long a question waits for its answer; OpenSSH's server waits as long for a login (LoginGraceTime)."""


class Attempt:
    """One attempt to get into a machine, with somebody there who can be asked. Implements `transports.base.Asker`.

    `connect` runs in a task of its own: whoever waits for it may go away. All belongs to one event loop.
    """

    def __init__(self, machine: str, connect: Callable[[Asker], Awaitable[None]], *, wait_s: float) -> None:
        self._machine = machine
        self._wait_s = wait_s
        self.question: Question | None = None
        self.given_up = False
        # The answers are no result of the future: those stand in its repr, which asyncio's debug mode logs.
        self._answered: asyncio.Future[None] | None = None
        self._answers: list[str] | None = None
        self._asked = asyncio.Event()
        self._asking = asyncio.Lock()
        self.task: asyncio.Task[None] = asyncio.ensure_future(self._run(connect))
        self.task.add_done_callback(_seen)

    async def _run(self, connect: Callable[[Asker], Awaitable[None]]) -> None:
        await connect(self)

    async def ask(self, title: str, instructions: str, prompts: Sequence[Prompt]) -> list[str] | None:
        """See `transports.base.Asker`; None also where nobody answers in time."""
        async with self._asking:
            answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._answered = answered
            self.question = Question(new_id("q"), self._machine, title, instructions, tuple(prompts))
            self._asked.set()
            try:
                await asyncio.wait_for(answered, self._wait_s)
            except (asyncio.TimeoutError, TimeoutError):
                return None
            finally:
                self._take_back()
            answers, self._answers = self._answers, None
            return answers

    def _take_back(self) -> None:
        self.question = self._answered = None
        self._asked.clear()

    def answer(self, answers: Sequence[str] | None) -> None:
        """Answer the question that is there; UsageError `usage_bad_answers` leaves it there."""
        assert self.question is not None
        assert self._answered is not None
        if answers is not None and len(answers) != len(self.question.prompts):
            raise UsageError(
                f"The question has {len(self.question.prompts)} prompts, and {len(answers)} answers were given.",
                hint="Give one text for each prompt.",
                code="usage_bad_answers",
                details={"field": "answers"},
            )
        self.given_up |= answers is None
        answered = self._answered
        self._take_back()  # at once: a second answer must not find it
        if not answered.done():
            self._answers = None if answers is None else list(answers)
            answered.set_result(None)

    async def settled(self) -> Question | None:
        """Wait for a question, or for the end: None if it went well, else its error is raised."""
        while not self.task.done():
            if self.question is not None:
                return self.question
            asked = asyncio.ensure_future(self._asked.wait())
            try:
                await asyncio.wait({self.task, asked}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                asked.cancel()
        if self.task.cancelled():
            raise WorkflowError(
                "The attempt to connect was ended.",
                hint="Try again.",
                code="ssh_attach_ended",
                retryable=True,
            )
        self.task.result()
        return None


class Attempts:
    """The attempts that are under way, one for each machine's id."""

    def __init__(self, *, wait_s: float = QUESTION_S) -> None:
        self._wait_s = wait_s
        self._running: dict[str, Attempt] = {}

    def join(self, id_: str, machine: str, connect: Callable[[Asker], Awaitable[None]]) -> Attempt:
        """The attempt of the machine: the one that is under way, or a new one."""
        attempt = self._running.get(id_)
        if attempt is None or attempt.task.done():
            attempt = self._running[id_] = Attempt(machine, connect, wait_s=self._wait_s)
            attempt.task.add_done_callback(lambda task: self._ended(id_, task))
        return attempt

    def _ended(self, id_: str, task: asyncio.Task[None]) -> None:
        if id_ in self._running and self._running[id_].task is task:
            del self._running[id_]

    def of(self, question_id: str) -> tuple[str, Attempt]:
        """The machine's id and the attempt that wait with this question; WorkflowError `ssh_no_such_question` (404)."""
        for id_, attempt in self._running.items():
            if attempt.question is not None and attempt.question.id == question_id:
                return id_, attempt
        raise WorkflowError(
            "This question is not waiting for an answer any more.",
            hint="It was answered, or waited too long. Attach again: %vm attach NAME",
            code="ssh_no_such_question",
            status=404,
        )

    async def end(self, id_: str) -> None:
        """Give the attempt up."""
        attempt = self._running.get(id_)
        if attempt is not None:
            attempt.task.cancel()
            await asyncio.gather(attempt.task, return_exceptions=True)

    async def aclose(self) -> None:
        """Give all up."""
        await asyncio.gather(*(self.end(id_) for id_ in list(self._running)))


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # seen, even where every waiter has gone
