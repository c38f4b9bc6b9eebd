"""Attach and detach, what is asked meanwhile, and the states of connections as events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from jupyter_rmx.control.context import Context
from jupyter_rmx.control.workspaces import Workspaces
from jupyter_rmx.errors import RmxError
from jupyter_rmx.manager_links import Links
from jupyter_rmx.manager_questions import QUESTION_S, Attempts
from jupyter_rmx.models import Attached, ConnectionState, Workspace
from jupyter_rmx.ssh.target import parse_target
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.transports.base import Asker
from jupyter_rmx.transports.pool import TransportPool

log = logging.getLogger(__name__)

FORCED = "ssh:"


class Attachments:
    """Connects workspaces for a person who is there, and forgets them."""

    def __init__(
        self, workspaces: Workspaces, links: Links, pool: TransportPool, *, question_s: float = QUESTION_S
    ) -> None:
        self._workspaces = workspaces
        self._links = links
        self._pool = pool
        self._attempts = Attempts(wait_s=question_s)
        self._connecting: dict[str, Workspace] = {}

    # -- attach -------------------------------------------------------------------------------------------------

    async def attach(self, target: str, *, name: str | None = None, startup: str | None = None) -> Attached:
        """See `service.RemoteMachines.attach`; `target` is an SSH destination."""
        workspace = await self._workspaces.attach(parse_target(target), name=name, startup=startup)
        return await self.connect(workspace)

    async def connect(self, workspace: Workspace) -> Attached:
        """Connect, or join who is at it already; ready, or with a question."""

        async def open_link(asker: Asker) -> None:
            await self._open(workspace, asker)

        self._connecting[workspace.id] = workspace
        attempt = self._attempts.join(workspace.id, workspace.name, open_link)
        question = await attempt.settled()
        return Attached(self.seen(workspace), question)

    async def _open(self, workspace: Workspace, asker: Asker) -> None:
        try:
            await self._links.open(workspace, asker)
        except BaseException:
            # A slip of the pen leaves nothing behind; what was connected once stays.
            await self._forget_untried(workspace)
            raise
        finally:
            self._connecting.pop(workspace.id, None)
        await self._workspaces.connected(workspace)

    async def _forget_untried(self, workspace: Workspace) -> None:
        try:
            await self._workspaces.forget(workspace, only_untried=True)
        except RmxError as error:
            log.warning("%s could not be taken off the list: %s", workspace.name, error)

    async def answer(self, question_id: str, answers: Sequence[str] | None) -> Attached:
        """See `service.RemoteMachines.answer`."""
        id_, attempt = self._attempts.of(question_id)
        workspace = self._connecting[id_]
        attempt.answer(answers)
        try:
            question = await attempt.settled()
        except RmxError:
            if answers is not None:
                raise
            question = None  # that it came to nothing is what was asked for
        return Attached(self.seen(workspace), question)

    async def detach(self, workspace: Workspace) -> None:
        """Give up an attempt, close the connection, forget the row."""
        await self._attempts.end(workspace.id)
        await self._workspaces.forget(workspace)
        await self._pool.drop(self._links.key_of(workspace))

    def seen(self, workspace: Workspace) -> Workspace:
        """The workspace with the state of its connection in this process."""
        return replace(workspace, connection=self._pool.state(self._links.key_of(workspace)))

    async def aclose(self) -> None:
        """Give up all attempts."""
        await self._attempts.aclose()


class ConnectionNews:
    """Writes `machine.connection` events: one for each change of a workspace's state, in order, none for each retry."""

    def __init__(self, context: Context, pool: TransportPool) -> None:
        self._context = context
        self._of: dict[str, Workspace] = {}
        self._latest: dict[str, ConnectionState] = {}
        self._told: dict[str, tuple[str, str | None]] = {}
        self._writing: asyncio.Task[None] | None = None
        pool.on_state = self.changed

    def uses(self, workspace: Workspace, key: str) -> None:
        """That transport key is of this workspace."""
        self._of[key] = workspace

    def changed(self, key: str, state: ConnectionState) -> None:
        """Called by the pool. Of changes that come faster than they can be written, the last is."""
        if key not in self._of:
            return
        self._latest[key] = state
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        while self._latest:
            key = next(iter(self._latest))
            state = self._latest.pop(key)
            workspace, news = self._of[key], (state.status, state.code)
            if self._told.get(key, ("idle", None)) == news:
                continue
            self._told[key] = news
            try:
                await self._tell(workspace, state)
            except RmxError as error:
                log.warning("The state of %s could not be written down: %s", workspace.name, error)

    async def _tell(self, workspace: Workspace, state: ConnectionState) -> None:
        data = state.to_wire() | {"workspace_id": workspace.id}
        now = self._context.clock.now()
        async with self._context.store.write() as tx:
            tx.events.add(
                NewEvent(workspace.owner, "machine.connection", now, workspace.id, workspace.name, data)
            )

    async def aclose(self) -> None:
        """Write what is left; the connections are closed by now."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
