"""Attempts to connect and the questions they wait with: shared, answered once, too old, given up."""

import asyncio

import pytest

from jupyter_rmx.errors import TransportError, UsageError, WorkflowError
from jupyter_rmx.manager_questions import Attempts
from jupyter_rmx.models import Prompt

PASSWORD = (Prompt("Password:", kind="password"),)


def connecting(*rounds, got=None, fails=False):
    """A connection that asks those rounds, keeps what it got, and fails at the first None."""

    async def connect(asker):
        for prompts in rounds:
            answers = await asker.ask("Login", "", prompts)
            if got is not None:
                got.append(answers)
            if answers is None or fails:
                raise TransportError("Nobody answered.", code="ssh_needs_answer")

    return connect


async def test_all_who_wait_see_the_question_and_the_first_answer_counts():
    got, attempts = [], Attempts()
    one = attempts.join("ws_1", "gpu01", connecting(PASSWORD, got=got))
    assert attempts.join("ws_1", "gpu01", connecting()) is one
    first, second = await asyncio.gather(one.settled(), one.settled())
    assert first is second
    assert attempts.of(first.id) == ("ws_1", one)
    one.answer(["secret"])
    with pytest.raises(WorkflowError) as caught:
        attempts.of(first.id)
    assert (caught.value.code, caught.value.status) == ("ssh_no_such_question", 404)
    assert await one.settled() is None
    assert got == [["secret"]]


async def test_an_answer_stands_in_no_repr():
    one = Attempts().join("ws_1", "gpu01", connecting(PASSWORD))
    await one.settled()
    waited_for = one._answered
    one.answer(["secret"])
    assert "secret" not in f"{waited_for!r} {one!r} {one.task!r} {asyncio.all_tasks()!r}"
    assert await one.settled() is None
    assert "secret" not in f"{vars(one)!r}"


async def test_answers_of_another_number_leave_the_question():
    got, attempts = [], Attempts()
    one = attempts.join("ws_1", "gpu01", connecting(PASSWORD, got=got))
    question = await one.settled()
    for answers in ([], ["secret", "more"]):
        with pytest.raises(UsageError) as caught:
            one.answer(answers)
        assert caught.value.code == "usage_bad_answers"
        assert "secret" not in str(caught.value.to_wire())
    assert attempts.of(question.id)[1] is one
    one.answer(["right"])
    assert await one.settled() is None


async def test_a_question_that_nobody_answers_ends_the_attempt():
    got, attempts = [], Attempts(wait_s=0.01)
    one = attempts.join("ws_1", "gpu01", connecting(PASSWORD, got=got))
    question = await one.settled()
    with pytest.raises(TransportError):
        while True:
            assert await one.settled() is question
            await asyncio.sleep(0)
    assert got == [None]
    assert attempts.join("ws_1", "gpu01", connecting()) is not one


async def test_something_to_do_only_is_taken_back_when_it_is_done():
    touched = asyncio.Event()

    async def connect(asker):
        showing = asyncio.ensure_future(asker.ask("Touch your key", "It blinks.", ()))
        await touched.wait()
        showing.cancel()

    one = Attempts().join("ws_1", "gpu01", connect)
    question = await one.settled()
    assert (question.prompts, question.instructions) == ((), "It blinks.")
    one.answer([])
    touched.set()
    assert await one.settled() is None
    assert one.question is None


async def test_who_waits_for_an_attempt_that_is_ended_is_told():
    async def connect(asker):
        await asyncio.Event().wait()

    attempts = Attempts()
    one = attempts.join("ws_1", "gpu01", connect)
    waiting = asyncio.ensure_future(one.settled())
    await asyncio.sleep(0)
    await attempts.end("ws_1")
    with pytest.raises(WorkflowError) as caught:
        await waiting
    assert (caught.value.code, one.task.cancelled()) == ("ssh_attach_ended", True)
    await attempts.end("ws_1")
    await attempts.aclose()
