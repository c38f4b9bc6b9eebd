"""Files from here to a machine, for the faces: plan first, then send."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from jupyter_rmx.errors import TransferError
from jupyter_rmx.models import FileResult, Rejection
from jupyter_rmx.planner.upload import plan_upload
from jupyter_rmx.service import RemoteMachines
from jupyter_rmx.transfer.sources import describe, expanded, read_chunks


def _refused(rejections: Sequence[Rejection]) -> TransferError:
    first = rejections[0]
    more = len(rejections) - 1
    also = f" ({more} more cannot be sent either.)" if more else ""
    return TransferError(f"{first.reason}{also} Nothing was sent.", hint=first.hint, code=first.code)


def _facts(path: Path) -> tuple[int | None, float | None]:
    """Permission bits and time of last change; unknown for a file that has just gone (reading it will say so)."""
    try:
        found = path.stat()
    except OSError:
        return None, None
    return found.st_mode & 0o777, found.st_mtime


async def upload_files(
    service: RemoteMachines, machine: str, paths: Sequence[str], *, directory: str = ""
) -> list[FileResult]:
    """Send local files into `directory` there (the home directory if empty), one after the other.

    If one of them cannot be sent, nothing is. Raises TransferError, and what the service raises. The largest size
    that is taken is the server's to say, so none is checked here.
    """
    items = await asyncio.to_thread(lambda: [describe(path) for path in paths])
    plan = plan_upload(items, directory=directory, max_bytes=sys.maxsize)
    if plan.rejections:
        raise _refused(plan.rejections)
    results: list[FileResult] = []
    for upload in plan.uploads:
        path = expanded(upload.item.source)
        mode, mtime = await asyncio.to_thread(_facts, path)
        results.append(
            await service.upload(
                machine,
                upload.remote_path,
                read_chunks(path, upload.item.size),
                size=upload.item.size,
                mode=mode,
                mtime=mtime,
            )
        )
    return results
