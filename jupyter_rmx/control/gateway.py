"""ProviderGateway: the only way from here to a provider.

A driver is somebody else's code that speaks to somebody else's service. Each call has a time limit; what it raises
becomes a ProviderError that says which operation of which provider failed; what it answers is looked at before it is
believed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, TypeVar, get_args

from jupyter_rmx.control.answers import ID_MAX, is_machine, is_result, is_ssh, is_text, is_websocket
from jupyter_rmx.errors import ProviderError, RmxError
from jupyter_rmx.models import CommandResult, Endpoint, SSHEndpoint
from jupyter_rmx.providers.base import AttachOptions, ProviderSpec, ProviderStatus, ProviderVM, VMProvider

log = logging.getLogger(__name__)

MAKE_S = 15 * 60.0
"""Longest time for a machine, a fork or a snapshot to be made."""
CALL_S = 60.0
EXEC_GRACE_S = 15.0
"""What a provider's own time-out of a command may take on top."""
LIST_S = 5 * 60.0
CANCEL_S = 5.0
KNOWN_STATUSES = frozenset(get_args(ProviderStatus))

_T = TypeVar("_T")


class ProviderGateway:
    """One provider, made safe to call. Raises ProviderError only."""

    def __init__(self, provider: VMProvider, *, call_s: float = CALL_S, make_s: float = MAKE_S) -> None:
        self.provider = provider
        self._call_s = call_s
        self._make_s = make_s

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.provider.name

    def has(self, capability: str) -> bool:
        """True if the provider has that optional method."""
        return capability in self.provider.capabilities

    def need(self, capability: str) -> None:
        """ProviderError `vm_unsupported` (501), never to be retried, if the provider has no such method."""
        if not self.has(capability):
            raise ProviderError(
                f"Provider {self.name!r} cannot do this ({capability}).",
                hint="Use a machine of another provider for it.",
                code="vm_unsupported",
                status=501,
                retryable=False,
                details={"operation": capability, "provider": self.name},
            )

    async def create(self, spec: ProviderSpec, *, key: str) -> ProviderVM:
        """See `VMProvider.create`."""
        return self._machine("create", await self._make("create", self.provider.create(spec, key=key)), key)

    async def fork(self, source: str, spec: ProviderSpec, *, key: str) -> ProviderVM:
        """See `VMProvider.fork`."""
        self.need("fork")
        return self._machine("fork", await self._make("fork", self.provider.fork(source, spec, key=key)), key)

    async def snapshot(self, provider_vm_id: str, *, key: str, name: str | None) -> str:
        """See `VMProvider.snapshot`."""
        self.need("snapshot")
        try:
            return await self._snapshot(provider_vm_id, key, name)
        except ProviderError as error:
            if not error.retryable:
                raise
            # Its answer may have been lost; nothing lists snapshots at a provider, but the same key gives the same one.
            log.info("Snapshot %s is asked for once more: %s", key, error)
            return await self._snapshot(provider_vm_id, key, name)

    async def _snapshot(self, provider_vm_id: str, key: str, name: str | None) -> str:
        made = await self._make("snapshot", self.provider.snapshot(provider_vm_id, key=key, name=name))
        if not is_text(made, ID_MAX):
            raise self._nonsense("snapshot", made)
        return made

    async def destroy(self, provider_vm_id: str) -> None:
        """See `VMProvider.destroy`."""
        await self._call("destroy", self.provider.destroy(provider_vm_id))

    async def status(self, provider_vm_id: str) -> ProviderStatus:
        """See `VMProvider.status`; a status that is not known counts as running: a machine must not be lost to it."""
        return self._status(await self._call("status", self.provider.status(provider_vm_id)))

    async def pause(self, provider_vm_id: str) -> None:
        """See `VMProvider.pause`."""
        self.need("pause")
        await self._call("pause", self.provider.pause(provider_vm_id))

    async def resume(self, provider_vm_id: str) -> None:
        """See `VMProvider.resume`."""
        self.need("resume")
        await self._make("resume", self.provider.resume(provider_vm_id))

    async def exec(self, provider_vm_id: str, command: str, *, timeout_s: float) -> CommandResult:
        """See `VMProvider.exec`."""
        self.need("exec")
        call = self.provider.exec(provider_vm_id, command, timeout_s=timeout_s)
        result = await self._within("exec", call, timeout_s + EXEC_GRACE_S)
        if not is_result(result):
            raise self._nonsense("exec", result)
        return result

    async def attach_endpoint(self, provider_vm_id: str, options: AttachOptions) -> Endpoint:
        """See `VMProvider.attach_endpoint`."""
        endpoint = await self._call("attach_endpoint", self.provider.attach_endpoint(provider_vm_id, options))
        if not is_ssh(endpoint) and not is_websocket(endpoint):
            raise self._nonsense("attach_endpoint", endpoint)
        return endpoint

    async def ssh_endpoint(self, provider_vm_id: str, *, key: str) -> SSHEndpoint:
        """See `VMProvider.ssh_endpoint`."""
        self.need("ssh_endpoint")
        endpoint = await self._call("ssh_endpoint", self.provider.ssh_endpoint(provider_vm_id, key=key))
        if not is_ssh(endpoint):
            raise self._nonsense("ssh_endpoint", endpoint)
        return endpoint

    async def revoke_identity(self, provider_vm_id: str, *, key: str, handle: str | None) -> None:
        """See `VMProvider.revoke_identity`; nothing to do for a provider that makes no identities."""
        if self.has("revoke_identity"):
            await self._call(
                "revoke_identity", self.provider.revoke_identity(provider_vm_id, key=key, handle=handle)
            )

    async def list_owned(self, owner: str) -> list[ProviderVM]:
        """See `VMProvider.list_owned`; entries that make no sense are left out with a warning."""
        found = await self._within("list_owned", self.provider.list_owned(owner), LIST_S)
        if not isinstance(found, list):
            raise self._nonsense("list_owned", found)
        return [vm for vm in found if self._is_ours(vm, owner)]

    def _is_ours(self, vm: object, owner: str) -> bool:
        sane = is_machine(vm) and getattr(vm, "owner", None) == owner
        if not sane:
            log.warning("Provider %s lists something that is no machine of ours: %.200s", self.name, vm)
        return sane

    # -- how a call is made -------------------------------------------------------------------------------------

    async def _call(self, operation: str, call: Awaitable[_T]) -> _T:
        return await self._within(operation, call, self._call_s)

    async def _make(self, operation: str, call: Awaitable[_T]) -> _T:
        return await self._within(operation, call, self._make_s)

    async def _within(self, operation: str, call: Awaitable[_T], seconds: float) -> _T:
        try:
            return await self._settled(operation, asyncio.ensure_future(call), seconds)
        except ProviderError as error:
            error.details = {"operation": operation, "provider": self.name} | error.details
            error.details["retryable"] = error.retryable
            raise
        except RmxError:
            raise
        except Exception as error:  # a driver may raise anything
            log.warning("Provider %s failed in %s", self.name, operation, exc_info=error)
            raise self._unavailable(operation, f"Provider {self.name!r} failed ({operation}).") from error

    async def _settled(self, operation: str, call: asyncio.Future[_T], seconds: float) -> _T:
        """The answer of a call that runs in a task of its own: a driver that cancels itself cancels only that."""
        try:
            await asyncio.wait({call}, timeout=seconds)
        finally:
            if not call.done():
                call.cancel()
                # A driver may clean up after itself; one that does not end is left behind.
                await asyncio.wait({call}, timeout=CANCEL_S)
        if call.cancelled():
            raise self._unavailable(
                operation, f"Provider {self.name!r} has not answered within {seconds:.0f} s ({operation})."
            )
        return call.result()

    def _machine(self, operation: str, answer: object, key: str) -> ProviderVM:
        if not is_machine(answer) or getattr(answer, "key", None) != key:
            raise self._nonsense(operation, answer)
        assert isinstance(answer, ProviderVM)
        return answer

    def _status(self, answer: object) -> ProviderStatus:
        if isinstance(answer, str) and answer in KNOWN_STATUSES:
            return answer  # type: ignore[return-value]  # checked in the line above
        log.warning("Provider %s says %.80r of a machine; taken for running", self.name, answer)
        return "running"

    def _nonsense(self, operation: str, answer: object) -> ProviderError:
        # Its type only: an answer may hold a token.
        log.warning("Provider %s answered nonsense to %s: %s", self.name, operation, type(answer).__name__)
        return self._unavailable(operation, f"Provider {self.name!r} gave an answer that makes no sense.")

    def _unavailable(self, operation: str, message: str) -> ProviderError:
        return ProviderError(
            message,
            hint="Try again in a minute; Jupyter's log has the particulars.",
            retryable=True,
            details={"operation": operation, "provider": self.name, "retryable": True},
        )


def details_of(answer: ProviderVM) -> dict[str, Any]:
    """What is kept of a machine that a provider made, as values of its row."""
    return {
        "provider_vm_id": answer.provider_vm_id,
        "details": answer.details,
        "image": answer.image,
        "image_version": answer.image_version,
    }
