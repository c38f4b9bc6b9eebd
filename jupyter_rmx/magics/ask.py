"""A server's questions in a notebook or in a terminal with IPython: masked where the server wants it.

In a kernel the prompts go to whoever runs the cell (ipykernel puts its own `input` and `getpass` in place of Python's
while a cell runs); without one, to the terminal.
"""

from __future__ import annotations

import getpass
import sys
import warnings
from typing import Any

from IPython.core.error import StdinNotImplementedError

from jupyter_rmx.asking import NobodyToAsk, ask, nobody_answers
from jupyter_rmx.errors import RmxError
from jupyter_rmx.magics.failure import interrupted
from jupyter_rmx.magics.session import Session
from jupyter_rmx.models import Attached, Question

_WHERE = "in a notebook that you run yourself, or in a terminal"


class Person:
    """Who sits in front of the shell, if anybody does."""

    def __init__(self, shell: Any) -> None:
        self._in_kernel = getattr(shell, "kernel", None) is not None
        self._saw_answer = False
        self.may_be_there = self._in_kernel or (sys.stdin is not None and sys.stdin.isatty())
        """False: nobody for sure. Whether a kernel's front end takes input is known only when it is asked."""

    def tell(self, text: str) -> None:
        """Show a text."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def read(self, prompt: str, echo: bool) -> str:
        """One line; raises NobodyToAsk, KeyboardInterrupt, EOFError."""
        try:
            if echo:
                self._saw_answer = True
                return input(prompt)
            with warnings.catch_warnings():
                # A terminal that cannot hide what is typed: rather not asked at all.
                warnings.simplefilter("error", getpass.GetPassWarning)
                return getpass.getpass(prompt)
        except (StdinNotImplementedError, getpass.GetPassWarning):
            raise NobodyToAsk from None

    def tidy(self) -> None:
        """Front ends write what was typed in the open into the cell's output, and it would be saved with it."""
        if self._in_kernel and self._saw_answer:
            from IPython.display import clear_output

            clear_output()
        self._saw_answer = False


def answer_all(session: Session, attached: Attached, shell: Any) -> Attached:
    """Put question after question, until the machine is ready.

    Raises KeyboardInterrupt if the person gives up, TransportError `ssh_needs_answer` where there is nobody, and what
    the service raises.
    """
    person = Person(shell)
    try:
        while attached.question is not None:
            attached = _answer(session, attached.question, person)
    finally:
        person.tidy()
    return attached


def _answer(session: Session, question: Question, person: Person) -> Attached:
    try:
        answers = ask(question, tell=person.tell, read=person.read, somebody=person.may_be_there)
    except NobodyToAsk:
        _give_up(session, question)
        raise nobody_answers(question, _WHERE) from None
    if answers is None:
        _give_up(session, question)
        raise interrupted(f"Attaching {question.machine} was given up: it is not connected.")
    return _send(session, question, answers)


def _send(session: Session, question: Question, answers: list[str]) -> Attached:
    try:
        return session.runner.call(
            session.service().answer(question.id, answers), f"Attaching {question.machine}"
        )
    except RmxError as error:
        failed = error
    finally:
        answers.clear()
    # Without the frames below: their variables hold the answers, and verbose tracebacks show variables.
    failed.__cause__ = failed.__context__ = None
    raise failed.with_traceback(None)


def _give_up(session: Session, question: Question) -> None:
    try:
        session.runner.call(session.service().answer(question.id, None))
    except RmxError:
        pass  # it was too old, or the server is gone: given up either way
