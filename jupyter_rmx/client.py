"""The HTTP twin of `manager.py`: the same service, asked over the REST interface (kernels, widgets, the CLI).

`HttpRemoteMachines` implements `service.RemoteMachines`. It belongs to the event loop that first used it. httpx and
websockets are imported by the first request. This file and `client_exec.py` map their exceptions.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_rmx.client_exec import RemoteExec, refused, server_gone, start_exec
from jupyter_rmx.connection import Connection
from jupyter_rmx.errors import TransferError, TransportError
from jupyter_rmx.models import VM, ExecSpec, FileResult, PortLink, VMSpec, check_machine_name, check_port

if TYPE_CHECKING:
    import httpx

API = "rmx/api/v1/"
CONNECT_S = 10.0
ANSWER_S = 60.0
SLOW_ANSWER_S = 900.0
"""A cloud may take minutes to make or end a machine; the wait can be interrupted."""


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


class HttpRemoteMachines:
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

    async def _ask(self, method: str, path: str, *, slow: bool = False, **request: Any) -> dict[str, Any]:
        """One request; the answer's JSON object, or the error that it carries."""
        import httpx

        if slow:
            request["timeout"] = httpx.Timeout(SLOW_ANSWER_S, connect=CONNECT_S)
        try:
            response = await self._client().request(method, path, **request)
        except httpx.TimeoutException as error:
            raise TransportError(
                "Jupyter's server took too long to answer.",
                hint="Try again; %vm ls shows what became of it.",
                code="ssh_server_slow",
            ) from error
        except httpx.HTTPError as error:
            raise server_gone(error) from error
        return _answer(response)

    # -- machines -----------------------------------------------------------------------------------------------

    async def create(self, spec: VMSpec, *, key: str) -> VM:
        """See `service.RemoteMachines.create`."""
        if spec.name is not None:
            check_machine_name(spec.name)
        wishes = {"name": spec.name, "provider": spec.provider, "image": spec.image}
        body = {field: value for field, value in wishes.items() if value is not None}
        return VM.from_wire(
            await self._ask("POST", "vms", json=body, headers={"Idempotency-Key": key}, slow=True)
        )

    async def get(self, machine: str) -> VM:
        """See `service.RemoteMachines.get`."""
        return VM.from_wire(await self._ask("GET", f"vms/{_machine(machine)}"))

    async def destroy(self, machine: str) -> None:
        """See `service.RemoteMachines.destroy`."""
        await self._ask("DELETE", f"vms/{_machine(machine)}", slow=True)

    async def list(self) -> list[VM]:
        """See `service.RemoteMachines.list`."""
        return [VM.from_wire(wire) for wire in (await self._ask("GET", "vms"))["vms"]]

    async def healthz(self) -> dict[str, Any]:
        """How the service is; also a sign of life from us to a server that ends itself when no one uses it."""
        return await self._ask("GET", "healthz")

    # -- commands, ports and files ------------------------------------------------------------------------------

    async def exec(self, machine: str, spec: ExecSpec) -> RemoteExec:
        """See `service.RemoteMachines.exec`."""
        url = f"{self.connection.url}{API}machines/{_machine(machine)}/exec"
        return await start_exec(url, self._headers(), spec, machine=machine, tls=self._tls)

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
    if machine.startswith("vm_") and machine[3:].isalnum() and machine.isascii():
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


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        wire = response.json()
    except ValueError:
        wire = None
    if response.is_error or not isinstance(wire, dict):
        raise refused(wire, response.status_code)
    return wire
