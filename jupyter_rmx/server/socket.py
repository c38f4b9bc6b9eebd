"""What our WebSockets share: Jupyter's login or our key, and Jupyter's rule for the origin of browsers."""

from __future__ import annotations

import json
import secrets
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web, websocket

from jupyter_rmx.errors import RmxError
from jupyter_rmx.server.base import RmxHandler, error_envelope


class RmxSocket(WebSocketMixin, websocket.WebSocketHandler, RmxHandler):
    """A WebSocket of ours."""

    @property
    def max_message_size(self) -> int:
        """Largest message that a client may send, in bytes."""
        return 8 * 1024 * 1024

    def set_default_headers(self) -> None:
        """Jupyter's default headers mean nothing on a WebSocket."""

    async def prepare(self) -> None:
        """Authenticate; a WebSocket is never redirected to a login page."""
        await RmxHandler.prepare(self, _redirect_to_login=False)
        self.touch()

    def check_origin(self, origin: str | None = None) -> bool:
        """Jupyter's rule for browsers; a holder of the key is no browser."""
        return True if self.token_authenticated else bool(WebSocketMixin.check_origin(self, origin))

    async def authorize(self) -> None:
        """HTTPError 403 for who may not execute here."""
        if not await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", self.auth_resource)
        ):
            raise web.HTTPError(403)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """What keeps a request from becoming a WebSocket, as the REST interface tells errors."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, RmxError):
            self.set_status(error.status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(error_envelope(error, status_code, f"req_{secrets.token_hex(6)}")))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors of our tree are answers, not accidents: no traceback in the log."""
        if isinstance(value, RmxError):
            self.log.info("%s: %s", value.code, value.message)
            return
        super().log_exception(typ, value, tb)
