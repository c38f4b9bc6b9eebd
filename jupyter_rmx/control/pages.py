"""The list of machines, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jupyter_rmx.control.machines import PAGE_MAX, MachineControl
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import VM
from jupyter_rmx.store.machines import MachineRecord


@dataclass(frozen=True)
class Page:
    """Some machines, newest first; `after` is where the next page begins, None at the end."""

    machines: list[VM]
    after: tuple[datetime, str] | None = None


async def page_of(
    control: MachineControl, *, limit: int = PAGE_MAX, after: tuple[datetime, str] | None = None
) -> Page:
    """As `MachineControl.page`, and where the next page begins.

    That place comes from the rows and not from what is shown: a machine that turns out to be gone while it is looked
    at must not end the list early. A page may so be shorter than `limit`.
    """
    context = control.context
    async with context.store.read() as tx:
        records = await tx.machines.page(context.owner, limit=limit + 1, after=after)
        left = [] if after is not None else await tx.machines.unfinished(context.owner)
    more, records = len(records) > limit, list(records)[:limit]
    seen = await control.observer.look_at_all([record for record in records if _is_cheap(control, record)])
    now = {record.vm.id: record.vm for record in seen}
    shown = [now.get(record.vm.id, record.vm) for record in records]
    machines = [vm for vm in shown if vm.status != "destroyed"] + [record.vm for record in left]
    last = records[-1].vm if more else None
    return Page(machines, (last.created_at, last.id) if last else None)


def _is_cheap(control: MachineControl, record: MachineRecord) -> bool:
    try:
        return control.context.gateway(record.vm.provider).provider.status_is_local
    except RmxError:
        return False  # its provider is not installed here; it is shown as last known
