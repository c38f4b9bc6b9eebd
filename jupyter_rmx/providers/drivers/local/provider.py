"""LocalProvider: the VMProvider contract over the blocking parts, which run in threads of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import Endpoint
from jupyter_rmx.providers.base import AttachOptions, ProviderSpec, ProviderStatus, ProviderVM
from jupyter_rmx.providers.drivers.local.layout import SOCKET_NAME
from jupyter_rmx.settings import Settings

if TYPE_CHECKING:
    from jupyter_rmx.providers.drivers.local.machines import Attempt, Machines

_Result = TypeVar("_Result")
_THREADS = 16


class LocalProvider:
    """Machines on this computer. `check_every_s`: how often a machine looks whether its user's Jupyter still lives."""

    name = "local"
    capabilities = frozenset({"pause", "resume", "snapshot", "restore"})
    status_is_local = True

    def __init__(self, settings: Settings, *, check_every_s: float = 60.0) -> None:
        self._settings = settings
        self._check_every_s = check_every_s
        self._engine: Machines | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._folders: dict[str, int] = {}

    async def create(self, spec: ProviderSpec, *, key: str) -> ProviderVM:
        """Make the machine of that key, or find it. A cancelled call leaves nothing of what it made."""
        from jupyter_rmx.providers.drivers.local.failures import refuse_image
        from jupyter_rmx.providers.drivers.local.launcher import Cancel
        from jupyter_rmx.providers.drivers.local.machines import Attempt

        machines = self._machines()
        refuse_image(spec)
        attempt = Attempt(Cancel())
        work = asyncio.ensure_future(self._in_thread(machines.create, spec, key, attempt))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await self._undo(work, attempt)
            raise
        finally:
            if work.done():
                attempt.cancel.close()

    async def _undo(self, work: asyncio.Future[ProviderVM], attempt: Attempt) -> None:
        """Give a start up, wait for its end, and destroy what it made after all."""
        attempt.cancel.set()
        await _settled(work)
        if not work.cancelled() and work.exception() is None and attempt.made:
            removal = asyncio.ensure_future(self.destroy(work.result().provider_vm_id))
            await _settled(removal)
            removal.result()

    async def destroy(self, provider_vm_id: str) -> None:
        """End it and remove all of it."""
        await self._in_thread(self._machines().destroy, provider_vm_id)
        folder = self._folders.pop(provider_vm_id, None)
        if folder is not None:
            os.close(folder)

    async def status(self, provider_vm_id: str) -> ProviderStatus:
        """How its processes are now."""
        return await self._in_thread(self._machines().status, provider_vm_id)

    async def pause(self, provider_vm_id: str) -> None:
        """Freeze all its processes."""
        await self._in_thread(self._machines().pause, provider_vm_id)

    async def resume(self, provider_vm_id: str) -> None:
        """Let them go on, or start it again with its home. A cancelled start leaves it stopped, or runs if it was done."""
        from jupyter_rmx.providers.drivers.local.launcher import Cancel
        from jupyter_rmx.providers.drivers.local.machines import Attempt

        machines = self._machines()
        attempt = Attempt(Cancel())
        work = asyncio.ensure_future(self._in_thread(machines.resume, provider_vm_id, attempt))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            attempt.cancel.set()
            await _settled(work)
            raise
        finally:
            if work.done():
                attempt.cancel.close()

    async def snapshot(
        self,
        provider_vm_id: str,
        *,
        key: str,
        name: str | None = None,  # noqa: ARG002 - a folder needs none
    ) -> str:
        """Keep a copy of its home, one for each key."""
        return await self._in_thread(self._machines().snapshot, provider_vm_id, key)

    async def attach_endpoint(self, provider_vm_id: str, options: AttachOptions | None = None) -> Endpoint:
        """Its SSH server on a Unix socket; it makes no identity, so there is nothing to revoke."""
        machines = self._machines()
        if options is not None and options.require_daemon:
            from jupyter_rmx.providers.drivers.local.failures import no_daemon

            raise no_daemon()
        short_path = self._short_path(machines, provider_vm_id)
        return await self._in_thread(machines.endpoint, provider_vm_id, short_path)

    def _short_path(self, machines: Machines, vm_id: str) -> str | None:
        """A way to a socket whose path is too long: through a descriptor of ours on its folder."""
        folder = machines.socket_folder(vm_id)
        if folder is None:
            return None
        if vm_id in self._folders:
            os.close(self._folders.pop(vm_id))  # of an earlier machine of that id, perhaps
        try:
            self._folders[vm_id] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None  # it is gone, and `endpoint` says so
        return f"/proc/{os.getpid()}/fd/{self._folders[vm_id]}/{SOCKET_NAME}"

    async def list_owned(self, owner: str) -> list[ProviderVM]:
        """All machines of `owner`, by their records on disk and their processes."""
        return await self._in_thread(self._machines().list_owned, owner)

    async def heartbeat(self) -> None:
        """Say that a Jupyter of this user lives."""
        await self._in_thread(self._machines().beat)

    async def aclose(self) -> None:
        """Let go of threads and descriptors; machines go on."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)
        while self._folders:
            os.close(self._folders.popitem()[1])

    def _machines(self) -> Machines:
        if sys.platform == "win32":
            raise ProviderError(
                "The embedded machine does not run on Windows.",
                hint="Attach a machine that you reach by SSH instead.",
                code="vm_local_unsupported",
            )
        if self._engine is None:
            from jupyter_rmx.providers.drivers.local.machines import Machines

            self._engine = Machines(
                self._settings.data_dir / "local",
                orphan_after_s=self._settings.orphan_after_s,
                check_every_s=self._check_every_s,
            )
        return self._engine

    async def _in_thread(self, call: Callable[..., _Result], *args: object) -> _Result:
        # Threads of our own: eight starts at a time must not use up the few that asyncio shares with everybody.
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rmx-local")
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args))


async def _settled(work: asyncio.Future[_Result]) -> None:
    """Wait for the end of `work`, however often we are cancelled meanwhile: the clean-up must not be left half-way."""
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            continue
