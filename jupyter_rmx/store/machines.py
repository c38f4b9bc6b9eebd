"""Rows of machines, as frozen records."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyter_rmx.models import VM
from jupyter_rmx.store.schema import ENDED, LIVE, vms


@dataclass(frozen=True)
class MachineRecord:
    """A machine with what only the control plane needs.

    `operation_id` is the operation that has it to itself; `active` counts to the limit; `version` grows with each
    change.
    """

    vm: VM
    key: str | None
    fingerprint: str
    operation_id: str | None = None
    active: bool = True
    version: int = 0
    checked_at: datetime | None = None


class MachineRows:
    """The table `vms`, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, record: MachineRecord) -> bool:
        """A new row; False if the owner has that name (of a live machine) or key already."""
        vm = record.vm
        values = {name: getattr(vm, name) for name in _VM_COLUMNS} | {
            "idempotency_key": record.key,
            "fingerprint": record.fingerprint,
            "operation_id": record.operation_id,
            "active": record.active,
            "version": 0,
            "checked_at": record.checked_at,
        }
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        query = dialect.insert(vms).values(values).on_conflict_do_nothing().returning(vms.c.id)
        return (await self._connection.execute(query)).first() is not None

    async def get(self, vm_id: str) -> MachineRecord | None:
        """The row of that id, also of a machine that has ended."""
        return await self._one(vms.c.id == vm_id)

    async def by_key(self, owner: str, key: str) -> MachineRecord | None:
        """The row that holds this idempotency key."""
        return await self._one(and_(vms.c.owner == owner, vms.c.idempotency_key == key))

    async def find(self, owner: str, machine: str) -> MachineRecord | None:
        """The live machine with that name or id."""
        return await self._one(and_(vms.c.owner == owner, LIVE, _named(machine)))

    async def last_ended(self, owner: str, machine: str) -> MachineRecord | None:
        """The latest machine of that name or id that has ended."""
        query = (
            select(vms)
            .where(vms.c.owner == owner, vms.c.status.in_(ENDED), _named(machine))
            .order_by(vms.c.created_at.desc(), vms.c.id.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).first()
        return _record(row) if row is not None else None

    async def page(
        self, owner: str, *, limit: int, after: tuple[datetime, str] | None = None
    ) -> list[MachineRecord]:
        """Live machines, newest first; `after` is (created_at, id) of the last one of the page before."""
        query = select(vms).where(vms.c.owner == owner, LIVE)
        if after is not None:
            query = query.where(tuple_(vms.c.created_at, vms.c.id) < tuple_(*after))
        query = query.order_by(vms.c.created_at.desc(), vms.c.id.desc()).limit(limit)
        return [_record(row) for row in await self._connection.execute(query)]

    async def unfinished(self, owner: str) -> list[MachineRecord]:
        """Ended machines on which an operation still cleans up."""
        query = select(vms).where(
            vms.c.owner == owner, vms.c.status.in_(ENDED), vms.c.operation_id.is_not(None)
        )
        return [_record(row) for row in await self._connection.execute(query)]

    async def all_of(self, owner: str, provider: str) -> list[MachineRecord]:
        """All rows of that provider, ended ones too."""
        query = select(vms).where(vms.c.owner == owner, vms.c.provider == provider)
        return [_record(row) for row in await self._connection.execute(query)]

    async def count_active(self, owner: str) -> int:
        """How many machines count to the limit; true until the transaction ends if the owner is locked."""
        query = select(func.count()).where(vms.c.owner == owner, vms.c.active)
        return int((await self._connection.execute(query)).scalar_one())

    async def providers(self, owner: str) -> set[str]:
        """Names of the providers of live machines."""
        query = select(vms.c.provider).where(vms.c.owner == owner, LIVE).distinct()
        return set((await self._connection.execute(query)).scalars())

    async def change(
        self,
        vm_id: str,
        *,
        values: dict[str, Any],
        statuses: Collection[str] | None = None,
        operation: str | type[ANY] | None = None,
        version: int | None = None,
    ) -> bool:
        """Change a row that is still as the caller thinks; False if it is not.

        `statuses`: it has one of these; `operation`: that one has it to itself (None: nobody has; ANY: not looked at);
        `version`: nothing was changed since.
        """
        query = update(vms).where(vms.c.id == vm_id)
        if statuses is not None:
            query = query.where(vms.c.status.in_(statuses))
        if operation is None:
            query = query.where(vms.c.operation_id.is_(None))
        elif operation is not ANY:
            query = query.where(vms.c.operation_id == operation)
        if version is not None:
            query = query.where(vms.c.version == version)
        done = await self._connection.execute(query.values(**values, version=vms.c.version + 1))
        return done.rowcount > 0

    async def take_due(
        self, owner: str, *, before: datetime, now: datetime, ahead: timedelta = timedelta(0), limit: int
    ) -> list[MachineRecord]:
        """Machines that were not looked at since `before`, marked as looked at now: no other reconciler takes them.

        Rows that another one is taking at this moment are skipped. A `checked_at` further ahead than `ahead`
        was written before the clock went back: it is due.
        """
        query = (
            select(vms)
            .where(
                vms.c.owner == owner,
                LIVE,
                vms.c.operation_id.is_(None),
                or_(vms.c.checked_at.is_(None), vms.c.checked_at < before, vms.c.checked_at > now + ahead),
            )
            .order_by(vms.c.checked_at.asc().nulls_first())
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = [_record(row) for row in await self._connection.execute(query)]
        if found:
            ids = [record.vm.id for record in found]
            await self._connection.execute(update(vms).where(vms.c.id.in_(ids)).values(checked_at=now))
        return found

    async def forget_ended(self, before: datetime) -> int:
        """Delete the history of machines that ended before that time; how many."""
        query = delete(vms).where(
            vms.c.status.in_(ENDED), vms.c.operation_id.is_(None), vms.c.destroyed_at < before
        )
        return int((await self._connection.execute(query)).rowcount)

    async def _one(self, condition: Any) -> MachineRecord | None:
        row = (await self._connection.execute(select(vms).where(condition).limit(1))).first()
        return _record(row) if row is not None else None


class ANY:
    """Stands for whatever operation has the machine, or none."""


_VM_COLUMNS = (
    "id",
    "name",
    "owner",
    "provider",
    "status",
    "created_at",
    "provider_vm_id",
    "image",
    "details",
    "image_version",
    "reason_code",
    "reason",
    "destroyed_at",
)


def _named(machine: str) -> Any:
    return or_(vms.c.name == machine, vms.c.id == machine)


def _record(row: Row[Any]) -> MachineRecord:
    values = {name: getattr(row, name) for name in _VM_COLUMNS}
    values["details"] = dict(values["details"] or {})
    return MachineRecord(
        vm=VM(**values),
        key=row.idempotency_key,
        fingerprint=row.fingerprint,
        operation_id=row.operation_id,
        active=row.active,
        version=row.version,
        checked_at=row.checked_at,
    )
