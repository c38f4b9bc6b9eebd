"""The service in the process that owns the connections: what REST, and so every face, ends in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from jupyter_rmx.clock import Clock
from jupyter_rmx.control import failures, wishes
from jupyter_rmx.control.feed import EventFeed, Follower, events_of
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.reconcile import Reconciler
from jupyter_rmx.control.rename import rename
from jupyter_rmx.control.use import MachineUse
from jupyter_rmx.control.workspaces import Workspaces
from jupyter_rmx.errors import RmxError, TransferError, UsageError, WorkflowError
from jupyter_rmx.loopback.gate import AliasTarget
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.manager_exec import ManagedExec, TransportRunner, run_to_end
from jupyter_rmx.manager_links import Connect, ConnectTarget, Links
from jupyter_rmx.manager_pages import page as page_with_cursor
from jupyter_rmx.manager_ports import Ports
from jupyter_rmx.manager_workspaces import FORCED, Attachments, ConnectionNews
from jupyter_rmx.models import (
    VM,
    Attached,
    CommandResult,
    Endpoint,
    Event,
    ExecSpec,
    Exit,
    FileResult,
    Machine,
    Operation,
    PortLink,
    Snapshot,
    SSHEndpoint,
    SSHHost,
    VMSpec,
    Workspace,
)
from jupyter_rmx.providers.base import AttachOptions
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.service import PAGE_LIMIT, PAGE_MAX, MachinePage
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.store import Store
from jupyter_rmx.transports.base import Process, Transport
from jupyter_rmx.transports.pool import TransportPool
from jupyter_rmx.transports.spool import Spool
from jupyter_rmx.transports.spooled import SpooledProcess
from jupyter_rmx.transports.timed import TimedProcess
from jupyter_rmx.transports.watch import watch_network

log = logging.getLogger(__name__)

HEARTBEAT_S = 60.0
_T = TypeVar("_T")


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
    connect_target: ConnectTarget
    ssh_hosts: Callable[[], Awaitable[Sequence[SSHHost]]]
    home: str


class MachineManager:
    """Implements `service.RemoteMachines`, and the alias directory of the proxy.

    `on_destroyed` is awaited with the id of a machine that is being destroyed or let go, so that its open streams are
    ended.
    """

    def __init__(self, parts: Parts, *, origin: str) -> None:
        self._parts = parts
        self._origin = origin
        self._starting: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._small: set[asyncio.Task[None]] = set()
        self._use = MachineUse(parts.control)
        self._workspaces = Workspaces(parts.control.context, parts.home)
        self._links = Links(
            parts.control, self._use, self._workspaces, parts.pool, parts.connect, parts.connect_target
        )
        self._attachments = Attachments(self._workspaces, self._links, parts.pool)
        self._news = ConnectionNews(parts.control.context, parts.pool)
        self._links.on_workspace = self._news.uses
        self._ports = Ports(self._links, parts.tickets, parts.clock, parts.settings)
        self._use.commands.runner = TransportRunner(self._links.to)
        self._feed = EventFeed(parts.store, parts.settings.owner, parts.clock)
        parts.store.on_events = self._feed.wake
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
            asyncio.ensure_future(watch_network(parts.pool.rearm_all)),
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
        await self._feed.aclose()
        tasks = [*self._background, *([self._starting] if self._starting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._small, return_exceptions=True)
        await self._parts.control.context.engine.aclose()
        await self._attachments.aclose()
        await self._parts.pool.aclose()
        await self._news.aclose()
        await self._parts.registry.aclose()
        await self._parts.store.aclose()

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it while the answer travels; its failures are its own."""
        task = asyncio.ensure_future(work)
        self._small.add(task)
        task.add_done_callback(self._small.discard)

    # -- making -------------------------------------------------------------------------------------------------

    async def create(self, spec: VMSpec, *, key: str | None = None) -> VM:
        """See `service.RemoteMachines.create`."""
        await self.ready()
        wishes.check_wish(spec, key)
        self.check_provider(spec.provider)
        vm = await self._parts.control.create(spec, key=key)
        self._beside(self._warm(vm))
        return vm

    async def _warm(self, vm: VM) -> None:
        """Whoever makes a machine uses it next. Only where that costs nothing and no identity is made for it."""
        try:
            if self._parts.control.provider_of(vm).status_is_local:
                await self._links.to(vm)
        except RmxError as error:
            log.debug("Machine %s is not reachable yet: %s", vm.name, error)

    def check_provider(self, name: str | None) -> None:
        """UsageError `vm_invalid_provider` for one that is not installed, or that no new machine may come from."""
        settings = self._parts.settings
        provider = wishes.provider_of(VMSpec(provider=name), settings)
        if settings.allowed_providers and provider not in settings.allowed_providers:
            raise UsageError(
                f"Provider {provider[:40]!r} is not one of those allowed here.",
                hint=f"Allowed are: {', '.join(sorted(settings.allowed_providers))}.",
                code="vm_invalid_provider",
                details={"field": "provider"},
            )
        self._parts.control.context.gateway(provider)

    def check_wish(self, spec: VMSpec) -> None:
        """Raise what `create` would raise of a wish that is wrong in itself, or may not be granted now."""
        settings = self._parts.settings
        provider = wishes.provider_of(spec, settings)
        wishes.check_enabled(provider, settings)
        wishes.image_of(spec, provider, settings)

    async def restore(self, snapshot_id: str, *, name: str | None = None, key: str | None = None) -> VM:
        """See `service.RemoteMachines.restore`."""
        await self.ready()
        wishes.check_wish(VMSpec(name), key)
        for found in await self._use.snapshots() if self._parts.settings.allowed_providers else ():
            if found.id == snapshot_id:
                self.check_provider(found.provider)
        return await self._use.restore(snapshot_id, name=name, key=key)

    async def fork(self, machine: str, *, name: str | None = None, key: str | None = None) -> VM:
        """See `service.RemoteMachines.fork`."""
        await self.ready()
        wishes.check_wish(VMSpec(name), key)
        self.check_provider(
            (await self._vm_only(machine, "copied", self._parts.control.known(machine))).vm.provider
        )
        return await self._use.fork(machine, name=name, key=key)

    async def _vm_only(self, machine: str, what: str, call: Awaitable[_T]) -> _T:
        """What only VMs can; a workspace says so, instead of that there is no such VM."""
        try:
            return await call
        except WorkflowError as error:
            if error.code != "vm_not_found":
                raise
            workspace = await self._workspaces.find(machine)
            if workspace is None:
                raise
            raise failures.no_lifecycle(workspace, what) from None

    # -- hosts that are there already -----------------------------------------------------------------------------

    async def attach(
        self, target: str, *, name: str | None = None, startup: str | None = None, force_ssh: bool = False
    ) -> Attached:
        """See `service.RemoteMachines.attach`."""
        await self.ready()
        target = target.strip()
        known = None if force_ssh or target.startswith(FORCED) else await self._links.find(target)
        if known is None:
            return await self._attachments.attach(target, name=name, startup=startup)
        if name is not None and name != known.name:
            raise failures.has_a_name(known)
        if isinstance(known, Workspace):
            return await self._attachments.connect(await self._workspaces.with_startup(known, startup))
        if startup is not None:
            raise failures.no_startup(known)
        return Attached((await self._links.reach(known.id, source="attach"))[0])

    async def answer(self, question_id: str, answers: Sequence[str] | None) -> Attached:
        """See `service.RemoteMachines.answer`."""
        return await self._attachments.answer(question_id, answers)

    async def detach(self, machine: str) -> None:
        """See `service.RemoteMachines.detach`."""
        await self.ready()
        found = await self._links.find(machine)
        if not isinstance(found, Workspace):
            vm = (await self._parts.control.known(machine)).vm
            await self.on_destroyed(vm.id)
            await self._parts.pool.drop(vm.id)
            return
        self._parts.tickets.revoke_machine(found.id)
        await self.on_destroyed(found.id)
        await self._attachments.detach(found)
        self._ports.forget()

    async def workspaces(self) -> Sequence[Workspace]:
        """See `service.RemoteMachines.workspaces`."""
        await self.ready()
        return [self._attachments.seen(one) for one in await self._workspaces.all()]

    async def ssh_hosts(self) -> Sequence[SSHHost]:
        """See `service.RemoteMachines.ssh_hosts`."""
        return await self._parts.ssh_hosts()

    # -- looking ------------------------------------------------------------------------------------------------

    async def get(self, machine: str) -> Machine:
        """See `service.RemoteMachines.get`."""
        await self.ready()
        workspace = await self._workspaces.find(machine)
        return self._attachments.seen(workspace) if workspace else await self.get_vm(machine)

    async def get_vm(self, machine: str) -> VM:
        """As `get`, of VMs only."""
        await self.ready()
        return await self._parts.control.get(machine)

    async def known(self, machine: str) -> Machine:
        """As `get`, from the rows alone: no provider is asked, so it may be called often."""
        await self.ready()
        workspace = await self._workspaces.find(machine)
        return (
            self._attachments.seen(workspace) if workspace else (await self._parts.control.known(machine)).vm
        )

    async def list(self) -> list[Machine]:
        """See `service.RemoteMachines.list`."""
        page = await self.page(limit=PAGE_MAX)
        machines = [*page.machines]
        while page.next is not None:
            page = await self.page(limit=PAGE_MAX, cursor=page.next)
            machines += page.machines
        return machines

    async def page(
        self, *, limit: int = PAGE_LIMIT, cursor: str | None = None, workspaces: bool = True
    ) -> MachinePage:
        """See `service.RemoteMachines.page`; without `workspaces`, of VMs only."""
        await self.ready()
        page = await page_with_cursor(self._parts.control, limit=limit, cursor=cursor, workspaces=workspaces)
        seen = [self._attachments.seen(one) if isinstance(one, Workspace) else one for one in page.machines]
        return MachinePage(seen, page.next)

    async def snapshots(self) -> Sequence[Snapshot]:
        """See `service.RemoteMachines.snapshots`."""
        await self.ready()
        return await self._use.snapshots()

    async def operation(self, operation_id: str) -> Operation:
        """See `service.RemoteMachines.operation`."""
        await self.ready()
        return await self._parts.control.operation(operation_id)

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """See `service.RemoteMachines.events`."""
        await self.ready()
        async for event in events_of(self._feed, after):
            yield event

    async def follow(self, after: int | None = None) -> Follower:
        """As `events`, for who wants to wait for a certain time only."""
        await self.ready()
        return await self._feed.follow(after)

    def providers(self) -> Sequence[str]:
        """Names of the installed providers."""
        return self._parts.registry.names()

    # -- changing -----------------------------------------------------------------------------------------------

    async def rename(self, machine: str, name: str) -> Machine:
        """See `service.RemoteMachines.rename`."""
        await self.ready()
        workspace = await self._workspaces.find(machine)
        if workspace is None:
            return await self.rename_vm(machine, name)
        renamed = await self._workspaces.rename(workspace, name)
        self._news.uses(renamed, self._links.key_of(renamed))
        self._ports.renamed(workspace, renamed)
        return self._attachments.seen(renamed)

    async def rename_vm(self, machine: str, name: str) -> VM:
        """As `rename`, of VMs only."""
        await self.ready()
        before = (await self._parts.control.known(machine)).vm
        vm = await rename(self._parts.control, before.id, name)
        self._ports.renamed(before, vm)
        return vm

    async def pause(self, machine: str) -> VM:
        """See `service.RemoteMachines.pause`."""
        await self.ready()
        vm = await self._vm_only(machine, "paused", self._use.pause(machine))
        self._ports.forget()
        return vm

    async def resume(self, machine: str) -> VM:
        """See `service.RemoteMachines.resume`."""
        await self.ready()
        vm = await self._vm_only(machine, "resumed", self._use.resume(machine))
        self._ports.forget()
        return vm

    async def snapshot(self, machine: str, name: str | None = None) -> Snapshot:
        """See `service.RemoteMachines.snapshot`."""
        await self.ready()
        return await self._vm_only(machine, "copied", self._use.snapshot(machine, name))

    async def destroy(self, machine: str) -> None:
        """See `service.RemoteMachines.destroy`."""
        await self.ready()
        vm = (await self._vm_only(machine, "destroyed", self._parts.control.known(machine))).vm
        self._parts.tickets.revoke_machine(vm.id)
        self._ports.forget()
        await self.on_destroyed(vm.id)
        await self._parts.pool.drop(vm.id)
        await self._parts.control.destroy(vm.id)
        # A command that was started meanwhile may have connected again.
        await self._parts.pool.drop(vm.id)

    # -- using --------------------------------------------------------------------------------------------------

    async def transport(self, machine: str, *, source: str, asked: bool = True) -> Transport:
        """The live transport of a machine, which is resumed if it is paused. `source` is why, for the record.

        `asked` False: no person is behind it, so a workspace whose connection is parked is not tried again.
        """
        await self.ready()
        return (await self._links.reach(machine, source=source, asked=asked))[1]

    async def exec(self, machine: str, spec: ExecSpec) -> ManagedExec:
        """See `service.RemoteMachines.exec`."""
        await self.ready()
        found, transport = await self._links.reach(machine, source="exec")
        settings = self._parts.settings
        spool = Spool(settings.data_dir, file_max=settings.spool_max_bytes)
        process: Process = await transport.run(spec)
        if spec.timeout_s is not None:
            process = TimedProcess(process, spec.timeout_s)
        process = SpooledProcess(process, spool)
        return ManagedExec(process, lambda end: self._exec_ended(found, spec, end))

    def _exec_ended(self, machine: Machine, spec: ExecSpec, end: Exit | None) -> None:
        if isinstance(machine, VM):  # nobody is billed for a host of one's own
            self._beside(self._tell_exec(machine, spec, end))

    async def _tell_exec(self, vm: VM, spec: ExecSpec, end: Exit | None) -> None:
        """The record of use; a command never fails, nor waits, for it."""
        data = {
            "command_length": len(spec.command),
            "exit_code": end.code if end else None,
            "signal": end.signal if end else None,
            "streamed": True,
        }
        try:
            async with self._parts.store.write() as tx:
                self._parts.control.context.tell_use(tx, vm, "vm.exec", data)
        except RmxError as error:
            log.warning("The use of %s could not be written down: %s", vm.name, error)

    async def exec_buffered(self, machine: str, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        """See `service.RemoteMachines.exec_buffered`."""
        await self.ready()
        workspace = await self._workspaces.find(machine)
        if workspace is None:
            return await self._use.exec(machine, command, timeout_s=timeout_s)
        return await run_to_end(await self._links.to(workspace), command, timeout_s=timeout_s)

    async def attach_endpoint(
        self,
        machine: str,
        *,
        require_daemon: bool = False,
        session_id: str | None = None,
        attachment_id: str | None = None,
    ) -> Endpoint:
        """See `service.RemoteMachines.attach_endpoint`."""
        await self.ready()
        options = AttachOptions("", require_daemon, session_id, attachment_id)
        return await self._vm_only(machine, "lent out", self._use.attach_endpoint(machine, options))

    async def ssh_endpoint(self, machine: str) -> SSHEndpoint:
        """See `service.RemoteMachines.ssh_endpoint`."""
        await self.ready()
        return await self._vm_only(machine, "lent out", self._use.ssh_endpoint(machine))

    async def revoke_leases(self) -> tuple[int, int]:
        """See `service.RemoteMachines.revoke_leases`."""
        await self.ready()
        return await self._parts.control.leases.revoke_everything()

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
        await self.ready()
        _, transport = await self._links.reach(machine, source="upload")
        return await transport.files().put(remote_path, chunks, size=size, mode=mode, mtime=mtime)

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
        await self.ready()
        return await self._ports.open(
            machine, port, path=path, origin=origin or self._origin, open_id=open_id
        )

    async def lookup(self, label: str) -> AliasTarget | None:
        """See `loopback.gate.AliasDirectory`."""
        await self.ready()
        return await self._ports.lookup(label)


async def _ignore(_machine_id: str) -> None:
    """Nobody wants to know."""
