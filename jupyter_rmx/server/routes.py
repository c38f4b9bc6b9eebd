"""The one table of REST routes: Tornado's handlers and the OpenAPI document are both made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jupyter_rmx.server.events import EventsHandler
from jupyter_rmx.server.execution import ExecHandler
from jupyter_rmx.server.files import FileHandler
from jupyter_rmx.server.machines import (
    MachineHandler,
    MachinesHandler,
    OperationHandler,
    RevokeLeasesHandler,
)
from jupyter_rmx.server.meta import HealthHandler, NotFoundHandler, OpenAPIHandler, ProvidersHandler
from jupyter_rmx.server.openapi import Operation, openapi_document
from jupyter_rmx.server.ports import OpenHandler, TicketHandler
from jupyter_rmx.server.ssh_sessions import SSHSessionsHandler
from jupyter_rmx.server.terminals import TerminalHandler, TerminalsHandler, TerminalSocket
from jupyter_rmx.server.uses import (
    AttachEndpointHandler,
    BufferedExecHandler,
    ForkHandler,
    OpenPortHandler,
    PauseHandler,
    ResumeHandler,
    SnapshotHandler,
    SSHEndpointHandler,
)
from jupyter_rmx.server.vms import RestoreHandler, SnapshotsHandler, VMHandler, VMsHandler
from jupyter_rmx.server.workspaces import (
    QuestionHandler,
    SSHHostsHandler,
    WorkspaceHandler,
    WorkspacesHandler,
)

PREFIX = "rmx/api/v1"
_GROUP = {"path": r"(.+)"}
_PART = r"([^/]+)"
KEYS = ("Idempotency-Key", "X-RMX-Idempotency-Key")
TEAMS = ("team_id", "billing_team_id")
_TEAM_HEADER = ("X-RMX-Team-Id",)
_PAGE = ("limit", "cursor")
# What the use of a machine may meet: none of that name, the limit when it is resumed, another operation, a provider.
_USE = (402, 404, 409, 422, 501, 502, 504)
_MAKE = (400, 402, 409, 422, 501, 502, 504)


@dataclass(frozen=True)
class Route:
    """A path below the prefix, with `{parameters}`, its handler, and what its methods mean."""

    path: str
    handler: type
    operations: tuple[Operation, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def pattern(self) -> str:
        """The path as a regular expression."""
        parts = [
            _GROUP.get(part[1:-1], _PART) if part.startswith("{") else part.replace(".", r"\.")
            for part in self.path.split("/")
        ]
        return "/".join(parts)


_ONE_VM = (
    Operation("get", "getVM", "One VM, by id or name.", "VM", errors=(404, 502)),
    Operation(
        "patch",
        "renameVM",
        "Give a VM another name; its id stays.",
        "VM",
        body="Rename",
        body_required=True,
        errors=(400, 404, 409, 502),
    ),
    Operation("delete", "destroyVM", "End a VM and remove all of it.", "Done", errors=(404, 409, 501, 502)),
)

ROUTES = (
    Route(
        "vms",
        VMsHandler,
        (
            Operation(
                "get",
                "listVMs",
                "List the VMs, newest first, page by page.",
                "VMList",
                query=_PAGE,
                errors=(400, 502),
            ),
            Operation(
                "post",
                "createVM",
                "Create a VM, or answer with the one that the key, or the same name and parameters, made.",
                "VM",
                body="VMSpec",
                query=TEAMS,
                headers=KEYS + _TEAM_HEADER,
                errors=_MAKE,
            ),
        ),
    ),
    Route(
        "vms/restore",
        RestoreHandler,
        (
            Operation(
                "post",
                "restoreVM",
                "Create a VM that starts as a snapshot.",
                "VM",
                body="Restore",
                body_required=True,
                query=TEAMS,
                headers=KEYS + _TEAM_HEADER,
                errors=(404, *_MAKE),
            ),
            *(
                replace(one, name=f"{one.name}NamedRestore", summary=f"{one.summary} (A VM named `restore`.)")
                for one in _ONE_VM
            ),
        ),
    ),
    Route("vms/{id}", VMHandler, _ONE_VM),
    Route(
        "vms/{id}/exec",
        BufferedExecHandler,
        (
            Operation(
                "post",
                "execVM",
                "Run a command to its end. A paused VM is resumed first.",
                "CommandResult",
                body="Command",
                body_required=True,
                errors=(400, *_USE),
            ),
        ),
    ),
    Route(
        "vms/{id}/attach-endpoint",
        AttachEndpointHandler,
        (
            Operation(
                "post",
                "attachEndpoint",
                "How to reach a VM, fresh. A paused one is resumed first.",
                "Endpoint",
                body="Attach",
                errors=(400, *_USE),
                secret=True,
            ),
        ),
    ),
    Route(
        "vms/{id}/ssh-endpoint",
        SSHEndpointHandler,
        (
            Operation(
                "post",
                "sshEndpoint",
                "How to reach a VM by SSH, with an identity of its own; older ones are ended.",
                "SSHEndpoint",
                errors=_USE,
                secret=True,
            ),
        ),
    ),
    Route(
        "vms/{id}/pause",
        PauseHandler,
        (Operation("post", "pauseVM", "Freeze a VM; one that is paused stays so.", "VM", errors=_USE),),
    ),
    Route(
        "vms/{id}/resume",
        ResumeHandler,
        (Operation("post", "resumeVM", "Let a VM go on; one that runs does so.", "VM", errors=_USE),),
    ),
    Route(
        "vms/{id}/snapshot",
        SnapshotHandler,
        (
            Operation(
                "post",
                "snapshotVM",
                "Keep a copy of a VM, running or paused.",
                "Snapshot",
                body="SnapshotWish",
                errors=(400, *_USE),
            ),
        ),
    ),
    Route(
        "vms/{id}/fork",
        ForkHandler,
        (
            Operation(
                "post",
                "forkVM",
                "Create a VM that goes on as a copy of this one.",
                "VM",
                body="Fork",
                query=TEAMS,
                headers=KEYS + _TEAM_HEADER,
                errors=(404, *_MAKE),
            ),
        ),
    ),
    Route(
        "vms/{id}/open-port",
        OpenPortHandler,
        (
            Operation(
                "post",
                "openPort",
                "A single-use ticket for a loopback port of the VM.",
                "PortLink",
                body="OpenPort",
                body_required=True,
                errors=(400, *_USE),
                secret=True,
            ),
        ),
    ),
    Route(
        "snapshots",
        SnapshotsHandler,
        (Operation("get", "listSnapshots", "List the snapshots, newest first.", "SnapshotList"),),
    ),
    Route(
        "operations/{operation}",
        OperationHandler,
        (Operation("get", "getOperation", "One operation.", "Operation", errors=(404,)),),
    ),
    Route(
        "events",
        EventsHandler,
        (
            Operation(
                "get",
                "followEvents",
                "What happens, as server-sent events without end. `reset`: some may have been missed, load anew.",
                "Event",
                query=("last_event_id",),
                headers=("Last-Event-ID",),
                errors=(400,),
                secret=True,
                content="text/event-stream",
            ),
        ),
    ),
    Route(
        "leases/revoke",
        RevokeLeasesHandler,
        (Operation("post", "revokeLeases", "End all endpoints that were given out.", "Revoked"),),
    ),
    Route(
        "machines",
        MachinesHandler,
        (
            Operation(
                "get",
                "listMachines",
                "List the machines, newest first, page by page.",
                "MachineList",
                query=_PAGE,
                errors=(400, 502),
            ),
        ),
    ),
    Route(
        "machines/{name}",
        MachineHandler,
        (
            Operation("get", "getMachine", "One machine, by name or id.", "Machine", errors=(404, 502)),
            Operation(
                "patch",
                "renameMachine",
                "Give a machine another name; its id stays.",
                "Machine",
                body="Rename",
                body_required=True,
                errors=(400, 404, 409, 502),
            ),
        ),
    ),
    Route(
        "workspaces",
        WorkspacesHandler,
        (
            Operation(
                "get",
                "listWorkspaces",
                "List the workspaces, newest first, with the states of their connections.",
                "WorkspaceList",
            ),
            Operation(
                "post",
                "attach",
                "Connect to a machine; ready, or with a question of its server, which waits for two minutes.",
                "Attached",
                body="AttachWish",
                body_required=True,
                errors=(400, *_USE),
                secret=True,
            ),
        ),
    ),
    Route(
        "workspaces/{name}",
        WorkspaceHandler,
        (
            Operation(
                "delete",
                "detach",
                "Let go of the connection to a machine; a workspace is forgotten, too. Its host stays as it is.",
                "Done",
                errors=(404,),
            ),
        ),
    ),
    Route(
        "questions/{question}",
        QuestionHandler,
        (
            Operation(
                "post",
                "answerQuestion",
                "Answer what a server asked; the ready machine, or the next question.",
                "Attached",
                body="Answer",
                body_required=True,
                errors=(400, 404, 409, 502, 504),
                secret=True,
            ),
        ),
    ),
    Route(
        "ssh-hosts",
        SSHHostsHandler,
        (
            Operation(
                "get",
                "listSSHHosts",
                "Hosts of the user's ssh_config that could be attached.",
                "SSHHostList",
            ),
        ),
    ),
    Route(
        "ssh-sessions",
        SSHSessionsHandler,
        (
            Operation(
                "get",
                "listSSHSessions",
                "SSH sessions in Jupyter's own terminals, which could be attached as machines.",
                "SSHSessionList",
            ),
        ),
    ),
    Route(
        "machines/{name}/exec",
        ExecHandler,
        (
            Operation(
                "get",
                "exec",
                "WebSocket: one command, streamed (messages as in jupyter_rmx/server/execution.py).",
                None,
                errors=(400, 426),
            ),
        ),
    ),
    Route(
        "machines/{name}/ports/{port}/ticket",
        TicketHandler,
        (
            Operation(
                "post",
                "mintTicket",
                "A single-use ticket for a loopback port of the machine.",
                "PortLink",
                body="PortRequest",
                errors=(400, *_USE),
                secret=True,
            ),
        ),
    ),
    Route(
        "machines/{name}/api/terminals",
        TerminalsHandler,
        (
            Operation(
                "get", "listTerminals", "List the terminals of a machine.", "TerminalList", errors=(404, 502)
            ),
            Operation(
                "post",
                "openTerminal",
                "Open a terminal, or answer with the one of that name. A paused machine is resumed first.",
                "Terminal",
                body="TerminalWish",
                errors=(400, *_USE),
            ),
        ),
    ),
    Route(
        "machines/{name}/api/terminals/{terminal}",
        TerminalHandler,
        (
            Operation("get", "getTerminal", "One terminal of a machine.", "Terminal", errors=(404, 502)),
            Operation("delete", "closeTerminal", "Hang up a terminal.", None, errors=(404, 502), empty=True),
        ),
    ),
    Route(
        "machines/{name}/terminals/websocket/{terminal}",
        TerminalSocket,
        (
            Operation(
                "get",
                "watchTerminal",
                "WebSocket: a terminal, in terminado's messages (see jupyter_rmx/server/terminals.py).",
                None,
                errors=(400, 404, 426, 502),
            ),
        ),
    ),
    Route(
        "machines/{name}/files/{path}",
        FileHandler,
        (
            Operation(
                "put",
                "writeFile",
                "Write a regular file, whole or not at all.",
                "FileResult",
                body="bytes",
                query=("root", "mode", "mtime"),
                errors=(400, 411, 413, *_USE),
            ),
        ),
    ),
    Route(
        "providers",
        ProvidersHandler,
        (Operation("get", "listProviders", "Installed providers.", "ProviderList"),),
    ),
    Route("healthz", HealthHandler, (Operation("get", "health", "Up, with the store open.", "Health"),)),
    Route("openapi.json", OpenAPIHandler, (Operation("get", "describe", "This document.", "Document"),)),
)


def handlers(base_url: str, *, providers: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """Tornado handlers below Jupyter's base URL, which the caller puts in front.

    `base_url` and `providers` (those that new machines may come from) are for the document.
    """
    described = [(route.path, route.operations) for route in ROUTES]
    document = openapi_document(described, f"{base_url}{PREFIX}", providers=providers)
    table: list[tuple[Any, ...]] = []
    for route in ROUTES:
        settings = {"document": document} if route.handler is OpenAPIHandler else route.settings
        table.append((f"{PREFIX}/{route.pattern()}", route.handler, settings))
    table.append((r"rmx/open/([^/]+)/([^/]+)/?(.*)", OpenHandler, {}))
    table.append((f"{PREFIX}(?:/.*)?", NotFoundHandler, {}))
    return table
