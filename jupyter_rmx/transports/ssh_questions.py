"""What a person is asked while a connection is made, and the clock that stands still meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import TypeVar

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import Prompt
from jupyter_rmx.transports.base import Asker

Result = TypeVar("Result")
TEXT_LIMIT = 4000
"""Characters of a server's own text that are shown."""


def plain(text: str) -> str:
    """A server's text without what could command a terminal (control characters, escape sequences)."""
    return "".join(char for char in text[:TEXT_LIMIT] if char.isprintable() or char in "\n\t").strip()


def gave_up(where: str, what: str) -> TransportError:
    """The error after a question that nobody answered."""
    return TransportError(
        f"{where} asked for {what}, and there was no answer.",
        hint="Attach it again with `%vm attach`, and answer when you are asked.",
        code="ssh_needs_answer",
        retryable=False,
    )


class Patience:
    """How long a silent server is waited for. Stands still while a person thinks, and begins anew at each sign of life."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._thinking = 0
        self._expired = False

    def touch(self, seconds: float | None = None) -> None:
        """A sign of life: wait that long from now on; `seconds` changes how long, from here on."""
        self._seconds = seconds or self._seconds
        self._stop()
        if self._task is not None and not self._thinking:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While a person has the word."""
        self._thinking += 1
        self._stop()
        try:
            yield
        finally:
            self._thinking -= 1
            self.touch()

    async def run(self, what: Awaitable[Result]) -> Result:
        """Await `what`; asyncio.TimeoutError once there was no sign of life for too long."""
        task = asyncio.ensure_future(what)
        self._task = task
        self.touch()
        try:
            return await task
        except asyncio.CancelledError:
            if self._expired:
                raise asyncio.TimeoutError from None
            raise
        finally:
            self._task = None
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        if self._task is not None:
            self._expired = True
            self._task.cancel()


class Questions:
    """Puts questions to whoever can answer, if anybody can; keeps no answer.

    `missing` lists what could not be asked, for the error message.
    """

    def __init__(self, where: str, asker: Asker | None, patience: Patience) -> None:
        self.missing: list[str] = []
        self._where = where
        self._asker = asker
        self._patience = patience
        self._told: list[str] = []

    @property
    def possible(self) -> bool:
        """Whether there is anybody to ask."""
        return self._asker is not None

    def cannot(self, what: str) -> None:
        """`what` was needed, and there is nobody to ask."""
        if what not in self.missing:
            self.missing.append(what)

    def tell(self, text: str) -> None:
        """Show this above the next question."""
        text = plain(text)
        if text:
            self._told.append(text)

    async def ask(self, what: str, prompts: Sequence[Prompt]) -> list[str]:
        """The answers; TransportError `ssh_needs_answer` if there are none, which ends the attempt."""
        assert self._asker is not None
        told, self._told = "\n\n".join(self._told), []
        asked = [Prompt(plain(prompt.text), prompt.echo, prompt.kind) for prompt in prompts]
        with self._patience.paused():
            answers = await self._asker.ask(self._where, told, asked)
        if answers is None or len(answers) != len(prompts):
            raise gave_up(self._where, what)
        return answers

    @contextlib.asynccontextmanager
    async def meanwhile(self, text: str) -> AsyncIterator[None]:
        """Show what a person has to do until the block is left, as touching a security key."""
        showing = asyncio.create_task(self._show(text))
        try:
            with self._patience.paused():
                yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)

    def patient(self) -> contextlib.AbstractContextManager[None]:
        """While somebody may be asked by another program, as an agent that wants each use confirmed."""
        return self._patience.paused()

    async def _show(self, text: str) -> None:
        if self._asker is not None:
            await self._asker.ask(self._where, plain(text), [])
