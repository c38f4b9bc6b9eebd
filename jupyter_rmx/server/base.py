"""What all handlers share: who asks, and how errors are told."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import web

from jupyter_rmx.errors import RmxError, UsageError
from jupyter_rmx.server.identity import KeyIdentity, has_key

if TYPE_CHECKING:
    from jupyter_rmx.manager import MachineManager

AUTH_RESOURCE = "rmx"
RETRY_S = {"vm_create_in_progress": 1}
"""`Retry-After` in seconds by error code; `RETRY_DEFAULT_S` for the others that may be tried again."""
RETRY_DEFAULT_S = 2


class RmxHandler(JupyterHandler):
    """A handler of ours: Jupyter's authentication, or the connection file's key."""

    auth_resource = AUTH_RESOURCE

    @property
    def rmx(self) -> MachineManager:
        """The service."""
        manager: MachineManager = self.settings["rmx_service"]()
        return manager

    @property
    def identity_provider(self) -> Any:
        """Jupyter's own, or ours where the request carries our key."""
        if has_key(self.request.headers.get("Authorization", ""), self.settings["rmx_key"]):
            return self.settings["rmx_key_identity"]
        return super().identity_provider

    def touch(self) -> None:
        """Count this request as activity, so that an idle culler sees that the server is used."""
        self.settings["rmx_touch"]()


class RmxAPIHandler(RmxHandler, APIHandler):
    """A REST handler: JSON in, JSON out, errors in the one envelope (design.md § 4)."""

    def prepare_request_id(self) -> str:
        """The id that names this request in an error and in the log."""
        if not hasattr(self, "_request_id"):
            self._request_id = f"req_{secrets.token_hex(6)}"
        return self._request_id

    async def prepare(self) -> None:
        """Authenticate, then count the activity. A stranger is told 401, whatever else is wrong with the request."""
        await super().prepare()
        self.touch()

    def set_cors_headers(self) -> None:
        """Called by Jupyter once it knows who asks, and before it looks for forged requests."""
        super().set_cors_headers()
        if self.current_user is None and self.request.method != "OPTIONS":
            raise web.HTTPError(401)

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object.

        Raises UsageError `usage_json_parse_failed`, `usage_expected_object`.
        """
        return json_object(self.request.body) if self.request.body else {}

    def text_field(self, body: dict[str, Any], name: str) -> str | None:
        """An optional text of the body; UsageError `usage_bad_field` for any other type."""
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            raise UsageError(
                f"The field {name!r} is not a text.",
                hint="Send it as a JSON string, or leave it out.",
                code="usage_bad_field",
                details={"field": name},
            )
        return value

    def answer(self, value: Any) -> None:
        """Send `value` as JSON."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(value))

    def answer_secret(self, value: Any) -> None:
        """As `answer`, of what no cache may keep."""
        self.set_header("Cache-Control", "no-store")
        self.answer(value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Any exception as the one envelope; what is not ours is logged and told without its inside."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        wire = error_envelope(error, status_code, self.prepare_request_id())
        if isinstance(error, RmxError):
            self.set_status(error.status)
            if error.retryable or error.status == HTTPStatus.CONFLICT:
                self.set_header("Retry-After", str(RETRY_S.get(error.code, RETRY_DEFAULT_S)))
        elif status_code == HTTPStatus.UNAUTHORIZED:
            self.set_header("WWW-Authenticate", 'token realm="Jupyter"')
        elif status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.methods()))
        self.answer(wire)

    @classmethod
    def methods(cls) -> list[str]:
        """The methods that this handler has."""
        return [name for name in web.RequestHandler.SUPPORTED_METHODS if _has(cls, name)]

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors of our tree are answers, not accidents: no traceback in the log."""
        if isinstance(value, RmxError):
            self.log.info("%s %s: %s", self.prepare_request_id(), value.code, value.message)
            return
        super().log_exception(typ, value, tb)


def _has(handler: type[web.RequestHandler], method: str) -> bool:
    name = method.lower()
    given: Awaitable[None] | Any = getattr(handler, name)
    return given is not getattr(web.RequestHandler, name)


def json_object(text: str | bytes, *, area: str = "usage") -> dict[str, Any]:
    """A JSON object; UsageError `<area>_json_parse_failed` or `<area>_expected_object` for anything else."""
    value = json_value(text, code=f"{area}_json_parse_failed")
    if not isinstance(value, dict):
        raise UsageError(
            "This is not a JSON object.", hint="Send a JSON object.", code=f"{area}_expected_object"
        )
    return value


def json_value(text: str | bytes, *, code: str) -> Any:
    """Any JSON; UsageError with that code for anything else."""
    try:
        value = json.loads(text)
        # Half of a surrogate pair is a text in Python, but none that can be stored or sent on.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UsageError("This is not JSON.", hint="Send a JSON object.", code=code) from error
    return value


_CODE_OF_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
_HINT_OF_STATUS = {401: "Send Jupyter's token, or the key of the connection file, as Authorization."}


def error_envelope(error: BaseException | None, status: int, request_id: str) -> dict[str, Any]:
    """The envelope of any exception."""
    if isinstance(error, RmxError):
        return error.to_wire(request_id)
    if isinstance(error, web.HTTPError) and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        known = _CODE_OF_STATUS.get(status, "usage_invalid")
        message = error.log_message or error.reason or HTTPStatus(status).phrase
        return RmxError(message, hint=_HINT_OF_STATUS.get(status, ""), code=known).to_wire(request_id)
    return RmxError(
        "jupyter_rmx failed inside.", hint=f"Look for {request_id} in Jupyter's log.", code="internal_error"
    ).to_wire(request_id)


def key_identity(owner: str) -> KeyIdentity:
    """The identity provider of requests that carry the key."""
    return KeyIdentity(owner)
