"""MachineControl: machines of one owner, from the wish to the end.

Laws
1. A row is written before the provider is asked, and removed only after the provider confirmed the end: a machine
   without a row, or a row for ever in `creating`, can only come from a killed process, and `recover.py` mends it.
2. The provider is given our VM id as its key, and makes one machine per key.
3. The same key, or the same name with the same parameters, is the same machine. A name with other parameters is
   `vm_name_taken`, a key with other parameters `idempotency_mismatch`.
4. Status is read from the provider. A machine that ended by itself is shown as `destroyed`. The same wish starts it
   again where its provider still lists it (the embedded one keeps the home, also over a restart of the computer), and
   any other wish for its name or key replaces it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jupyter_rmx.clock import Clock
from jupyter_rmx.control.recover import settle
from jupyter_rmx.control.worker import this_worker, worker_is_alive
from jupyter_rmx.errors import ProviderError, StoreError, UsageError, WorkflowError
from jupyter_rmx.models import VM, VMSpec, VMStatus, check_idempotency_key, check_machine_name, new_id
from jupyter_rmx.providers.base import ProviderSpec, VMProvider
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.machines import DISK_FULL, MachineRecord, MachineStore

log = logging.getLogger(__name__)
FREE_NAME_TRIES = 20


class MachineControl:
    """Creates, finds, lists and destroys the machines of `settings.owner`."""

    def __init__(
        self, store: MachineStore, registry: ProviderRegistry, settings: Settings, clock: Clock
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._worker = this_worker()
        self._locks = KeyedLocks()

    @property
    def owner(self) -> str:
        """Whose machines these are."""
        return self._settings.owner

    def provider_of(self, vm: VM) -> VMProvider:
        """The provider that made the machine."""
        return self._registry.get(vm.provider)

    async def create(self, spec: VMSpec, *, key: str) -> VM:
        """Make a machine, or return the one that is there (law 3)."""
        check_idempotency_key(key)
        if spec.name is not None:
            check_machine_name(spec.name)
        provider = self._registry.get(spec.provider or self._settings.default_provider)
        async with self._locks.hold(f"key {key}"):
            known = await self._store.by_key(self.owner, key)
            if known is not None:
                async with self._locks.hold(f"name {known.vm.name}"):
                    known = await self._alive(await self._store.by_key(self.owner, key), spec)
                    if known is not None:
                        return await self._same_wish(known, spec, by_key=True)
            name = spec.name or await self._free_name()
            async with self._locks.hold(f"name {name}"):
                known = await self._alive(await self._store.find(self.owner, name), spec)
                if known is not None:
                    return await self._same_wish(known, spec, by_key=False)
                return await self._make(provider, name, spec, key)

    async def _same_wish(self, known: MachineRecord, spec: VMSpec, *, by_key: bool) -> VM:
        if known.fingerprint != spec.fingerprint():
            raise _mismatch(known.vm.name) if by_key else _name_taken(known.vm.name)
        if known.vm.status == "creating":
            raise _busy(known.vm.name, "being created", "vm_create_in_progress")
        if known.vm.status == "destroying":
            raise _busy(known.vm.name, "being destroyed", "vm_destroy_in_progress")
        return await self._with_live_status(known.vm)

    async def _make(self, provider: VMProvider, name: str, spec: VMSpec, key: str) -> VM:
        vm = VM(
            id=new_id("vm"),
            name=name,
            owner=self.owner,
            provider=provider.name,
            status="creating",
            created_at=self._clock.now(),
            image=spec.image,
        )
        record = MachineRecord(vm=vm, key=key, fingerprint=spec.fingerprint(), worker=self._worker)
        if not await self._store.reserve(record):
            raise _busy(name, "being created by another Jupyter", "vm_create_in_progress")
        made_id: str | None = None
        try:
            made = await provider.create(
                ProviderSpec(name=name, owner=self.owner, image=spec.image), key=vm.id
            )
            made_id = made.provider_vm_id
            await self._store.save(
                vm.id, "running", provider_vm_id=made_id, details=made.details, image=made.image
            )
        except BaseException:
            # Also for cancellation: nothing half-made may stay. What cannot be undone now (the disk is full, the
            # process is killed) is found by `recover.py` through law 1.
            await asyncio.shield(self._undo(provider, vm.id, made_id))
            raise
        return dataclasses.replace(
            vm, status="running", provider_vm_id=made_id, details=made.details, image=made.image
        )

    async def _undo(self, provider: VMProvider, vm_id: str, provider_vm_id: str | None) -> None:
        if provider_vm_id is not None:
            await provider.destroy(provider_vm_id)
        await self._store.remove(vm_id)

    async def _free_name(self) -> str:
        for _ in range(FREE_NAME_TRIES):
            name = f"vm-{secrets.token_hex(2)}"
            if await self._store.find(self.owner, name) is None:
                return name
        raise UsageError("No free name was found.", hint="Give one: %vm create NAME", code="usage_bad_name")

    async def _alive(self, known: MachineRecord | None, spec: VMSpec) -> MachineRecord | None:
        """The row; None if its machine was never finished, or has ended by itself and makes room (law 4).

        The caller holds the name's lock, so a row that this process was working on is one whose work failed.
        """
        if known is not None and not self._is_worked_on_elsewhere(known):
            known = await settle(self._store, self.provider_of(known.vm), known)
        if known is None or await self._live_status(known.vm) != "destroyed":
            return known
        if known.fingerprint == spec.fingerprint() and await self._start_again(known.vm):
            return await self._store.find(self.owner, known.vm.id)
        await self._end(known.vm)
        return None

    def _is_worked_on_elsewhere(self, known: MachineRecord) -> bool:
        return known.worker != self._worker and worker_is_alive(known.worker)

    async def _start_again(self, vm: VM) -> bool:
        """Start a machine that has ended by itself, with what its provider kept of it; False if that is nothing."""
        provider = self.provider_of(vm)
        if vm.id not in {machine.key for machine in await provider.list_owned(vm.owner)}:
            return False
        made = await provider.create(ProviderSpec(vm.name, vm.owner, vm.image), key=vm.id)
        await self._store.save(
            vm.id, "running", provider_vm_id=made.provider_vm_id, details=made.details, image=made.image
        )
        return True

    async def get(self, machine: str) -> VM:
        """The machine with that name or id."""
        return await self._with_live_status((await self._known(machine)).vm)

    async def _known(self, machine: str) -> MachineRecord:
        known = await self._store.find(self.owner, machine)
        if known is None:
            raise WorkflowError(
                f"There is no machine {machine[:60]!r}.",
                hint=f"%vm ls shows yours; make one with: %vm create {_suggest_name(machine)}",
                code="vm_not_found",
                status=404,
            )
        return known

    async def list(self) -> list[VM]:
        """All machines, newest first."""
        records = await self._store.list(self.owner)
        return list(await asyncio.gather(*(self._with_live_status(record.vm) for record in records)))

    async def _with_live_status(self, vm: VM) -> VM:
        return dataclasses.replace(vm, status=await self._live_status(vm))

    async def _live_status(self, vm: VM) -> VMStatus:
        if vm.provider_vm_id is None or vm.status in {"creating", "destroying"}:
            return vm.status
        try:
            status = await self.provider_of(vm).status(vm.provider_vm_id)
        except (ProviderError, UsageError) as error:
            # A provider that is away, or no longer installed, must not hide the machines of the others.
            log.warning("Status of %s is as last known: %s", vm.name, error)
            return vm.status
        return "destroyed" if status == "gone" else status

    async def destroy(self, machine: str) -> VM:
        """End the machine and forget it; returns what it was."""
        known = await self._known(machine)
        async with self._locks.hold(f"name {known.vm.name}"):
            known = await self._known(known.vm.id)
            if known.vm.status == "creating" and self._is_worked_on_elsewhere(known):
                raise _busy(known.vm.name, "being created", "vm_create_in_progress")
            await self._end(known.vm)
        return known.vm

    async def _end(self, vm: VM) -> None:
        try:
            await self._store.save(vm.id, "destroying", worker=self._worker)
        except StoreError as error:
            if error.code != DISK_FULL:
                raise
            # To end the machine is what frees the disk. The mark is for a crash in between, which `destroy` mends, too.
        provider = self.provider_of(vm)
        if vm.provider_vm_id is not None:
            await provider.destroy(vm.provider_vm_id)
        else:  # its creator died before it could write down the provider's id
            for machine in await provider.list_owned(vm.owner):
                if machine.key == vm.id:
                    await provider.destroy(machine.provider_vm_id)
        await self._store.remove(vm.id)


class KeyedLocks:
    """One lock per text, there only while somebody holds or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, text: str) -> AsyncIterator[None]:
        """Hold the lock of `text`."""
        lock = self._locks.setdefault(text, asyncio.Lock())
        self._users[text] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[text] -= 1
            if not self._users[text]:
                del self._users[text], self._locks[text]


def _suggest_name(machine: str) -> str:
    try:
        return check_machine_name(machine)
    except UsageError:
        return "demo"


def _name_taken(name: str) -> WorkflowError:
    return WorkflowError(
        f"There is already a machine {name!r}, made with other parameters.",
        hint=f"Use it as it is, choose another name, or remove it first: %vm destroy {name}",
        code="vm_name_taken",
    )


def _mismatch(name: str) -> WorkflowError:
    return WorkflowError(
        f"This idempotency key already made {name!r} with other parameters.",
        hint="Use a new key for a new machine.",
        code="idempotency_mismatch",
        status=422,
    )


def _busy(name: str, what: str, code: str) -> WorkflowError:
    return WorkflowError(
        f"Machine {name!r} is {what} right now.",
        hint="Try again in a few seconds.",
        code=code,
        retryable=True,
    )
