"""The HTTP twin of `manager.py`: the same service, asked over the REST interface (kernels, widgets, the CLI).

`HttpRemoteMachines` implements `service.RemoteMachines`. It belongs to the event loop that first used it. httpx and
websockets are imported by the first request. This file and `client_exec.py` map their exceptions.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_rmx.client_events import follow_events
from jupyter_rmx.client_exec import RemoteExec, refused, server_gone, start_exec
from jupyter_rmx.client_workspaces import WorkspaceCalls
from jupyter_rmx.connection import Connection
from jupyter_rmx.errors import TransferError, TransportError
from jupyter_rmx.models import (
    VM,
    CommandResult,
    Endpoint,
    Event,
    ExecSpec,
    FileResult,
    Machine,
    Operation,
    PortLink,
    Snapshot,
    SSHEndpoint,
    VMSpec,
    check_machine_name,
    check_port,
    endpoint_from_wire,
    machine_from_wire,
)
from jupyter_rmx.service import PAGE_LIMIT, PAGE_MAX, MachinePage

if TYPE_CHECKING:
    import httpx

API = "rmx/api/v1/"
CONNECT_S = 10.0
ANSWER_S = 60.0
SLOW_ANSWER_S = 900.0
"""A cloud may take minutes to make or end a machine; the wait can be interrupted."""
IN_PROGRESS_S = 16 * 60.0
"""How long a wish waits for a machine that somebody is making for it already."""
EXEC_GRACE_S = 60.0
IN_PROGRESS = "vm_create_in_progress"


def tls_context(cafile: str) -> ssl.SSLContext:
    """Trust exactly the certificates in `cafile`, the Jupyter server's own.

    The host name is not compared: the file names the one server that is meant, which listens here under any name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cafile)
    except (OSError, ssl.SSLError) as error:
        raise TransportError(
            "The certificate of Jupyter's server cannot be read.",
            hint=f"Check the file {cafile}.",
            code="ssh_bad_certificate",
            retryable=False,
        ) from error
    return context


def _file_path(remote_path: str) -> tuple[str, dict[str, str]]:
    """The path below `files/`, and the query that says where it starts."""
    at_root = remote_path.startswith("/")
    path = quote(remote_path.lstrip("/") if at_root else remote_path, safe="/")
    return path, {"root": "1"} if at_root else {}


class HttpRemoteMachines(WorkspaceCalls):
    """The service behind one connection file."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._tls = tls_context(connection.cafile) if connection.cafile else None
        self._http: httpx.AsyncClient | None = None

    # -- requests -----------------------------------------------------------------------------------------------

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            self._http = httpx.AsyncClient(
                base_url=self.connection.url + API,
                headers=self._headers(),
                verify=self._tls or True,
                trust_env=False,  # a proxy of the environment is not the way to one's own computer
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            )
        return self._http

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"rmx {self.connection.key}"}

    async def _ask(
        self, method: str, path: str, *, slow: bool | float = False, **request: Any
    ) -> dict[str, Any]:
        """One request; the answer's JSON object, or the error that it carries."""
        return _answer(await self._send(method, path, slow=slow, **request))

    async def _make(self, path: str, body: dict[str, str | None], key: str | None) -> VM:
        """A wish for a machine, repeated for as long as somebody else is making that very machine."""
        json = {field: value for field, value in body.items() if value is not None}
        headers = {"Idempotency-Key": key} if key is not None else {}
        deadline = time.monotonic() + IN_PROGRESS_S
        while True:
            response = await self._send("POST", path, json=json, headers=headers, slow=True)
            wait_s = _wait_of(response)
            if wait_s is None or time.monotonic() + wait_s > deadline:
                return VM.from_wire(_answer(response))
            await asyncio.sleep(wait_s)

    async def _send(
        self, method: str, path: str, *, slow: bool | float = False, **request: Any
    ) -> httpx.Response:
        import httpx

        if slow:
            seconds = SLOW_ANSWER_S if slow is True else slow
            request["timeout"] = httpx.Timeout(seconds, connect=CONNECT_S)
        try:
            return await self._client().request(method, path, **request)
        except httpx.TimeoutException as error:
            raise TransportError(
                "Jupyter's server took too long to answer.",
                hint="Try again; %vm ls shows what became of it.",
                code="ssh_server_slow",
            ) from error
        except httpx.HTTPError as error:
            raise server_gone(error) from error

    # -- machines -----------------------------------------------------------------------------------------------

    async def create(self, spec: VMSpec, *, key: str | None = None) -> VM:
        """See `service.RemoteMachines.create`; waits where the machine is being made for another request."""
        if spec.name is not None:
            check_machine_name(spec.name)
        return await self._make(
            "vms", {"name": spec.name, "provider": spec.provider, "image": spec.image}, key
        )

    async def restore(self, snapshot_id: str, *, name: str | None = None, key: str | None = None) -> VM:
        """See `service.RemoteMachines.restore`; waits as `create` does."""
        return await self._make("vms/restore", {"snapshot_id": snapshot_id, "name": name}, key)

    async def fork(self, machine: str, *, name: str | None = None, key: str | None = None) -> VM:
        """See `service.RemoteMachines.fork`; waits as `create` does."""
        return await self._make(f"vms/{_machine(machine)}/fork", {"name": name}, key)

    async def get(self, machine: str) -> Machine:
        """See `service.RemoteMachines.get`."""
        return machine_from_wire(await self._ask("GET", f"machines/{_machine(machine)}"))

    async def destroy(self, machine: str) -> None:
        """See `service.RemoteMachines.destroy`."""
        await self._ask("DELETE", f"vms/{_machine(machine)}", slow=True)

    async def list(self) -> list[Machine]:
        """See `service.RemoteMachines.list`."""
        machines: list[Machine] = []
        page = await self.page(limit=PAGE_MAX)
        machines += page.machines
        while page.next is not None:
            page = await self.page(limit=PAGE_MAX, cursor=page.next)
            machines += page.machines
        return machines

    async def page(self, *, limit: int = PAGE_LIMIT, cursor: str | None = None) -> MachinePage:
        """See `service.RemoteMachines.page`."""
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor is not None else {})
        wire = await self._ask("GET", "machines", params=query)
        return MachinePage([machine_from_wire(one) for one in wire["machines"]], wire.get("next"))

    async def rename(self, machine: str, name: str) -> Machine:
        """See `service.RemoteMachines.rename`."""
        body = {"name": check_machine_name(name)}
        way = f"machines/{_machine(machine)}"
        return machine_from_wire(await self._ask("PATCH", way, json=body, slow=True))

    async def pause(self, machine: str) -> VM:
        """See `service.RemoteMachines.pause`."""
        return VM.from_wire(await self._ask("POST", f"vms/{_machine(machine)}/pause", slow=True))

    async def resume(self, machine: str) -> VM:
        """See `service.RemoteMachines.resume`."""
        return VM.from_wire(await self._ask("POST", f"vms/{_machine(machine)}/resume", slow=True))

    async def snapshot(self, machine: str, name: str | None = None) -> Snapshot:
        """See `service.RemoteMachines.snapshot`."""
        way = f"vms/{_machine(machine)}/snapshot"
        return Snapshot.from_wire(await self._ask("POST", way, json={"name": name}, slow=True))

    async def snapshots(self) -> Sequence[Snapshot]:
        """See `service.RemoteMachines.snapshots`."""
        return [Snapshot.from_wire(wire) for wire in (await self._ask("GET", "snapshots"))["snapshots"]]

    async def attach_endpoint(
        self,
        machine: str,
        *,
        require_daemon: bool = False,
        session_id: str | None = None,
        attachment_id: str | None = None,
    ) -> Endpoint:
        """See `service.RemoteMachines.attach_endpoint`."""
        body = {
            "require_daemon": require_daemon,
            "session_id": session_id,
            "attachment_id": attachment_id,
        }
        way = f"vms/{_machine(machine)}/attach-endpoint"
        return endpoint_from_wire(await self._ask("POST", way, json=body, slow=True))

    async def ssh_endpoint(self, machine: str) -> SSHEndpoint:
        """See `service.RemoteMachines.ssh_endpoint`."""
        wire = await self._ask("POST", f"vms/{_machine(machine)}/ssh-endpoint", slow=True)
        endpoint = endpoint_from_wire(wire)
        assert isinstance(endpoint, SSHEndpoint)
        return endpoint

    async def revoke_leases(self) -> tuple[int, int]:
        """See `service.RemoteMachines.revoke_leases`."""
        wire = await self._ask("POST", "leases/revoke", slow=True)
        return int(wire["revoked"]), int(wire["cleanup_failures"])

    async def operation(self, operation_id: str) -> Operation:
        """See `service.RemoteMachines.operation`."""
        return Operation.from_wire(await self._ask("GET", f"operations/{quote(operation_id, safe='')}"))

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """See `service.RemoteMachines.events`; a link that breaks is made again, and nothing is lost or told twice."""
        async for event in follow_events(self._client, "events", after):
            yield event

    async def healthz(self) -> dict[str, Any]:
        """How the service is; also a sign of life from us to a server that ends itself when no one uses it."""
        return await self._ask("GET", "healthz")

    # -- commands, ports and files ------------------------------------------------------------------------------

    async def exec(self, machine: str, spec: ExecSpec) -> RemoteExec:
        """See `service.RemoteMachines.exec`."""
        url = f"{self.connection.url}{API}machines/{_machine(machine)}/exec"
        return await start_exec(url, self._headers(), spec, machine=machine, tls=self._tls)

    async def exec_buffered(self, machine: str, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        """See `service.RemoteMachines.exec_buffered`."""
        wire = await self._ask(
            "POST",
            f"vms/{_machine(machine)}/exec",
            json={"command": command, "timeout_ms": timeout_s * 1000},
            slow=SLOW_ANSWER_S + timeout_s + EXEC_GRACE_S,
        )
        return CommandResult(
            int(wire["exit_code"]), wire["stdout"], wire["stderr"], bool(wire.get("truncated"))
        )

    async def open_port(
        self, machine: str, port: int, *, path: str = "/", origin: str | None = None
    ) -> PortLink:
        """See `service.RemoteMachines.open_port`."""
        body = {"path": path} if origin is None else {"path": path, "origin": origin}
        way = f"machines/{_machine(machine)}/ports/{check_port(port)}/ticket"
        return PortLink.from_wire(await self._ask("POST", way, json=body))

    async def upload(
        self,
        machine: str,
        remote_path: str,
        chunks: AsyncIterable[bytes],
        *,
        size: int,
        mode: int | None = None,
        mtime: float | None = None,
    ) -> FileResult:
        """See `service.RemoteMachines.upload`."""
        path, query = _file_path(remote_path)
        if mode is not None:
            query["mode"] = f"{mode:o}"
        if mtime is not None:
            query["mtime"] = repr(float(mtime))
        wire = await self._ask(
            "PUT",
            f"machines/{_machine(machine)}/files/{path}",
            params=query,
            content=_exactly(chunks, size),
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
            slow=True,
        )
        return FileResult(str(wire["remote_path"]), int(wire["size"]), str(wire["sha256"]))

    async def aclose(self) -> None:
        """Let go of all connections; what runs on a machine is ended by its own session's `aclose`."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None


def _machine(machine: str) -> str:
    """A machine's name or id as one part of a path; UsageError `usage_bad_name` for what is neither."""
    if machine.startswith(("vm_", "ws_")) and machine[3:].isalnum() and machine.isascii():
        return machine
    return check_machine_name(machine)


async def _exactly(chunks: AsyncIterable[bytes], size: int) -> AsyncIterable[bytes]:
    """`chunks`, with an error of ours where they are not `size` bytes: the file changed while it was read.

    One chunk is held back until the next one, or the end, is known: the service must not see a file as whole that
    has become longer.
    """
    total, held = 0, b""
    async for chunk in chunks:
        total += len(chunk)
        if total > size:
            break
        if held:
            yield held
        held = chunk
    if total != size:
        raise TransferError(
            "The file changed while it was sent.",
            hint="Send it again once nothing writes to it.",
            code="transfer_size_mismatch",
            retryable=True,
        )
    if held:
        yield held


def _wait_of(response: httpx.Response) -> float | None:
    """Seconds after which the same wish is to be sent again; None if this answer is the last one."""
    if response.status_code != 409 or f'"{IN_PROGRESS}"' not in response.text:
        return None
    try:
        return min(60.0, max(0.1, float(response.headers.get("Retry-After", "1"))))
    except ValueError:
        return 1.0


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        wire = response.json()
    except ValueError:
        wire = None
    if response.is_error or not isinstance(wire, dict):
        raise refused(wire, response.status_code)
    return wire
