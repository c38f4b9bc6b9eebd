"""`machines/{name}/files/{path}`: write a file there, streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.errors import UsageError
from jupyter_rmx.server.base import RmxAPIHandler

CHUNKS_AHEAD = 4


@web.stream_request_body
class FileHandler(RmxAPIHandler):
    """Takes a body of any size; at most a few chunks of it are in memory.

    Tornado reads on while `data_received` is not waiting, so the queue's bound is the back-pressure.
    """

    def initialize(self) -> None:
        """Prepare for a body that is not held."""
        super().initialize()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=CHUNKS_AHEAD)
        self._upload: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Authenticate and check before the first byte is taken, then start writing."""
        await super().prepare()
        if self.request.method != "PUT":
            return
        if not await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "write", self.auth_resource)
        ):
            raise web.HTTPError(403)
        size = self._declared_size()
        self.request.connection.set_max_body_size(size)
        machine, path = self.path_args
        self._upload = asyncio.ensure_future(self._write(machine, self._remote_path(path), size))
        self._upload.add_done_callback(lambda _task: self._unblock())

    def _declared_size(self) -> int:
        text = self.request.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit()):
            raise UsageError(
                "The size of the file is not known.",
                hint="Send a Content-Length header.",
                code="usage_no_length",
                status=411,
            )
        return int(text)

    def _remote_path(self, path: str) -> str:
        if "\0" in path:
            raise UsageError("A path cannot hold a NUL.", hint="Rename the file.", code="usage_bad_path")
        return f"/{path}" if self.get_query_argument("root", "") == "1" else path

    async def _write(self, machine: str, remote_path: str, size: int) -> None:
        mode_text = self.get_query_argument("mode", "")
        mtime_text = self.get_query_argument("mtime", "")
        try:
            mode = int(mode_text, 8) & 0o777 if mode_text else None
            mtime = float(mtime_text) if mtime_text else None
        except ValueError as error:
            raise UsageError(
                "`mode` is octal digits and `mtime` seconds.",
                hint="Leave them out if unsure.",
                code="usage_bad_field",
            ) from error
        result = await self.rmx.upload(machine, remote_path, self._body(), size=size, mode=mode, mtime=mtime)
        self._result = result

    async def _body(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    def _unblock(self) -> None:
        # An upload that failed reads no more: let a waiting `data_received` go on, so that the rest is thrown away.
        while not self._chunks.empty():
            self._chunks.get_nowait()

    async def data_received(self, chunk: bytes) -> None:
        """Hand a part of the body on; waits while the machine is slower than the sender."""
        if self._upload is not None and not self._upload.done():
            await self._chunks.put(chunk)

    @web.authenticated
    @authorized
    async def put(self, _machine: str, _path: str) -> None:
        """Write one regular file, whole or not at all; the path starts at the home directory."""
        assert self._upload is not None
        if not self._upload.done():
            await self._chunks.put(None)
        await self._upload
        self.answer(self._result.to_wire())

    def on_connection_close(self) -> None:
        """Stop: the sender went away in the middle; the transport removes what is half-written."""
        super().on_connection_close()
        self._cancel()

    def on_finish(self) -> None:
        """Stop what an earlier error left running."""
        super().on_finish()
        self._cancel()

    def _cancel(self) -> None:
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
