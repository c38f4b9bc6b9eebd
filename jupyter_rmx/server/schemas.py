"""The JSON Schemas of what goes over the wire (source: JSON Schema 2020-12, as OpenAPI 3.1 has it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from jupyter_rmx.models import (
    MACHINE_NAME_RULE,
    STARTUP_MAX,
    ConnectionStatus,
    OperationKind,
    OperationState,
    PromptKind,
    SnapshotStatus,
    VMStatus,
)
from jupyter_rmx.server.requests import IMAGE_MAX, SESSION_ID, SNAPSHOT_NAME_MAX

NAME_PATTERN = "^[a-z0-9]+(-[a-z0-9]+)*$"
NAME_MAX = 40


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _whole(**properties: Any) -> dict[str, Any]:
    """An answer, of which all fields are always there."""
    return _object(list(properties), **properties)


def _one(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _one(name)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": [schema["type"], "null"]} if "type" in schema else {"oneOf": [schema, NULL]}


NULL = {"type": "null"}
TEXT = {"type": "string"}
OPTIONAL_TEXT = {"type": ["string", "null"]}
# Other languages' `\s` leaves out four separators and NEL, which Python takes for blanks (ECMA-262 WhiteSpace).
NOT_BLANK = {"type": "string", "pattern": r"[^\s\u001c-\u001f\u0085]"}
# Tornado takes the control characters of a query for blanks.
NOT_BLANK_QUERY = {"type": "string", "pattern": r"[^\s\u0000-\u001f\u0085]"}
TIME = {"type": "string", "format": "date-time"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
BOOLEAN = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
FREE = {"type": "object"}
NAME = {
    "type": "string",
    "pattern": NAME_PATTERN,
    "maxLength": NAME_MAX,
    "description": f"A name is {MACHINE_NAME_RULE}.",
}
TEXTS = {"type": "object", "additionalProperties": TEXT}
TEAM = _or_null(NOT_BLANK) | {"description": "Teams come with accounts; until then any is refused (403)."}
SESSION = {"type": ["string", "null"], "pattern": rf"^\s*({SESSION_ID})?\s*$"}
ID = {"type": "string", "pattern": "^[a-z]+_[A-Za-z0-9_]+$"}


def _choice(values: Any) -> dict[str, Any]:
    return {"type": "string", "enum": list(get_args(values))}


_VM = _whole(
    id=ID,
    name=NAME,
    owner=TEXT,
    provider=TEXT,
    status=_choice(VMStatus),
    created_at=TIME,
    provider_vm_id=OPTIONAL_TEXT,
    image=OPTIONAL_TEXT,
    image_version=OPTIONAL_TEXT,
    details=FREE,
    reason_code=OPTIONAL_TEXT,
    reason=OPTIONAL_TEXT,
    destroyed_at=_or_null(TIME),
    kind={"type": "string", "enum": ["vm"]},
    label=TEXT,
)
_TARGET = _whole(
    destination=TEXT,
    port=_or_null(PORT),
    identity_files={"type": "array", "items": TEXT},
    config_file=OPTIONAL_TEXT,
    jump_host=OPTIONAL_TEXT,
    use_ipv4=BOOLEAN,
    use_ipv6=BOOLEAN,
    forward_agent=BOOLEAN,
    compression=BOOLEAN,
    options={"type": "array", "items": TEXT},
)
_CONNECTION = _whole(
    status=_choice(ConnectionStatus),
    attempt=COUNT,
    next_in_s={"type": ["number", "null"]},
    code=OPTIONAL_TEXT,
    reason=OPTIONAL_TEXT,
    hint=OPTIONAL_TEXT,
)
_WORKSPACE = _whole(
    id=ID,
    name=NAME,
    owner=TEXT,
    kind={"type": "string", "enum": ["workspace"]},
    label=TEXT,
    target=_one("SSHTarget"),
    created_at=TIME,
    startup=OPTIONAL_TEXT,
    connection=_one("ConnectionState"),
)
_ERROR = {
    "error": {"type": "string", "description": "A stable code."},
    "message": TEXT,
    "reason": TEXT,
    "action": {"type": "string", "description": "What to do next."},
    "details": FREE,
    "retryable": {"type": "boolean", "description": "The same request may succeed later; see Retry-After."},
    "request_id": TEXT,
    "class": {"type": "string", "description": "The branch of the error tree."},
}
_WAY = {
    "url": TEXT,
    "headers": TEXTS,
    "token": TEXT,
    "session_id": TEXT,
    "expires_at_unix": {"type": "integer"},
}
_CREDENTIAL = {
    "oneOf": [
        _whole(kind={"const": "password"}, value=TEXT),
        _whole(kind={"const": "authorized_key"}, private_key_pem=TEXT),
        NULL,
    ]
}

SCHEMAS: dict[str, Any] = {
    "VM": _VM,
    "VMSpec": _object(
        [],
        name=_or_null(NAME),
        image={"type": ["string", "null"], "maxLength": IMAGE_MAX},
        provider=OPTIONAL_TEXT,  # its choices are filled in by `openapi.py`
        team_id=TEAM,
        billing_team_id=TEAM,
    ),
    "Rename": _object(["name"], name=NAME),
    "VMList": _whole(vms=_list_of("VM"), next=OPTIONAL_TEXT),
    "SSHTarget": _TARGET,
    "ConnectionState": _CONNECTION,
    "Workspace": _WORKSPACE,
    "Machine": {"oneOf": [_one("VM"), _one("Workspace")]},
    "MachineList": _whole(machines=_list_of("Machine"), next=OPTIONAL_TEXT),
    "WorkspaceList": _whole(workspaces=_list_of("Workspace")),
    "AttachWish": _object(
        ["target"],
        target=NOT_BLANK
        | {
            "description": "A machine, or an SSH destination: a host, ssh://…, or a whole `ssh …` command line."
        },
        name=_or_null(NAME),
        startup={
            "type": ["string", "null"],
            "maxLength": STARTUP_MAX,
            "description": "A command that its terminals run first: one line.",
        },
        force_ssh={"type": ["boolean", "null"]},
    ),
    "Prompt": _whole(text=TEXT, echo=BOOLEAN, kind=_choice(PromptKind)),
    "Question": _whole(id=ID, machine=NAME, title=TEXT, instructions=TEXT, prompts=_list_of("Prompt")),
    "Attached": _whole(machine=_one("Machine"), question=_or_null(_one("Question"))),
    "Answer": _object(
        ["answers"],
        answers={
            "type": ["array", "null"],
            "items": TEXT,
            "description": "One text for each prompt; null gives up.",
        },
    ),
    "SSHHostList": _whole(hosts={"type": "array", "items": _whole(name=TEXT, source=TEXT)}),
    "SSHSessionList": _whole(
        sessions={
            "type": "array",
            "items": _whole(terminal=TEXT, destination=TEXT, line=TEXT, machine=OPTIONAL_TEXT),
        }
    ),
    "Done": _whole(ok={"const": True}),
    "Command": _object(
        ["command"],
        command=NOT_BLANK,
        timeout_ms={
            "description": "A number above 0, at most 900000; for anything else, 30000.",
            "default": 30000,
        },
    ),
    "CommandResult": _object(
        ["exit_code", "stdout", "stderr"],
        exit_code={"type": "integer"},
        stdout=TEXT,
        stderr=TEXT,
        truncated={"const": True, "description": "Only where the output was longer than is kept."},
    ),
    # Without `type`: a body that is no object counts as none.
    "Attach": {
        "properties": {
            "require_daemon": {"description": "Counts if it is exactly true.", "default": False},
            "session_id": SESSION,
            "attachment_id": SESSION,
        }
    },
    "SSHEndpoint": _whole(
        transport={"const": "ssh"},
        host=OPTIONAL_TEXT,
        port=_or_null(PORT),
        unix_path=OPTIONAL_TEXT,
        username=TEXT,
        host_key=TEXT,
        public_key_fingerprint=OPTIONAL_TEXT,
        credential=_CREDENTIAL,
        expires_at_unix={"type": ["integer", "null"]},
        daemon=NULL,
    ),
    "WebSocketEndpoint": _whole(
        transport={"const": "websocket"},
        **_WAY,
        attachment_id=OPTIONAL_TEXT,
        daemon={"oneOf": [_whole(**_WAY), NULL]},
    ),
    "Endpoint": {"oneOf": [_one("SSHEndpoint"), _one("WebSocketEndpoint")]},
    "SnapshotWish": _object([], name={"type": ["string", "null"], "maxLength": SNAPSHOT_NAME_MAX}),
    "Snapshot": _whole(
        id=ID,
        owner=TEXT,
        provider=TEXT,
        vm_id=ID,
        status=_choice(SnapshotStatus),
        created_at=TIME,
        provider_snapshot_id=OPTIONAL_TEXT,
        name=OPTIONAL_TEXT,
    ),
    "SnapshotList": _whole(snapshots=_list_of("Snapshot")),
    "Restore": _object(
        ["snapshot_id"], snapshot_id=NOT_BLANK, name=_or_null(NAME), team_id=TEAM, billing_team_id=TEAM
    ),
    "Fork": _object([], name=_or_null(NAME), team_id=TEAM, billing_team_id=TEAM),
    "OpenPort": _object(["port"], port=PORT, path=OPTIONAL_TEXT, origin=OPTIONAL_TEXT, open_id=OPTIONAL_TEXT),
    "PortRequest": _object([], path=OPTIONAL_TEXT, origin=OPTIONAL_TEXT, open_id=OPTIONAL_TEXT),
    "PortLink": _whole(
        machine=NAME,
        machine_id=ID,
        port=PORT,
        url=TEXT,
        open_url=TEXT,
        shown=TEXT,
        expires_at=TIME,
        open_id=TEXT,
    ),
    "Operation": _whole(
        id=ID,
        kind=_choice(OperationKind),
        owner=TEXT,
        vm_id=ID,
        state=_choice(OperationState),
        step=TEXT,
        created_at=TIME,
        updated_at=TIME,
        error={"type": ["object", "null"]},
    ),
    "Event": _whole(id=COUNT, type=TEXT, at=TIME, owner=TEXT, machine=OPTIONAL_TEXT, data=FREE),
    "Revoked": _whole(ok={"const": True}, revoked=COUNT, cleanup_failures=COUNT),
    "FileResult": _whole(
        remote_path=TEXT, size=COUNT, sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"}
    ),
    "Terminal": _whole(name=TEXT, last_activity=TIME),
    "TerminalList": _list_of("Terminal"),
    # Of what Jupyter's own interface takes beside it, `cwd`, nothing is used.
    "TerminalWish": _object([], name={"type": ["string", "null"], "pattern": "^[A-Za-z0-9_]{1,32}$"}),
    "ProviderList": _whole(providers={"type": "array", "items": _whole(name=TEXT)}),
    "Health": _whole(ok={"const": True}, version=TEXT),
    "Document": _object(["openapi", "info", "paths"]),
    "Error": _whole(**_ERROR),
}
