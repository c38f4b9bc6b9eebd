"""Output that waits for a slow reader: some in memory, the rest in a private file, and then the command waits.

Nothing is dropped, and nothing grows without a bound: at most `memory_max` bytes are kept here and `file_max` bytes in
the file. The file has no name in any folder (tempfile.TemporaryFile: mode 0600), so it is gone with its descriptor,
also where this process is killed.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import IO

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import Output
from jupyter_rmx.models.execution import StreamName

MEMORY_MAX = 4 * 1024 * 1024
FILE_MAX = 64 * 1024 * 1024
READ_BYTES = 1024 * 1024
_HEADER = struct.Struct("<BI")
_STREAMS: tuple[StreamName, StreamName] = ("stdout", "stderr")


def _unreadable(error: OSError) -> TransportError:
    return TransportError(
        f"Output that waited on this computer's disk cannot be read again: {error.strerror or error}.",
        hint="Look after the disk, then run the command again.",
        code="ssh_spool_failed",
        retryable=False,
    )


class Spool:
    """A queue of output with one writer and one reader, kept in order.

    folder
        Where the file is made once it is needed; None: the system's folder for temporary files.
    memory_max, file_max
        Bounds in bytes; 0 for the file means that there is none.
    """

    def __init__(
        self, folder: Path | None = None, *, memory_max: int = MEMORY_MAX, file_max: int = FILE_MAX
    ) -> None:
        self._folder = folder
        self._memory_max = memory_max
        self._file_max = file_max
        self._queue: deque[Output] = deque()
        self._in_memory = 0
        self._file: IO[bytes] | None = None
        self._read_at = self._write_at = 0
        self._file_lock = asyncio.Lock()
        self._seeking = threading.Lock()  # a thread whose caller was cancelled still works
        self._loading: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._finished = False
        self._closed = False

    @property
    def in_memory(self) -> int:
        """Bytes that wait here."""
        return self._in_memory

    @property
    def in_file(self) -> int:
        """Bytes of the file that are not read yet."""
        return self._write_at - self._read_at

    async def put(self, output: Output) -> None:
        """Keep `output`; waits while there is no room for it."""
        while True:
            self._room.clear()
            if self._closed:
                return
            if self.in_file == 0 and (self._in_memory < self._memory_max or not self._queue):
                self._remember(output)
                return
            if await self._append(output):
                self._arrived.set()
                return
            await self._room.wait()

    def finish(self) -> None:
        """Nothing more will be put."""
        self._finished = True
        self._arrived.set()

    async def get(self) -> Output | None:
        """What was put first; None at the end, which `finish` tells."""
        while True:
            self._arrived.clear()
            if not self._queue and self.in_file:
                await self._load_once()
            if self._queue and not self._closed:
                return self._pop()
            if self._finished:
                return None
            await self._arrived.wait()

    def close(self) -> None:
        """Let go of all that waits, and of the file."""
        self._finished = self._closed = True
        self._arrived.set()
        self._room.set()
        if not self._file_lock.locked():  # else who holds it drops all when it is done
            self._drop()

    def _remember(self, output: Output) -> None:
        self._queue.append(output)
        self._in_memory += len(output.data)
        self._arrived.set()

    def _pop(self) -> Output:
        output = self._queue.popleft()
        self._in_memory -= len(output.data)
        self._room.set()
        return output

    async def _append(self, output: Output) -> bool:
        """Write to the file; False if it is full, or its disk is."""
        record = _HEADER.pack(_STREAMS.index(output.stream), len(output.data)) + output.data
        async with self._file_lock:
            if self._write_at + len(record) > self._file_max:
                return False
            written = await asyncio.to_thread(self._write, record, self._write_at)
            if written:
                self._write_at += len(record)
        self._close_late()
        return written

    def _write(self, record: bytes, at: int) -> bool:
        """Runs in a thread."""
        with self._seeking:
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="jupyter_rmx-", dir=self._folder, buffering=0)  # noqa: SIM115 - lives as long as the spool
                self._file.seek(at)
                rest = memoryview(record)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except (OSError, ValueError):
                # A full disk: what was written of the record is written over later. Or we are closed.
                return False
            return True

    async def _load_once(self) -> None:
        """Bring the next part of the file into memory; a reader that is cancelled meanwhile takes it up again."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        loading = self._loading
        await asyncio.shield(asyncio.wait({loading}))
        self._loading = None
        loading.result()

    async def _load(self) -> None:
        async with self._file_lock:
            size = min(READ_BYTES, self.in_file)
            try:
                outputs, used = await asyncio.to_thread(self._read, self._read_at, size)
            except OSError as error:
                raise _unreadable(error) from error
            self._read_at += used
            for output in outputs:
                self._remember(output)
            if self.in_file == 0:
                self._read_at = self._write_at = 0
                await asyncio.to_thread(self._empty)
        self._close_late()

    def _read(self, at: int, size: int) -> tuple[list[Output], int]:
        """Runs in a thread: whole records from `at`, about `size` bytes of them, and how long they are."""
        outputs: list[Output] = []
        used = 0
        with self._seeking:
            assert self._file is not None
            self._file.seek(at)
            data = self._file.read(size)
            while used + _HEADER.size <= len(data):
                stream, length = _HEADER.unpack_from(data, used)
                begin = used + _HEADER.size
                if begin + length > len(data):
                    if outputs:
                        break
                    data += self._file.read(begin + length - len(data))  # one record longer than a part
                outputs.append(Output(_STREAMS[stream], data[begin : begin + length]))
                used = begin + length
        return outputs, used

    def _empty(self) -> None:
        """Runs in a thread: an empty file gives its space back."""
        with self._seeking:
            if self._file is not None:
                self._file.truncate(0)

    def _close_late(self) -> None:
        if self._closed:
            self._drop()

    def _drop(self) -> None:
        self._queue.clear()
        self._in_memory = self._read_at = self._write_at = 0
        with self._seeking:
            file, self._file = self._file, None
            if file is not None:
                file.close()
