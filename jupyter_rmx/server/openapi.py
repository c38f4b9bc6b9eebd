"""The OpenAPI 3.1 document, made from the table in `routes.py` (source: OpenAPI Specification 3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_rmx._version import __version__
from jupyter_rmx.models import MACHINE_NAME_RULE


@dataclass(frozen=True)
class Operation:
    """One method of a route. `answer` and `body` name schemas; `answer` None is a WebSocket, `bytes` is a raw body."""

    method: str
    name: str
    summary: str
    answer: str | None
    body: str | None = None
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


_TEXT = {"type": "string"}
_OPTIONAL_TEXT = {"type": ["string", "null"]}
_TIME = {"type": "string", "format": "date-time"}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}

SCHEMAS: dict[str, Any] = {
    "VM": _object(
        ["id", "name", "owner", "provider", "status", "created_at", "kind", "label"],
        id=_TEXT,
        name=_TEXT,
        owner=_TEXT,
        provider=_TEXT,
        status={
            "type": "string",
            "enum": ["creating", "running", "paused", "destroying", "destroyed", "failed"],
        },
        created_at=_TIME,
        provider_vm_id=_OPTIONAL_TEXT,
        image=_OPTIONAL_TEXT,
        details={"type": "object"},
        kind={"type": "string", "enum": ["vm"]},
        label=_TEXT,
    ),
    "VMSpec": _object(
        [],
        name={"type": ["string", "null"], "description": f"A name is {MACHINE_NAME_RULE}."},
        provider=_OPTIONAL_TEXT,
        image=_OPTIONAL_TEXT,
    ),
    "VMList": _object(["vms"], vms=_list_of("VM")),
    "MachineList": _object(["machines"], machines=_list_of("VM")),
    "Done": _object(["ok"], ok={"type": "boolean"}),
    "PortRequest": _object([], path=_OPTIONAL_TEXT, origin=_OPTIONAL_TEXT, open_id=_OPTIONAL_TEXT),
    "PortLink": _object(
        ["machine", "machine_id", "port", "url", "open_url", "shown", "expires_at", "open_id"],
        machine=_TEXT,
        machine_id=_TEXT,
        port=_PORT,
        url=_TEXT,
        open_url=_TEXT,
        shown=_TEXT,
        expires_at=_TIME,
        open_id=_TEXT,
    ),
    "FileResult": _object(
        ["remote_path", "size", "sha256"], remote_path=_TEXT, size={"type": "integer"}, sha256=_TEXT
    ),
    "ProviderList": _object(
        ["providers"], providers={"type": "array", "items": _object(["name"], name=_TEXT)}
    ),
    "Health": _object(["ok", "version"], ok={"type": "boolean"}, version=_TEXT),
    "Error": _object(
        ["error", "message", "reason", "action", "details", "retryable", "request_id"],
        error=_TEXT,
        message=_TEXT,
        reason=_TEXT,
        action=_TEXT,
        details={"type": "object"},
        retryable={"type": "boolean"},
        request_id=_TEXT,
    ),
}


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": _TEXT}


def _responses(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        answers: dict[str, Any] = {"101": {"description": "Switching to WebSocket."}}
    else:
        answers = {"200": {"description": "Done.", "content": _content(operation.answer)}}
    for status in sorted({403, 500, *operation.errors}):
        answers[str(status)] = {"description": "An error.", "content": _content("Error")}
    return answers


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
        described["requestBody"] = {"required": False, "content": _content(operation.body)}
    return described


def openapi_document(routes: Sequence[tuple[str, Sequence[Operation]]], server_url: str) -> dict[str, Any]:
    """The document; `server_url` is where the paths start."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "jupyter_rmx", "version": __version__},
        "servers": [{"url": server_url}],
        "security": [{"jupyter": []}],
        "paths": {
            f"/{path}": {operation.method: _operation(path, operation) for operation in operations}
            for path, operations in routes
        },
        "components": {
            "schemas": SCHEMAS,
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
