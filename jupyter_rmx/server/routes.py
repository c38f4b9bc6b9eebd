"""The one table of REST routes: Tornado's handlers and the OpenAPI document are both made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jupyter_rmx.server.execution import ExecHandler
from jupyter_rmx.server.files import FileHandler
from jupyter_rmx.server.machines import MachineHandler, MachinesHandler
from jupyter_rmx.server.meta import HealthHandler, NotFoundHandler, OpenAPIHandler, ProvidersHandler
from jupyter_rmx.server.openapi import Operation, openapi_document
from jupyter_rmx.server.ports import OpenHandler, TicketHandler
from jupyter_rmx.server.vms import VMHandler, VMsHandler

PREFIX = "rmx/api/v1"
_GROUP = {"id": r"([^/]+)", "name": r"([^/]+)", "port": r"([^/]+)", "path": r"(.+)"}


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
            _GROUP[part[1:-1]] if part.startswith("{") else part.replace(".", r"\.")
            for part in self.path.split("/")
        ]
        return "/".join(parts)


ROUTES = (
    Route(
        "vms",
        VMsHandler,
        (
            Operation("get", "listVMs", "List the VMs, newest first.", answer="VMList"),
            Operation(
                "post",
                "createVM",
                "Create a VM, or answer with the one that the key, or the same name and parameters, made.",
                answer="VM",
                body="VMSpec",
                headers=("Idempotency-Key", "X-RMX-Idempotency-Key"),
                errors=(400, 409, 422, 502, 503),
            ),
        ),
    ),
    Route(
        "vms/{id}",
        VMHandler,
        (
            Operation("get", "getVM", "One VM, by id or name.", answer="VM", errors=(404,)),
            Operation(
                "delete", "destroyVM", "End a VM and remove all of it.", answer="Done", errors=(404, 409, 502)
            ),
        ),
    ),
    Route(
        "machines",
        MachinesHandler,
        (Operation("get", "listMachines", "List the machines.", answer="MachineList"),),
    ),
    Route(
        "machines/{name}",
        MachineHandler,
        (Operation("get", "getMachine", "One machine.", answer="VM", errors=(404,)),),
    ),
    Route(
        "machines/{name}/exec",
        ExecHandler,
        (
            Operation(
                "get",
                "exec",
                "WebSocket: one command, streamed (messages as in jupyter_rmx/server/execution.py).",
                answer=None,
                errors=(403,),
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
                answer="PortLink",
                body="PortRequest",
                errors=(400, 404, 409, 422),
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
                "Write a regular file, whole or not at all. With `root=1` the path starts at `/`, else at the home.",
                answer="FileResult",
                body="bytes",
                query=("root", "mode", "mtime"),
                errors=(400, 404, 409, 411, 413, 422, 502),
            ),
        ),
    ),
    Route(
        "providers",
        ProvidersHandler,
        (Operation("get", "listProviders", "Installed providers.", answer="ProviderList"),),
    ),
    Route(
        "healthz",
        HealthHandler,
        (Operation("get", "health", "Up, with the store open.", answer="Health", errors=(503,)),),
    ),
)


def handlers(base_url: str) -> list[tuple[Any, ...]]:
    """Tornado handlers below Jupyter's base URL, which the caller puts in front; `base_url` is for the document."""
    document = openapi_document([(route.path, route.operations) for route in ROUTES], f"{base_url}{PREFIX}")
    table: list[tuple[Any, ...]] = [
        (f"{PREFIX}/{route.pattern()}", route.handler, route.settings) for route in ROUTES
    ]
    table.append((f"{PREFIX}/openapi\\.json", OpenAPIHandler, {"document": document}))
    table.append((r"rmx/open/([^/]+)/([^/]+)/?(.*)", OpenHandler, {}))
    table.append((f"{PREFIX}(?:/.*)?", NotFoundHandler, {}))
    return table
