"""Attach-endpoint and ssh-endpoint: a lease, a mint, and the end of older identities.

| step       | what is done                                     | undone by, also after a kill         |
| ---------- | ------------------------------------------------ | ------------------------------------ |
| (begin)    | leases are written, without a token              |                                      |
| mint       | the provider gives an endpoint; its hash is kept | identity ended under the lease's id  |
| revoke_old | older SSH identities of the machine are ended    | (a failure blocks nobody: law 2)     |
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jupyter_rmx.control import failures
from jupyter_rmx.control.context import Context
from jupyter_rmx.control.leases import SSH_LEASE, Leases
from jupyter_rmx.control.steps import Run, Step, Workflow
from jupyter_rmx.models import (
    Endpoint,
    Lease,
    LeaseKind,
    OperationKind,
    SSHEndpoint,
    WebSocketEndpoint,
    new_id,
)
from jupyter_rmx.providers.base import AttachOptions
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction

UNKNOWN_END = timedelta(hours=12)
"""When a lease ends whose provider does not say: the longest that a reusable token of the reference lives."""


class EndpointFlow:
    """The workflows that give out a way to a machine."""

    def __init__(self, context: Context, leases: Leases) -> None:
        self._context = context
        self._leases = leases
        kinds: tuple[OperationKind, ...] = ("attach_endpoint", "ssh_endpoint")
        for kind in kinds:
            context.engine.add(
                Workflow(
                    kind,
                    (
                        Step("mint", self._mint, after=self._keep, undo=self._revoke_new),
                        Step("revoke_old", self._revoke_old, after_kill="again", skip=_no_identity),
                    ),
                    begin=self._begin,
                    finish=self._finish,
                    failed=self._failed,
                )
            )

    async def issue(
        self, kind: OperationKind, record: MachineRecord, options: AttachOptions | None = None
    ) -> Endpoint:
        """A fresh endpoint of a running machine."""
        gateway = self._context.gateway(record.vm.provider)
        if kind == "ssh_endpoint":
            gateway.need("ssh_endpoint")
        vm = record.vm
        data = {
            "machine": vm.name,
            "provider": vm.provider,
            "provider_vm_id": vm.provider_vm_id,
            "lease": new_id("lease"),
        }
        memory = {"options": options or AttachOptions()}
        run = await self._context.engine.run(Run(new_id("op"), kind, vm.owner, vm.id, data, memory))
        endpoint: Endpoint = run.memory["endpoint"]
        return endpoint

    async def _begin(self, tx: Transaction, run: Run) -> None:
        # `identity` is not known yet; it counts as one until the answer says otherwise.
        gateway = self._context.gateway(run.data["provider"])
        # In the order in which these transactions are: of two at once the later ends the earlier, never both each other.
        run.data["older"] = [lease.id for lease in await tx.leases.identities(run.vm_id)]
        await tx.leases.insert(
            Lease(
                run.data["lease"],
                run.vm_id,
                run.owner,
                "ssh",
                self._context.clock.now(),
                identity=gateway.has("revoke_identity"),
            )
        )

    async def _mint(self, run: Run) -> None:
        gateway = self._context.gateway(run.data["provider"])
        id_, lease = run.data["provider_vm_id"] or "", run.data["lease"]
        options: AttachOptions = run.memory["options"]
        if run.kind == "ssh_endpoint":
            endpoint: Endpoint = await gateway.ssh_endpoint(id_, key=lease)
        else:
            wanted = AttachOptions(lease, options.require_daemon, options.session_id, options.attachment_id)
            endpoint = await gateway.attach_endpoint(id_, wanted)
        run.memory["endpoint"] = endpoint
        run.data["identity"] = isinstance(endpoint, SSHEndpoint) and endpoint.identity_handle is not None

    async def _keep(self, tx: Transaction, run: Run) -> None:
        endpoint: Endpoint = run.memory["endpoint"]
        lease = await tx.leases.get(run.data["lease"])
        if lease is None or lease.revoked_at is not None:
            # The machine is being destroyed, or all leases were revoked, while the provider answered.
            raise failures.busy(run.data["machine"], "being ended, or its endpoints revoked,")
        if isinstance(endpoint, SSHEndpoint):
            await self._keep_ssh(tx, lease, endpoint)
            return
        await self._keep_websocket(tx, lease, "pty", endpoint)
        if endpoint.daemon is not None:
            daemon = Lease(new_id("lease"), run.vm_id, run.owner, "rpc", self._context.clock.now())
            await tx.leases.insert(daemon)
            await self._keep_websocket(tx, daemon, "rpc", endpoint.daemon)

    async def _keep_ssh(self, tx: Transaction, lease: Lease, endpoint: SSHEndpoint) -> None:
        now = self._context.clock.now()
        values: dict[str, Any] = {
            "identity": endpoint.identity_handle is not None,
            "identity_handle": endpoint.identity_handle,
            "expires_at": endpoint.expires_at
            or now + (SSH_LEASE if endpoint.identity_handle else UNKNOWN_END),
        }
        await tx.leases.change(lease.id, values)
        await self._leases.keep_token(tx, lease, endpoint.password or endpoint.client_key or lease.id)

    async def _keep_websocket(
        self, tx: Transaction, lease: Lease, kind: LeaseKind, endpoint: WebSocketEndpoint
    ) -> None:
        values = {
            "kind": kind,
            "identity": False,
            "session_id": endpoint.session_id[:128],
            "expires_at": endpoint.expires_at,
        }
        await tx.leases.change(lease.id, values)
        kept = Lease(lease.id, lease.vm_id, lease.owner, kind, lease.created_at)
        holder = await self._leases.keep_token(tx, kept, endpoint.token)
        if holder != lease.id:
            await tx.leases.change(holder, values)

    async def _revoke_new(self, run: Run) -> None:
        gateway = self._context.gateway(run.data["provider"])
        await gateway.revoke_identity(run.data["provider_vm_id"] or "", key=run.data["lease"], handle=None)

    async def _failed(self, tx: Transaction, run: Run) -> None:
        await tx.leases.change(run.data["lease"], {"revoked_at": self._context.clock.now()})

    async def _revoke_old(self, run: Run) -> None:
        failed = await self._leases.revoke_all_of(
            run.vm_id,
            run.data["provider"],
            run.data["provider_vm_id"],
            only=run.data["older"],
        )
        run.data["revocations_pending"] = failed

    async def _finish(self, tx: Transaction, run: Run) -> None:
        record = await tx.machines.get(run.vm_id)
        if record is None:
            return
        endpoint: Endpoint | None = run.memory.get("endpoint")
        data: dict[str, Any] = {"revocations_pending": run.data.get("revocations_pending", 0)}
        if run.kind == "ssh_endpoint":
            self._context.tell_use(tx, record.vm, "vm.ssh_endpoint", data, once=run.id)
            return
        options: AttachOptions | None = run.memory.get("options")
        data |= {
            "transport": "ssh" if isinstance(endpoint, SSHEndpoint) else "websocket",
            "require_daemon": bool(options and options.require_daemon),
            "daemon_available": bool(isinstance(endpoint, WebSocketEndpoint) and endpoint.daemon),
        }
        self._context.tell_use(tx, record.vm, "vm.attach", data, once=run.id)


def _no_identity(run: Run) -> bool:
    # Before the mint is done it is not known; the engine asks again when it gets there.
    return not run.data.get("identity", False)
