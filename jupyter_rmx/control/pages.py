"""The list of machines, VMs alone or with workspaces, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jupyter_rmx.control.machines import PAGE_MAX, MachineControl
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import Machine, Workspace
from jupyter_rmx.store.machines import MachineRecord


@dataclass(frozen=True)
class Page:
    """Some machines, newest first; `after` is where the next page begins, None at the end."""

    machines: list[Machine]
    after: tuple[datetime, str] | None = None


async def page_of(
    control: MachineControl,
    *,
    limit: int = PAGE_MAX,
    after: tuple[datetime, str] | None = None,
    workspaces: bool = False,
) -> Page:
    """As `MachineControl.page`, with workspaces among them if wanted, and where the next page begins.

    That place comes from the rows and not from what is shown: a machine that turns out to be gone while it is looked
    at must not end the list early. A page may so be shorter than `limit`.
    """
    context = control.context
    async with context.store.read() as tx:
        records = await tx.machines.page(context.owner, limit=limit + 1, after=after)
        left = [] if after is not None else await tx.machines.unfinished(context.owner)
        hosts = await tx.workspaces.page(context.owner, limit=limit + 1, after=after) if workspaces else []
    rows: list[Machine] = [*(record.vm for record in records), *hosts]
    rows.sort(key=_place, reverse=True)
    more, rows = len(rows) > limit, rows[:limit]
    shown = {row.id for row in rows}
    cheap = [record for record in records if record.vm.id in shown and _is_cheap(control, record)]
    now = {record.vm.id: record.vm for record in await control.observer.look_at_all(cheap)}
    machines: list[Machine] = [now.get(row.id, row) for row in rows]
    machines = [one for one in machines if isinstance(one, Workspace) or one.status != "destroyed"]
    return Page(machines + [record.vm for record in left], _place(rows[-1]) if more else None)


def _place(machine: Machine) -> tuple[datetime, str]:
    return machine.created_at, machine.id


def _is_cheap(control: MachineControl, record: MachineRecord) -> bool:
    try:
        return control.context.gateway(record.vm.provider).provider.status_is_local
    except RmxError:
        return False  # its provider is not installed here; it is shown as last known
