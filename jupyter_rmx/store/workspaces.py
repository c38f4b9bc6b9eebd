"""Rows of workspaces: what survives of a connection, and nothing that is secret."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, delete, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyter_rmx.models import SSHTarget, Workspace
from jupyter_rmx.store.schema import workspaces

TRANSPORT = "ssh"


class WorkspaceRows:
    """The table `workspaces`, in one transaction.

    A name is unique over this table and the live rows of `vms`: whoever gives one holds `Transaction.lock_owner` and
    looks at both.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, workspace: Workspace, *, key: str) -> bool:
        """A new row; False if the owner has that name, or that transport key, already."""
        values = {
            "id": workspace.id,
            "owner": workspace.owner,
            "name": workspace.name,
            "transport": TRANSPORT,
            "transport_key": _digest(key),
            "target": workspace.target.to_wire(),
            "startup": workspace.startup,
            "created_at": workspace.created_at,
        }
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        query = dialect.insert(workspaces).values(values).on_conflict_do_nothing().returning(workspaces.c.id)
        return (await self._connection.execute(query)).first() is not None

    async def find(self, owner: str, machine: str) -> Workspace | None:
        """The workspace with that name or id."""
        named = or_(workspaces.c.name == machine, workspaces.c.id == machine)
        return await self._one(and_(workspaces.c.owner == owner, named))

    async def by_key(self, owner: str, key: str) -> Workspace | None:
        """The workspace that is reached with that transport key."""
        condition = and_(workspaces.c.owner == owner, workspaces.c.transport_key == _digest(key))
        return await self._one(condition)

    async def page(
        self, owner: str, *, limit: int, after: tuple[datetime, str] | None = None
    ) -> list[Workspace]:
        """Workspaces, newest first; `after` is (created_at, id) of the last one of the page before."""
        query = select(workspaces).where(workspaces.c.owner == owner)
        if after is not None:
            query = query.where(tuple_(workspaces.c.created_at, workspaces.c.id) < tuple_(*after))
        query = query.order_by(workspaces.c.created_at.desc(), workspaces.c.id.desc()).limit(limit)
        return [_workspace(row) for row in await self._connection.execute(query)]

    async def change(self, workspace_id: str, values: dict[str, Any]) -> bool:
        """Change a row; False if it is gone."""
        query = update(workspaces).where(workspaces.c.id == workspace_id).values(**values)
        return (await self._connection.execute(query)).rowcount > 0

    async def connected(self, workspace_id: str, at: datetime) -> None:
        """Somebody got in; the first time counts."""
        query = update(workspaces).where(workspaces.c.id == workspace_id, workspaces.c.connected_at.is_(None))
        await self._connection.execute(query.values(connected_at=at))

    async def remove(self, workspace_id: str, *, only_untried: bool = False) -> bool:
        """Delete a row; False if it is gone already, or with `only_untried` if somebody got in before."""
        query = delete(workspaces).where(workspaces.c.id == workspace_id)
        if only_untried:
            query = query.where(workspaces.c.connected_at.is_(None))
        return (await self._connection.execute(query)).rowcount > 0

    async def _one(self, condition: Any) -> Workspace | None:
        row = (await self._connection.execute(select(workspaces).where(condition).limit(1))).first()
        return _workspace(row) if row is not None else None


def _digest(key: str) -> str:
    # Keys are of any length, and an index has its limits.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _workspace(row: Row[Any]) -> Workspace:
    return Workspace(
        id=row.id,
        name=row.name,
        owner=row.owner,
        target=SSHTarget.from_wire(row.target),
        created_at=row.created_at,
        startup=row.startup,
    )
