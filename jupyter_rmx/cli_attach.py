"""`jupyter rmx attach`: connects a machine, and puts its server's questions to whoever sits at the terminal."""

from __future__ import annotations

import getpass
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_rmx.asking import NobodyToAsk, ask, nobody_answers
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import Attached, Question
from jupyter_rmx.service import RemoteMachines

_WHERE = "in a terminal"


class GivenUp(Exception):  # noqa: N818 - somebody's decision, no failure
    """The person who was asked gave up; the text says what that means."""


async def attach(
    service: RemoteMachines, target: str, *, name: str | None, startup: str | None, force_ssh: bool
) -> Attached:
    """The machine, ready. Raises what the service raises, GivenUp, and TransportError `ssh_needs_answer`."""
    attached = await service.attach(target, name=name, startup=startup, force_ssh=force_ssh)
    while attached.question is not None:
        attached = await _answer(service, attached.question)
    return attached


async def _answer(service: RemoteMachines, question: Question) -> Attached:
    try:
        # On the loop's own thread: Ctrl-C reaches no other one, and a thread that reads a terminal cannot be ended.
        with _interruptible():
            somebody = sys.stdin is not None and sys.stdin.isatty()
            answers = ask(question, tell=_tell, read=_read, somebody=somebody)
    except NobodyToAsk:
        await _give_up(service, question)
        raise nobody_answers(question, _WHERE) from None
    if answers is None:
        await _give_up(service, question)
        raise GivenUp(f"Attaching {question.machine} was given up: it is not connected.")
    return await service.answer(question.id, answers)


async def _give_up(service: RemoteMachines, question: Question) -> None:
    try:
        await service.answer(question.id, None)
    except RmxError:
        pass  # it was too old, or the server is gone: given up either way


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises at once; asyncio's own handler only cancels what is not running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _read(prompt: str, echo: bool) -> str:
    """One line from the terminal; prompts go to it, never to stdout, which may be somebody's JSON."""
    if not echo:
        return _read_hidden(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _read_hidden(prompt: str) -> str:
    try:
        with warnings.catch_warnings():
            # A terminal that cannot hide what is typed: rather not asked at all.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except getpass.GetPassWarning:
        raise NobodyToAsk from None
