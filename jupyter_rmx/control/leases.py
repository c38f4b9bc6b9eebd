"""Leases: which endpoints were given out, and the end of the identities behind them.

Laws
1. A lease is written down before its provider is asked, so an identity whose answer was lost can still be ended: the
   provider knows it by the lease's id.
2. A new identity works before the old one is ended. An end that fails blocks nobody: it is written down, shown, and
   tried again (`retry_at`), also after the machine is gone.
3. Of a token only the SHA-256 is kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from datetime import timedelta

from jupyter_rmx.control.context import Context
from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import Lease
from jupyter_rmx.store.store import Transaction

log = logging.getLogger(__name__)

RETRY = timedelta(minutes=10)
SSH_LEASE = timedelta(minutes=15)
ERROR_LENGTH = 240
SWEEP_BATCH = 20


def token_hash(token: str) -> str:
    """How a token is kept: SHA-256 as hex."""
    return hashlib.sha256(token.encode()).hexdigest()


class Leases:
    """Ends identities."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def revoke(self, lease: Lease, provider: str, provider_vm_id: str | None) -> bool:
        """End one identity; False if it failed, which is written down."""
        try:
            await self._context.gateway(provider).revoke_identity(
                provider_vm_id or "", key=lease.id, handle=lease.identity_handle
            )
        except RmxError as error:
            log.warning("Identity of lease %s could not be revoked yet: %s", lease.id, error)
            await self._write(lease, error)
            return False
        await self._write(lease, None)
        return True

    async def _write(self, lease: Lease, error: RmxError | None) -> None:
        now = self._context.clock.now()
        values: dict[str, object] = {"revoked_at": now, "retry_at": None, "last_error": None}
        if error is not None:
            values = {
                "retry_at": now + RETRY,
                "attempts": lease.attempts + 1,
                "last_error": error.message[:ERROR_LENGTH],
            }
        async with self._context.store.write() as tx:
            await tx.leases.change(lease.id, values)

    async def revoke_all_of(
        self,
        vm_id: str,
        provider: str,
        provider_vm_id: str | None,
        *,
        only: Collection[str] | None = None,
    ) -> int:
        """End all identities of a machine, or those of these leases whose token was given out.

        Returns how many could not be ended yet. One that is being minted is left alone where `only` is given.
        """
        async with self._context.store.read() as tx:
            found = await tx.leases.identities(vm_id)
        if only is not None:
            found = [lease for lease in found if lease.id in only and lease.token_hash is not None]
        failed = 0
        for lease in found:
            failed += not await self.revoke(lease, provider, provider_vm_id)
        return failed

    async def sweep(self) -> int:
        """End identities that have expired, or whose end failed and is due again; how many were tried."""
        context = self._context
        now = context.clock.now()
        async with context.store.write() as tx:
            due = await tx.leases.to_revoke(context.owner, now, ahead=2 * RETRY, limit=SWEEP_BATCH)
            for lease in due:  # taken: another reconciler leaves them alone for as long
                await tx.leases.change(lease.id, {"retry_at": now + RETRY})
            machines = {lease.vm_id: await tx.machines.get(lease.vm_id) for lease in due}
        for lease in due:
            record = machines[lease.vm_id]
            if record is not None:
                await self.revoke(lease, record.vm.provider, record.vm.provider_vm_id)
            else:  # its machine was forgotten long ago, and with it who could end the identity
                async with context.store.write() as tx:
                    await tx.leases.change(lease.id, {"revoked_at": now, "retry_at": None})
        return len(due)

    async def revoke_everything(self) -> tuple[int, int]:
        """End all leases of the owner: (how many were ended, how many could not be yet)."""
        context = self._context
        now = context.clock.now()
        async with context.store.write() as tx:
            live = await tx.leases.live(context.owner)
            machines = {lease.vm_id: await tx.machines.get(lease.vm_id) for lease in live}
            for lease in live:
                if not lease.identity:
                    await tx.leases.change(lease.id, {"revoked_at": now})
        ended = sum(not lease.identity for lease in live)
        failed = 0
        for lease in live:
            record = machines[lease.vm_id]
            if not lease.identity or record is None:
                continue
            if await self.revoke(lease, record.vm.provider, record.vm.provider_vm_id):
                ended += 1
            else:
                failed += 1
        return ended, failed

    async def keep_token(self, tx: Transaction, lease: Lease, token: str) -> str:
        """Write the token's hash; a token that was given out before keeps its first lease, and this one is dropped.

        Returns the id of the lease that holds it. The same token for another machine or owner is an error.
        """
        hashed = token_hash(token)
        known = await tx.leases.by_token(hashed)
        if known is None or known.id == lease.id:
            await tx.leases.change(lease.id, {"token_hash": hashed})
            return lease.id
        if (known.vm_id, known.owner, known.kind) != (lease.vm_id, lease.owner, lease.kind):
            raise RmxError(
                "A provider gave the same token for two machines.",
                hint="This is a fault of the provider or its driver; nothing was given out.",
                code="vm_token_reused",
                status=502,
            )
        await tx.leases.remove(lease.id)
        return known.id
