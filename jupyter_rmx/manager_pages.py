"""Pages of machines, and the cursors that lead from one to the next."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.pages import page_of
from jupyter_rmx.errors import UsageError
from jupyter_rmx.service import CURSOR, PAGE_MAX, MachinePage

_CURSOR = re.compile(f"({CURSOR})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


async def page(control: MachineControl, *, limit: int, cursor: str | None, workspaces: bool) -> MachinePage:
    """One page; UsageError `vm_invalid_request` for a limit out of 1 to 1000, or a cursor that is none of ours."""
    if not 1 <= limit <= PAGE_MAX:
        raise _bad_field("limit", f"A page has 1 to {PAGE_MAX} machines.")
    after = _place(cursor) if cursor is not None else None
    found = await page_of(control, limit=limit, after=after, workspaces=workspaces)
    return MachinePage(found.machines, _cursor(found.after) if found.after is not None else None)


def _cursor(place: tuple[datetime, str]) -> str:
    return f"{(place[0] - _EPOCH) // timedelta(microseconds=1)}-{place[1]}"


def _place(cursor: str) -> tuple[datetime, str]:
    if _CURSOR.fullmatch(cursor) is None:
        raise _bad_field("cursor", "This is not a cursor of ours.")
    moment, _, id_ = cursor.partition("-")
    return _EPOCH + timedelta(microseconds=int(moment)), id_


def _bad_field(field: str, message: str) -> UsageError:
    return UsageError(
        message,
        hint="Send `next` of the page before as the cursor, or leave both out.",
        code="vm_invalid_request",
        details={"field": field},
    )
