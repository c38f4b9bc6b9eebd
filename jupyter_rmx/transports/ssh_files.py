"""Files on a machine by SFTP (asyncssh): written under a temporary name, checked, then renamed over the target."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import secrets
import stat
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import asyncssh

from jupyter_rmx.errors import RmxError, TransferError, TransportError
from jupyter_rmx.models import FileResult
from jupyter_rmx.transports.ssh import map_ssh_error, map_ssh_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BLOCK = 128 * 1024
"""Bytes of one write request; less where the server says so. Servers take up to 256 KiB; 128 KiB is as fast."""
OUTSTANDING = 32
"""Write requests on their way at once: 4 MiB, enough for 100 MB/s at 40 ms."""
NAME_MAX = 255
_CLEAN_UP_S = 10.0
_NEARLY_FULL = 1024 * 1024


class Link(Protocol):
    """What SSHFiles needs of SSHTransport."""

    @property
    def connection(self) -> asyncssh.SSHClientConnection:
        """The live connection; TransportError if it is gone."""
        ...

    def using(self) -> AbstractContextManager[None]:
        """The connection is in use inside the block, and not closed as idle."""
        ...

    async def settle(self, opening: Awaitable[Any], discard: Callable[[Any], None]) -> Any:
        """Await `opening`; `discard` gets its result if we are cancelled."""
        ...


def _fail(message: str, hint: str, code: str, *, retryable: bool = False) -> TransferError:
    return TransferError(message, hint=hint, code=code, retryable=retryable)


def _shown(path: str) -> str:
    """A path for a message: printable, on one line, not endless."""
    text = path if path.isprintable() else ascii(path)
    return text if len(text) <= 120 else f"…{text[-119:]}"


def temporary_name(name: str) -> str:
    """`.<name>.rmx-<random>.part`, with `name` cut between characters so that the whole has at most 255 bytes."""
    tail = f".rmx-{secrets.token_hex(6)}.part"
    room = NAME_MAX - len(tail) - 1
    kept = name.encode("utf-8", "surrogateescape")[:room].decode("utf-8", "ignore")
    return f".{kept}{tail}"


@dataclass
class _Job:
    """One put: where it goes, and what is known of it."""

    asked: str
    target: str
    temporary: str
    size: int
    old_mode: int | None

    def size_mismatch(self, came: str) -> TransferError:
        return _fail(
            f"{_shown(self.asked)} should have {self.size} bytes, but {came}.",
            "The file changed while it was read, or was cut off; upload it again.",
            "transfer_size_mismatch",
            retryable=True,
        )

    def disk_full(self) -> TransferError:
        return _fail(
            "The disk of the machine is full.",
            f"Free space there, then upload again; nothing was left of {_shown(posixpath.basename(self.asked))}.",
            "transfer_disk_full",
        )


class SSHFiles:
    """Files on one machine (transports.base.RemoteFiles). One SFTP session serves all uploads."""

    def __init__(self, link: Link, where: str) -> None:
        self._link = link
        self._where = where
        self._client: asyncssh.SFTPClient | None = None
        self._opened_on: asyncssh.SSHClientConnection | None = None
        self._opening = asyncio.Lock()

    async def _sftp(self) -> asyncssh.SFTPClient:
        async with self._opening:
            connection = self._link.connection
            if self._client is None or self._opened_on is not connection:
                with map_ssh_errors(self._where):
                    # surrogateescape: a file name is bytes on the machine, and Python's own way to carry them.
                    opening = connection.start_sftp_client(path_errors="surrogateescape")
                    self._client = await self._link.settle(opening, lambda client: client.exit())
                self._opened_on = connection
            assert self._client is not None
            return self._client

    async def put(
        self,
        remote_path: str,
        chunks: AsyncIterable[bytes],
        *,
        size: int,
        mode: int | None = None,
        mtime: float | None = None,
    ) -> FileResult:
        """Write `chunks` to `remote_path` (absolute, or relative to the home directory), whole or not at all.

        Errors are those of transports.base.RemoteFiles; also `transfer_bad_name`, `transfer_not_a_file` (the target
        is a device, socket or pipe) and TransportError `ssh_connection_lost`.
        """
        path = _checked_path(remote_path)
        with self._link.using():
            return await self._put(path, chunks, size, mode, mtime)

    async def _put(
        self, path: str, chunks: AsyncIterable[bytes], size: int, mode: int | None, mtime: float | None
    ) -> FileResult:
        sftp = await self._sftp()
        try:
            job = await _examine(sftp, path, size)
            digest = await self._write(sftp, job, chunks, mode, mtime)
        except (asyncssh.Error, OSError) as error:
            raise self._map(error, path) from error
        return FileResult(remote_path=job.target, size=size, sha256=digest)

    def _map(self, error: Exception, path: str) -> RmxError:
        try:
            _ = self._link.connection
        except TransportError as lost:
            return lost
        if isinstance(error, asyncssh.SFTPError) and not isinstance(
            error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)
        ):
            return _map_sftp_error(error, path)
        # The SFTP session ended while the link stands: the next put opens a fresh one.
        self._client = None
        return map_ssh_error(asyncssh.ConnectionLost(str(error)), self._where)

    async def _write(
        self,
        sftp: asyncssh.SFTPClient,
        job: _Job,
        chunks: AsyncIterable[bytes],
        mode: int | None,
        mtime: float | None,
    ) -> str:
        try:
            try:
                digest = await _fill(sftp, job, chunks, mode, mtime)
                await _rename(sftp, job)
            except asyncssh.SFTPError as error:
                if await _is_full(sftp, job, error):
                    raise job.disk_full() from error
                raise
        except BaseException:  # cancellation too: the temporary file goes in every case
            await _remove(sftp, job.temporary)
            raise
        return digest


def _checked_path(path: str) -> str:
    path = path.removeprefix("~/")
    name = posixpath.basename(path)
    if path.endswith("/"):
        raise _fail(
            f"{_shown(path)} names a folder.", "Give the full path of the file.", "transfer_is_folder"
        )
    if "\0" in path or name in {"", ".", ".."}:
        raise _fail(f"{path[:60]!r} is not a file name.", "Choose another name.", "transfer_bad_name")
    if len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
        raise _fail(
            f"The name {_shown(name)} is too long.",
            f"A name has at most {NAME_MAX} bytes.",
            "transfer_bad_name",
        )
    return path


async def _attributes(sftp: asyncssh.SFTPClient, path: str) -> asyncssh.SFTPAttrs | None:
    try:
        return await sftp.stat(path)
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return None


async def _examine(sftp: asyncssh.SFTPClient, path: str, size: int) -> _Job:
    """Look before we write: the folder must be there, and the target nothing but a regular file or a link to one."""
    folder = posixpath.dirname(path) or "."
    there = await _attributes(sftp, folder)
    if there is None or not stat.S_ISDIR(there.permissions or 0):
        raise _fail(
            f"There is no folder {_shown(folder)} on the machine.",
            "Make it first, as in: mkdir -p FOLDER",
            "transfer_no_such_folder",
        )
    old = await _attributes(sftp, path)
    target = path
    if old is not None:
        kind = stat.S_IFMT(old.permissions or 0)
        if kind == stat.S_IFDIR:
            raise _fail(
                f"{_shown(path)} is a folder on the machine.",
                "Give the full path of the file, as in: FOLDER/NAME",
                "transfer_is_folder",
            )
        if kind != stat.S_IFREG:
            raise _fail(
                f"{_shown(path)} is not a regular file on the machine.",
                "Choose another name; devices, sockets and pipes are left alone.",
                "transfer_not_a_file",
            )
        # What a link points to is replaced, not the link, as a copy on the machine would do it.
        if await sftp.islink(path):
            target = await sftp.realpath(path)
    temporary = posixpath.join(posixpath.dirname(target), temporary_name(posixpath.basename(target)))
    old_mode = stat.S_IMODE(old.permissions) if old is not None and old.permissions is not None else None
    return _Job(path, target, temporary, size, old_mode)


async def _fill(
    sftp: asyncssh.SFTPClient,
    job: _Job,
    chunks: AsyncIterable[bytes],
    mode: int | None,
    mtime: float | None,
) -> str:
    """Write, check and mark the temporary file; return its SHA-256, counted over the bytes as they were sent."""
    final_mode = job.old_mode if mode is None else stat.S_IMODE(mode)
    # With a known mode the file is its owner's alone until it is whole; else the machine's umask decides.
    first = asyncssh.SFTPAttrs() if final_mode is None else asyncssh.SFTPAttrs(permissions=0o600)
    file = await sftp.open(job.temporary, "xb", first, encoding=None, block_size=0)
    async with file:
        digest = await _stream(sftp, file, job, chunks)
        marks = asyncssh.SFTPAttrs()
        if final_mode is not None:
            marks.permissions = final_mode
        if mtime is not None:
            marks.atime = marks.mtime = max(0, int(mtime))  # SFTP 3 counts whole seconds
        if marks != asyncssh.SFTPAttrs():
            await file.setstat(marks)
        written = (await file.stat()).size
    if written != job.size:
        raise job.size_mismatch(f"the machine has {written}")
    return digest


async def _readable(chunks: AsyncIterable[bytes], job: _Job) -> AsyncIterator[bytes]:
    """`chunks`; an OSError of the source is not one of the machine."""
    try:
        async for chunk in chunks:
            yield chunk
    except OSError as error:
        raise _fail(
            f"What should become {_shown(job.asked)} cannot be read: {error.strerror or error}.",
            "Check the file on this side, then try again.",
            "transfer_source_failed",
        ) from error


async def _stream(
    sftp: asyncssh.SFTPClient, file: asyncssh.SFTPClientFile, job: _Job, chunks: AsyncIterable[bytes]
) -> str:
    block = min(BLOCK, sftp.limits.max_write_len or BLOCK)
    digest = hashlib.sha256()
    offset = 0
    writes: set[asyncio.Task[int]] = set()
    try:
        async for chunk in _readable(chunks, job):
            if offset + len(chunk) > job.size:
                raise job.size_mismatch("more came")
            digest.update(chunk)
            view = memoryview(chunk)
            for start in range(0, len(view), block):
                if len(writes) >= OUTSTANDING:
                    writes = await _some_done(writes)
                data = bytes(view[start : start + block])
                writes.add(asyncio.create_task(file.write(data, offset)))
                offset += len(data)
        while writes:
            writes = await _some_done(writes)
    finally:
        for task in writes:
            task.cancel()
        await asyncio.gather(*writes, return_exceptions=True)
    if offset != job.size:
        raise job.size_mismatch(f"{offset} came")
    return digest.hexdigest()


async def _some_done(writes: set[asyncio.Task[int]]) -> set[asyncio.Task[int]]:
    """Wait until at least one write is done, raise its error, return the others."""
    done, pending = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    try:
        for task in done:
            task.result()
    except BaseException:
        for task in pending:
            task.cancel()
        await asyncio.gather(*done, *pending, return_exceptions=True)
        raise
    return pending


async def _rename(sftp: asyncssh.SFTPClient, job: _Job) -> None:
    try:
        await sftp.posix_rename(job.temporary, job.target)
    except asyncssh.SFTPOpUnsupported:
        # The plain rename of SFTP 3 never replaces; a server that cannot do better serves new files only.
        await sftp.rename(job.temporary, job.target)


async def _remove(sftp: asyncssh.SFTPClient, path: str) -> None:
    """Remove the temporary file even while we are being cancelled; a link that is gone keeps us from it."""

    async def remove() -> None:
        try:
            await asyncio.wait_for(sftp.remove(path), _CLEAN_UP_S)
        except (asyncssh.Error, OSError, asyncio.TimeoutError):
            pass  # never made, renamed already, or out of reach

    task = asyncio.create_task(remove())
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def _is_full(sftp: asyncssh.SFTPClient, job: _Job, error: asyncssh.SFTPError) -> bool:
    """Whether a failed write means a full disk: SFTP 3 has no code for it, OpenSSH says "Failure" only."""
    if isinstance(error, (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)):
        return True
    if not isinstance(error, asyncssh.SFTPFailure):
        return False
    reason = str(error.reason).lower()
    if "no space left" in reason or "quota exceeded" in reason:
        return True
    try:
        space = await sftp.statvfs(posixpath.dirname(job.target) or ".")
    except (asyncssh.Error, OSError):
        return False
    free = (space.bavail or 0) * (space.frsize or space.bsize or 1)
    return free < min(job.size, _NEARLY_FULL) or (bool(space.files) and not space.favail)


def _map_sftp_error(error: asyncssh.SFTPError, path: str) -> RmxError:
    folder = posixpath.dirname(path) or "the home directory"
    if isinstance(error, (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect)):
        return _fail(
            f"You may not write {_shown(path)} on the machine.",
            "Choose a folder that is yours there.",
            "transfer_denied",
        )
    if isinstance(error, (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)):
        return _fail(
            f"The folder {_shown(folder)} is not there any more.", "Make it again.", "transfer_no_such_folder"
        )
    return _fail(
        f"The machine could not write {_shown(path)}: {error.reason or type(error).__name__}.",
        "Look at the disk there with: df -h; then try again.",
        "transfer_failed",
        retryable=True,
    )
