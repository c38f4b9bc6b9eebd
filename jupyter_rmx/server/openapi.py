"""The OpenAPI 3.1 document, made from the table in `routes.py` (source: OpenAPI Specification 3.1)."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_rmx._version import __version__
from jupyter_rmx.models.names import IDEMPOTENCY_KEY_MAX
from jupyter_rmx.server.schemas import NOT_BLANK_QUERY, PORT, SCHEMAS, TEXT
from jupyter_rmx.service import CURSOR, PAGE_LIMIT, PAGE_MAX

RETRIED = frozenset({409, 502, 503, 504})
"""Errors that may carry `Retry-After`."""


@dataclass(frozen=True)
class Operation:
    """One method of a route. `answer` and `body` name schemas; `answer` None is a WebSocket, `body` `bytes` a raw one.

    `headers` and `query` name rows of `PARAMETERS`; `errors` are the statuses beside 401, 403 and 500, which all have.
    `secret`: the answer is not to be kept by a cache. `content` is the answer's type. `empty`: there is none (204).
    """

    method: str
    name: str
    summary: str
    answer: str | None
    body: str | None = None
    body_required: bool = False
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    secret: bool = False
    content: str = "application/json"
    empty: bool = False


_KEY = {
    "schema": {"type": "string", "maxLength": IDEMPOTENCY_KEY_MAX, "pattern": "^[ -~]*$"},
    "description": "The same key is the same machine; blank is none.",
}
_TEAM = {
    "schema": NOT_BLANK_QUERY,
    "description": "A team's id; nobody is in a team yet, so any is refused (403).",
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": _KEY,
    "X-RMX-Idempotency-Key": _KEY,
    "X-RMX-Team-Id": _TEAM,
    "team_id": _TEAM,
    "billing_team_id": _TEAM,
    "list_team": {"schema": TEXT},
    "limit": {
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_LIMIT},
        "description": "Longest page.",
    },
    "cursor": {
        "schema": {"type": "string", "pattern": f"^{CURSOR}$"},
        "description": "`next` of the page before.",
    },
    "Last-Event-ID": {
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "description": "The last event that was seen; without it, only new ones are told.",
    },
    "last_event_id": {"schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}},
    "root": {
        "schema": {"type": "string"},
        "description": "`1`: the path starts at `/`; else at the home directory.",
    },
    "mode": {
        "schema": {"type": "string", "pattern": "^[0-7]{0,4}$"},
        "description": "Permission bits, octal.",
    },
    "mtime": {
        "schema": {"type": "string", "pattern": "^([0-9]{1,10}([.][0-9]{1,6})?)?$"},
        "description": "Seconds since 1970.",
    },
    "id": {"schema": {"type": "string", "minLength": 1}, "description": "Id or name of a machine."},
    "name": {"schema": {"type": "string", "minLength": 1}, "description": "Name or id of a machine."},
    "port": {"schema": PORT},
    "path": {"schema": {"type": "string", "minLength": 1}},
    "operation": {"schema": {"type": "string", "minLength": 1}},
    "question": {"schema": {"type": "string", "minLength": 1}},
    "terminal": {"schema": {"type": "string", "minLength": 1}, "description": "Name of a terminal."},
}


def _content(schema: str, kind: str = "application/json") -> dict[str, Any]:
    if kind == "text/event-stream":
        return {
            kind: {"schema": {"type": "string"}, "itemSchema": {"$ref": f"#/components/schemas/{schema}"}}
        }
    return {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", **PARAMETERS[name]}


def _error(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "An error.", "content": _content("Error")}
    if status in RETRIED:
        described = "Seconds after which to try again, where that can help."
        answer["headers"] = {
            "Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": described}
        }
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": TEXT, "required": True}}
    return answer


def _responses(operation: Operation) -> dict[str, Any]:
    if operation.empty:
        answers: dict[str, Any] = {"204": {"description": "Done."}}
        errors = {401, 403, 500, 503, *operation.errors}
    elif operation.answer is None:
        answers = {"101": {"description": "Switching to WebSocket."}}
        errors = {403, 500, *operation.errors}
    else:
        answers = {"200": {"description": "Done.", "content": _content(operation.answer, operation.content)}}
        errors = {401, 403, 500, 503, *operation.errors}
        if operation.secret:
            answers["200"]["headers"] = {"Cache-Control": {"schema": {"const": "no-store"}, "required": True}}
    return answers | {str(status): _error(status) for status in sorted(errors)}


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *(_parameter(name, "path") for name in re.findall(r"{(\w+)}", path)),
            *(_parameter(name, "query") for name in operation.query),
            *(_parameter(name, "header") for name in operation.headers),
        ],
        "responses": _responses(operation),
    }
    if operation.body == "bytes":
        described["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    elif operation.body is not None:
        described["requestBody"] = {"required": operation.body_required, "content": _content(operation.body)}
    return described


def openapi_document(
    routes: Sequence[tuple[str, Sequence[Operation]]], server_url: str, *, providers: Sequence[str] = ()
) -> dict[str, Any]:
    """The document; `server_url` is where the paths start, `providers` are those that new machines may come from."""
    schemas = copy.deepcopy(SCHEMAS)
    if providers:
        schemas["VMSpec"]["properties"]["provider"] = {"enum": [*providers, None]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyter_rmx",
            "version": __version__,
            "description": "Remote machines inside Jupyter. Times are ISO 8601 UTC; errors have one shape everywhere.",
        },
        "servers": [{"url": server_url}],
        "security": [{"jupyter": []}],
        "paths": {
            f"/{path}": {operation.method: _operation(path, operation) for operation in operations}
            for path, operations in routes
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "jupyter": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token <Jupyter's token>`, or `rmx <key of the connection file>`; a browser's login cookie works too, with Jupyter's XSRF rules.",
                }
            },
        },
    }
