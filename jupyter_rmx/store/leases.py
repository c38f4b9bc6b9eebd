"""Rows of leases and of snapshots."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyter_rmx.models import Lease, Snapshot
from jupyter_rmx.store.schema import leases, snapshots


class LeaseRows:
    """The table `leases`, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, lease: Lease) -> None:
        """A new row."""
        await self._connection.execute(
            insert(leases).values({name: getattr(lease, name) for name in _LEASE_COLUMNS})
        )

    async def change(self, lease_id: str, values: dict[str, Any]) -> None:
        """Change a row."""
        await self._connection.execute(update(leases).where(leases.c.id == lease_id).values(values))

    async def remove(self, lease_id: str) -> None:
        """Forget a lease under which nothing was given out."""
        await self._connection.execute(delete(leases).where(leases.c.id == lease_id))

    async def get(self, lease_id: str) -> Lease | None:
        """The row of that id."""
        row = (await self._connection.execute(select(leases).where(leases.c.id == lease_id))).first()
        return _lease(row) if row is not None else None

    async def by_token(self, token_hash: str) -> Lease | None:
        """The row that holds this token."""
        row = (
            await self._connection.execute(select(leases).where(leases.c.token_hash == token_hash))
        ).first()
        return _lease(row) if row is not None else None

    async def of_machine(self, vm_id: str) -> list[Lease]:
        """All rows of a machine, oldest first."""
        query = select(leases).where(leases.c.vm_id == vm_id).order_by(leases.c.created_at, leases.c.id)
        return [_lease(row) for row in await self._connection.execute(query)]

    async def identities(self, vm_id: str) -> list[Lease]:
        """Rows of a machine with something to revoke at the provider."""
        return [lease for lease in await self.of_machine(vm_id) if lease.identity and not lease.revoked_at]

    async def to_revoke(self, owner: str, now: datetime, *, ahead: timedelta, limit: int) -> list[Lease]:
        """Identities that have expired, or whose revocation failed and is due again; oldest first.

        A next try further ahead than `ahead` was written before the clock went back: it is due.
        """
        due = or_(
            and_(leases.c.retry_at.is_(None), leases.c.token_hash.is_not(None), leases.c.expires_at < now),
            leases.c.retry_at < now,
            leases.c.retry_at > now + ahead,
        )
        query = (
            select(leases)
            .where(leases.c.owner == owner, leases.c.identity, leases.c.revoked_at.is_(None), due)
            .order_by(leases.c.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [_lease(row) for row in await self._connection.execute(query)]

    async def forget_over(self, before: datetime) -> int:
        """Delete leases that were over before that time and have nothing left to revoke; how many."""
        over = or_(
            leases.c.revoked_at < before, and_(leases.c.identity.is_(False), leases.c.expires_at < before)
        )
        return int((await self._connection.execute(delete(leases).where(over))).rowcount)

    async def live(self, owner: str) -> list[Lease]:
        """Leases of the owner that were not revoked."""
        query = select(leases).where(leases.c.owner == owner, leases.c.revoked_at.is_(None))
        return [_lease(row) for row in await self._connection.execute(query)]


class SnapshotRows:
    """The table `snapshots`, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, snapshot: Snapshot) -> None:
        """A new row."""
        await self._connection.execute(
            insert(snapshots).values({name: getattr(snapshot, name) for name in _SNAPSHOT_COLUMNS})
        )

    async def change(self, snapshot_id: str, values: dict[str, Any]) -> None:
        """Change a row."""
        await self._connection.execute(update(snapshots).where(snapshots.c.id == snapshot_id).values(values))

    async def get(self, snapshot_id: str) -> Snapshot | None:
        """The row of that id."""
        query = select(snapshots).where(snapshots.c.id == snapshot_id)
        row = (await self._connection.execute(query)).first()
        return _snapshot(row) if row is not None else None

    async def forget_failed(self, before: datetime) -> int:
        """Delete snapshots that came to nothing before that time; how many."""
        query = delete(snapshots).where(snapshots.c.status == "failed", snapshots.c.created_at < before)
        return int((await self._connection.execute(query)).rowcount)

    async def list(self, owner: str) -> list[Snapshot]:
        """All snapshots of the owner that are ready, newest first."""
        query = (
            select(snapshots)
            .where(snapshots.c.owner == owner, snapshots.c.status == "ready")
            .order_by(snapshots.c.created_at.desc(), snapshots.c.id)
        )
        return [_snapshot(row) for row in await self._connection.execute(query)]


_LEASE_COLUMNS = tuple(Lease.__dataclass_fields__)
_SNAPSHOT_COLUMNS = tuple(Snapshot.__dataclass_fields__)


def _lease(row: Row[Any]) -> Lease:
    return Lease(**{name: getattr(row, name) for name in _LEASE_COLUMNS})


def _snapshot(row: Row[Any]) -> Snapshot:
    return Snapshot(**{name: getattr(row, name) for name in _SNAPSHOT_COLUMNS})
