"""The service in the process that owns the connections: what REST, and so every face, ends in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from jupyter_rmx.clock import Clock
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.reconcile import Reconciler
from jupyter_rmx.errors import LoopbackError, ProviderError, RmxError, TransferError, UsageError
from jupyter_rmx.loopback.alias import alias_url, check_front_origin, open_url
from jupyter_rmx.loopback.gate import AliasTarget
from jupyter_rmx.loopback.headers import local_path
from jupyter_rmx.loopback.tickets import TICKET_S, Tickets
from jupyter_rmx.models import (
    VM,
    Endpoint,
    ExecEvent,
    ExecSpec,
    FileResult,
    PortLink,
    SignalName,
    TcpTarget,
    VMSpec,
    check_port,
)
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.store import Store
from jupyter_rmx.transports.base import ByteStream, Process, Transport
from jupyter_rmx.transports.pool import TransportPool

log = logging.getLogger(__name__)

HEARTBEAT_S = 60.0
LABEL_MEMORY_S = 2.0
Connect = Callable[[Endpoint, str], Awaitable[Transport]]


@dataclass(frozen=True)
class Parts:
    """What the manager is made of; `bootstrap.py` builds them."""

    settings: Settings
    clock: Clock
    store: Store
    registry: ProviderRegistry
    control: MachineControl
    pool: TransportPool
    tickets: Tickets
    connect: Connect


class MachineManager:
    """Implements `service.RemoteMachines`, and the alias directory of the proxy.

    `on_destroyed` is awaited with the id of a machine that is being destroyed, so that its open streams are ended.
    """

    def __init__(self, parts: Parts, *, origin: str) -> None:
        self._parts = parts
        self._origin = origin
        self._starting: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._labels: dict[str, tuple[float, VM]] = {}
        self.on_destroyed: Callable[[str], Awaitable[None]] = _ignore

    # -- life of the service ------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Open the store and mend what a killed process left behind; once, shared by all that wait.

        A failure is raised to all that wait and tried again by the next call.
        """
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        starting = self._starting
        try:
            await asyncio.shield(starting)
        except BaseException:
            if starting.done() and self._starting is starting:
                self._starting = None
            raise

    async def _start(self) -> None:
        parts = self._parts
        await parts.store.open()
        reconciler = Reconciler(parts.control)
        await reconciler.first_round()
        await self._beat()
        self._background = [
            asyncio.ensure_future(self._heart()),
            asyncio.ensure_future(reconciler.run()),
        ]

    async def _heart(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._beat()

    async def _beat(self) -> None:
        for provider in self._parts.registry.built():
            try:
                await provider.heartbeat()
            except RmxError as error:
                log.warning("Heartbeat of provider %s failed: %s", provider.name, error)

    async def aclose(self) -> None:
        """Let go of all connections; machines go on."""
        tasks = [*self._background, *([self._starting] if self._starting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._parts.control.context.engine.aclose()
        await self._parts.pool.aclose()
        await self._parts.registry.aclose()
        await self._parts.store.aclose()

    # -- machines -----------------------------------------------------------------------------------------------

    async def create(self, spec: VMSpec, *, key: str | None = None) -> VM:
        """See `service.RemoteMachines.create`."""
        await self.ready()
        vm = await self._parts.control.create(spec, key=key)
        # Whoever makes a machine uses it next: connect while the answer travels.
        task = asyncio.ensure_future(self._warm(vm))
        _KEPT.add(task)
        task.add_done_callback(_KEPT.discard)
        return vm

    async def _warm(self, vm: VM) -> None:
        try:
            await self._transport(vm)
        except RmxError as error:
            log.debug("Machine %s is not reachable yet: %s", vm.name, error)

    async def get(self, machine: str) -> VM:
        """See `service.RemoteMachines.get`."""
        await self.ready()
        return await self._parts.control.get(machine)

    async def list(self) -> list[VM]:
        """See `service.RemoteMachines.list`."""
        await self.ready()
        return await self._parts.control.page()

    async def destroy(self, machine: str) -> None:
        """See `service.RemoteMachines.destroy`."""
        await self.ready()
        vm = await self._parts.control.get(machine)
        self._parts.tickets.revoke_machine(vm.id)
        self._labels.clear()
        await self.on_destroyed(vm.id)
        await self._parts.pool.drop(vm.id)
        await self._parts.control.destroy(vm.id)
        # A command that was started meanwhile may have connected again.
        await self._parts.pool.drop(vm.id)

    def providers(self) -> Sequence[str]:
        """Names of the installed providers."""
        return self._parts.registry.names()

    # -- commands and files -------------------------------------------------------------------------------------

    async def _transport(self, vm: VM) -> Transport:
        async def connect() -> Transport:
            provider = self._parts.control.provider_of(vm)
            endpoint = await provider.attach_endpoint(vm.provider_vm_id or "")
            return await self._parts.connect(endpoint, vm.id)

        if vm.status != "running":
            raise _not_running(vm)
        return await self._parts.pool.get(vm.id, connect)

    async def exec(self, machine: str, spec: ExecSpec) -> ManagedExec:
        """See `service.RemoteMachines.exec`."""
        transport = await self._transport(await self.get(machine))
        return ManagedExec(await transport.run(spec))

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
        limit = self._parts.settings.upload_max_bytes
        if size > limit:
            raise TransferError(
                f"The file is too large: {size} bytes, and the limit is {limit}.",
                hint="Raise RmxExtension.upload_max_bytes, or split the file.",
                code="transfer_too_large",
                status=413,
            )
        transport = await self._transport(await self.get(machine))
        return await transport.files().put(remote_path, chunks, size=size, mode=mode, mtime=mtime)

    # -- ports --------------------------------------------------------------------------------------------------

    async def open_port(
        self,
        machine: str,
        port: int,
        *,
        path: str = "/",
        origin: str | None = None,
        open_id: str | None = None,
    ) -> PortLink:
        """See `service.RemoteMachines.open_port`; with `open_id` only the first asker gets a ticket."""
        check_port(port)
        vm = await self.get(machine)
        if vm.status != "running":
            raise _not_running(vm)
        parts = self._parts
        if open_id is not None and not parts.tickets.claim(open_id):
            raise LoopbackError(
                "This link opened its tab before.",
                hint="Use its buttons to open the tab again.",
                code="loopback_already_opened",
                status=409,
            )
        origin = check_front_origin(origin or self._origin, parts.settings.alias_domain)
        path = _check_path(path)
        ticket = parts.tickets.mint(vm.owner, vm.id, vm.label, port, path)
        return PortLink(
            machine=vm.name,
            machine_id=vm.id,
            port=port,
            url=alias_url(vm.label, port, path, origin=origin, alias_domain=parts.settings.alias_domain),
            open_url=open_url(
                vm.label, port, path, ticket, origin=origin, alias_domain=parts.settings.alias_domain
            ),
            shown=f"http://localhost:{port}{path}",
            expires_at=parts.clock.now() + timedelta(seconds=TICKET_S),
            open_id=parts.tickets.new_open(vm.id, port),
        )

    async def lookup(self, label: str) -> AliasTarget | None:
        """The machine that an alias label means, for the proxy; remembered for `LABEL_MEMORY_S`."""
        now = self._parts.clock.monotonic()
        known = self._labels.get(label)
        if known is None or now - known[0] > LABEL_MEMORY_S:
            self._labels = {vm.label: (now, vm) for vm in await self.list()}
            known = self._labels.get(label)
        if known is None:
            return None
        vm = known[1]
        return AliasTarget(vm.id, vm.name, lambda port: self.dial(vm, port))

    async def dial(self, vm: VM, port: int) -> ByteStream:
        """A stream to the machine's own loopback port."""
        return await (await self._transport(vm)).dial(TcpTarget(check_port(port)))


async def _ignore(_machine_id: str) -> None:
    """Nobody wants to know."""


_KEPT: set[asyncio.Task[None]] = set()


class ManagedExec:
    """Implements `service.ExecSession` over a transport's process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __aiter__(self) -> AsyncIterator[ExecEvent]:
        """The output, then the exit."""
        return self._process.events()

    async def signal(self, name: SignalName) -> None:
        """Signal the remote process group."""
        await self._process.signal(name)

    async def write(self, data: bytes) -> None:
        """Send to standard input."""
        await self._process.write(data)

    async def write_eof(self) -> None:
        """Close standard input."""
        await self._process.write_eof()

    async def aclose(self) -> None:
        """Let go."""
        await self._process.aclose()


def _check_path(path: str) -> str:
    # A person types `/käse?x=ä`; a URL holds ASCII.
    checked = local_path(quote(path, safe="%/?#[]@!$&'()*+,;=:~-._"))
    if checked is None:
        raise UsageError(
            f"{path[:60]!r} is no path on the port.", hint="It starts with one '/'.", code="usage_bad_path"
        )
    return checked


def _not_running(vm: VM) -> ProviderError:
    if vm.status == "destroyed":
        return ProviderError(
            f"Machine {vm.name!r} has ended by itself.",
            hint=f"Start it again, or a new one of that name: %vm create {vm.name}",
            code="vm_not_running",
            status=409,
        )
    return ProviderError(
        f"Machine {vm.name!r} is {vm.status}.",
        hint="It must be running for this; %vm ls shows its state.",
        code="vm_not_running",
        status=409,
        retryable=vm.status == "creating",
    )
