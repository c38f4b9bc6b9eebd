"""The service in the process that owns the connections: what REST, and so every face, ends in."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from jupyter_rmx.clock import Clock
from jupyter_rmx.control import wishes
from jupyter_rmx.control.feed import EventFeed, Follower, events_of
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.pages import page_of
from jupyter_rmx.control.reconcile import Reconciler
from jupyter_rmx.control.rename import rename
from jupyter_rmx.control.use import MachineUse
from jupyter_rmx.errors import RmxError, TransferError, UsageError
from jupyter_rmx.loopback.gate import AliasTarget
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.manager_exec import ManagedExec, TransportRunner
from jupyter_rmx.manager_links import Connect, Links
from jupyter_rmx.manager_ports import Ports
from jupyter_rmx.models import (
    VM,
    CommandResult,
    Endpoint,
    Event,
    ExecSpec,
    Exit,
    FileResult,
    Operation,
    PortLink,
    Snapshot,
    SSHEndpoint,
    VMSpec,
)
from jupyter_rmx.providers.base import AttachOptions
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.service import CURSOR, PAGE_LIMIT, PAGE_MAX, VMPage
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.store import Store
from jupyter_rmx.transports.pool import TransportPool

log = logging.getLogger(__name__)

HEARTBEAT_S = 60.0
_CURSOR = re.compile(f"({CURSOR})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


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
        self._small: set[asyncio.Task[None]] = set()
        self._use = MachineUse(parts.control)
        self._links = Links(parts.control, self._use, parts.pool, parts.connect)
        self._ports = Ports(
            parts.control, self._use, parts.tickets, parts.clock, parts.settings, self._links.to
        )
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
        await self._parts.pool.aclose()
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
        self.check_provider((await self._parts.control.known(machine)).vm.provider)
        return await self._use.fork(machine, name=name, key=key)

    # -- looking ------------------------------------------------------------------------------------------------

    async def get(self, machine: str) -> VM:
        """See `service.RemoteMachines.get`."""
        await self.ready()
        return await self._parts.control.get(machine)

    async def list(self) -> list[VM]:
        """See `service.RemoteMachines.list`."""
        await self.ready()
        machines: list[VM] = []
        page = await page_of(self._parts.control)
        machines += page.machines
        while page.after is not None:
            page = await page_of(self._parts.control, after=page.after)
            machines += page.machines
        return machines

    async def page(self, *, limit: int = PAGE_LIMIT, cursor: str | None = None) -> VMPage:
        """See `service.RemoteMachines.page`."""
        if not 1 <= limit <= PAGE_MAX:
            raise _bad_field("limit", f"A page has 1 to {PAGE_MAX} machines.")
        after = _place(cursor) if cursor is not None else None
        await self.ready()
        page = await page_of(self._parts.control, limit=limit, after=after)
        return VMPage(page.machines, _cursor(page.after) if page.after is not None else None)

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

    async def rename(self, machine: str, name: str) -> VM:
        """See `service.RemoteMachines.rename`."""
        await self.ready()
        before = (await self._parts.control.known(machine)).vm
        vm = await rename(self._parts.control, before.id, name)
        self._ports.renamed(before, vm)
        return vm

    async def pause(self, machine: str) -> VM:
        """See `service.RemoteMachines.pause`."""
        await self.ready()
        vm = await self._use.pause(machine)
        self._ports.forget()
        return vm

    async def resume(self, machine: str) -> VM:
        """See `service.RemoteMachines.resume`."""
        await self.ready()
        vm = await self._use.resume(machine)
        self._ports.forget()
        return vm

    async def snapshot(self, machine: str, name: str | None = None) -> Snapshot:
        """See `service.RemoteMachines.snapshot`."""
        await self.ready()
        return await self._use.snapshot(machine, name)

    async def destroy(self, machine: str) -> None:
        """See `service.RemoteMachines.destroy`."""
        await self.ready()
        vm = (await self._parts.control.known(machine)).vm
        self._parts.tickets.revoke_machine(vm.id)
        self._ports.forget()
        await self.on_destroyed(vm.id)
        await self._parts.pool.drop(vm.id)
        await self._parts.control.destroy(vm.id)
        # A command that was started meanwhile may have connected again.
        await self._parts.pool.drop(vm.id)

    # -- using --------------------------------------------------------------------------------------------------

    async def exec(self, machine: str, spec: ExecSpec) -> ManagedExec:
        """See `service.RemoteMachines.exec`."""
        await self.ready()
        vm, transport = await self._links.reach(machine, source="exec")
        process = await transport.run(spec)
        return ManagedExec(process, lambda end: self._beside(self._tell_exec(vm, spec, end)))

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
        return await self._use.exec(machine, command, timeout_s=timeout_s)

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
        return await self._use.attach_endpoint(machine, options)

    async def ssh_endpoint(self, machine: str) -> SSHEndpoint:
        """See `service.RemoteMachines.ssh_endpoint`."""
        await self.ready()
        return await self._use.ssh_endpoint(machine)

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


def _cursor(place: tuple[datetime, str]) -> str:
    return f"{(place[0] - _EPOCH) // timedelta(microseconds=1)}-{place[1]}"


def _place(cursor: str) -> tuple[datetime, str]:
    if _CURSOR.fullmatch(cursor) is None:
        raise _bad_field("cursor", "This is not a cursor of ours.")
    moment, _, id_ = cursor.partition("-")
    return _EPOCH + timedelta(microseconds=int(moment)), id_


def _bad_field(field: str, message: str) -> UsageError:
    return UsageError(
        message,
        hint="Send `next` of the page before as the cursor, or leave both out.",
        code="vm_invalid_request",
        details={"field": field},
    )
