"""FakeProvider: a VMProvider whose machines are rows in a file, for tests of all that stands on the contract.

    fake = FakeProvider(tmp_path)
    fake.lost_answer("create")              # the next one is made, but its caller hears an error
    ...
    assert [machine.key for machine in fake.machines()] == [vm.id]
    assert len(fake.calls("create")) == 2   # of all processes that share the folder

The truth is on disk, shared by all objects and processes on one folder, and whole after SIGKILL at any instant. Calls
and what goes wrong with them (`calls`, `slow`, `hang`, `lost_answer` …) are described at `fake_base.Fake`.
"""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import CommandResult, Endpoint, SSHEndpoint
from jupyter_rmx.providers.base import AttachOptions, ProviderSpec, ProviderStatus, ProviderVM
from jupyter_rmx.testing import fake_endpoints, fake_machines
from jupyter_rmx.testing.fake_base import MOMENTS, Fake, Probe
from jupyter_rmx.testing.fake_machines import FakeIdentity, FakeMachine, FakeSnapshot
from jupyter_rmx.testing.fake_truth import write_setting

CAPABILITIES = frozenset(
    {"pause", "resume", "snapshot", "restore", "fork", "exec", "ssh_endpoint", "revoke_identity"}
)
PROVIDER_METHODS = (
    *("create", "destroy", "status", "pause", "resume", "exec", "snapshot", "fork", "attach_endpoint"),
    *("ssh_endpoint", "revoke_identity", "list_owned", "heartbeat"),
)
"""All methods that are journaled and probed, each at all MOMENTS."""

__all__ = ["CAPABILITIES", "MOMENTS", "PROVIDER_METHODS", "FakeProvider"]


class FakeProvider(Fake):
    """Implements all of VMProvider.

    `without`: capabilities that it has not; a call of such a method is an AssertionError. `attach`: what an attach
    gives; `daemon`: whether a WebSocket one has an endpoint for calls beside the terminal. `run`: answers commands that
    `script` does not name; in this process only. Every other choice is made at run time and lies on disk.
    """

    methods = PROVIDER_METHODS

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "fake",
        without: Iterable[str] = (),
        status_is_local: bool = False,
        attach: Literal["websocket", "ssh"] = "websocket",
        daemon: bool = True,
        run: Callable[[str], CommandResult] | None = None,
        probe: Probe | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        super().__init__(folder / f"provider-{name}.sqlite3", fake_machines.SCHEMA, probe)
        assert set(without) <= CAPABILITIES, without
        self.name = name
        self.capabilities = CAPABILITIES - set(without)
        self.status_is_local = status_is_local
        self._attach = attach
        self._daemon = daemon
        self._run = run or (lambda _command: CommandResult(0, "", ""))
        self._now = now

    # --- what is really there

    def machines(self) -> list[FakeMachine]:
        """All machines that exist, of all owners, oldest first."""
        return [
            fake_machines.machine_of(row) for row in self._truth.look("SELECT * FROM machines ORDER BY rowid")
        ]

    def machine(self, key: str) -> FakeMachine | None:
        """The machine with that key or that id."""
        return next((machine for machine in self.machines() if key in (machine.key, machine.id)), None)

    def snapshots(self) -> list[FakeSnapshot]:
        """All snapshots, oldest first."""
        rows = self._truth.look("SELECT * FROM snapshots ORDER BY rowid")
        return [fake_machines.snapshot_of(row) for row in rows]

    def identities(self, *, live: bool = False) -> list[FakeIdentity]:
        """All identities that were ever made, oldest first; with `live` those that are not revoked."""
        rows = self._truth.look("SELECT * FROM identities ORDER BY rowid")
        found = [fake_machines.identity_of(row) for row in rows]
        return [identity for identity in found if not (live and identity.revoked)]

    # --- what a test makes of it

    def vanish(self, provider_vm_id: str) -> None:
        """The machine is gone, and nobody was asked."""
        with self._truth.change() as db:
            db.execute("DELETE FROM machines WHERE id = ?", (provider_vm_id,))

    def drift(self, provider_vm_id: str, status: str) -> None:
        """The machine is in another state, and nobody was asked; any text, also one that is no state."""
        with self._truth.change() as db:
            db.execute(
                "UPDATE machines SET status = ?, looks_left = NULL WHERE id = ?", (status, provider_vm_id)
            )

    def quota(self, machines: int | None) -> None:
        """Refuse the next machine once there are so many, in any state, of all owners; None: no quota.

        The error is `vm_quota_exceeded`, status 402, not to be retried. A key that has its machine is still answered.
        """
        self._set("quota", machines)

    def hide_new(self, lists: int | None) -> None:
        """Leave machines made from now on out of their owner's next `lists` answers of `list_owned`.

        None ends it, for all machines.
        """
        with self._truth.change() as db:
            write_setting(db, "hide_new", lists or None)
            if not lists:
                db.execute("UPDATE machines SET lists_left = NULL")

    def start_slowly(self, looks: int | None) -> None:
        """Machines made or started from now on are `creating` at the next `looks` looks, and running then.

        A look is a `status`, or a `list_owned` that shows it. None ends it, and starts those that wait.
        """
        with self._truth.change() as db:
            write_setting(db, "start_slowly", looks or None)
            if not looks:
                db.execute("UPDATE machines SET status = 'running', looks_left = NULL WHERE looks_left > 0")

    def reuse_rpc_tokens(self, on: bool = True) -> None:
        """Every attach of a machine gives the same token for its daemon."""
        self._set("reuse_rpc_tokens", on or None)

    def script(self, answers: Mapping[str, CommandResult | Exception], *, takes_s: float = 0.0) -> None:
        """What these commands answer or raise from now on, after `takes_s` seconds of running."""
        with self._truth.change() as db:
            for command, answer in answers.items():
                db.execute("DELETE FROM scripts WHERE command = ?", (command,))
                db.execute("INSERT INTO scripts VALUES (?, ?, ?)", (command, pickle.dumps(answer), takes_s))

    def _set(self, name: str, value: Any) -> None:
        with self._truth.change() as db:
            write_setting(db, name, value)

    def _behave(self, db: sqlite3.Connection) -> None:
        for name in ("quota", "hide_new", "start_slowly", "reuse_rpc_tokens"):
            write_setting(db, name, None)
        db.execute("UPDATE machines SET lists_left = NULL")
        db.execute("UPDATE machines SET status = 'running', looks_left = NULL WHERE looks_left > 0")

    def _needs(self, *capabilities: str) -> None:
        missing = set(capabilities) - self.capabilities
        assert not missing, f"{missing} is called, but the provider has only {sorted(self.capabilities)}"

    # --- VMProvider

    async def create(self, spec: ProviderSpec, *, key: str) -> ProviderVM:
        """Make the machine of that key, or find it; one that is `stopped` is started."""
        self._needs(*(["restore"] if spec.snapshot is not None else []))
        arguments = {**vars(spec), "key": key}
        return await self._call("create", arguments, lambda db: fake_machines.make(db, spec, key))

    async def destroy(self, provider_vm_id: str) -> None:
        """Remove it; gone already is fine. Identities stay until they are revoked."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM machines WHERE id = ?", (provider_vm_id,))

        await self._call("destroy", {"id": provider_vm_id}, work)

    async def status(self, provider_vm_id: str) -> ProviderStatus:
        """How it is now; `gone` if there is none."""
        return await self._call(
            "status", {"id": provider_vm_id}, lambda db: fake_machines.status(db, provider_vm_id)
        )

    async def pause(self, provider_vm_id: str) -> None:
        """Paused; `vm_not_running` unless it runs or is paused."""
        self._needs("pause")
        await self._call("pause", {"id": provider_vm_id}, lambda db: fake_machines.pause(db, provider_vm_id))

    async def resume(self, provider_vm_id: str) -> None:
        """Running; `vm_not_running` if it is gone."""
        self._needs("resume")
        await self._call(
            "resume", {"id": provider_vm_id}, lambda db: fake_machines.resume(db, provider_vm_id)
        )

    async def exec(self, provider_vm_id: str, command: str, *, timeout_s: float) -> CommandResult:
        """Answer as scripted; exit code 0 and no output otherwise.

        `vm_not_running` unless it runs, and then the call is never `committed`.
        """
        self._needs("exec")
        arguments = {"id": provider_vm_id, "command": command, "timeout_s": timeout_s}

        def work(db: sqlite3.Connection) -> sqlite3.Row | None:
            fake_machines.existing(db, provider_vm_id, "running")
            row: sqlite3.Row | None = db.execute(
                "SELECT * FROM scripts WHERE command = ?", (command,)
            ).fetchone()
            return row

        async def ran(row: sqlite3.Row | None) -> CommandResult:
            if row is None:
                return self._run(command)
            await asyncio.sleep(min(row["takes_s"], timeout_s))
            if row["takes_s"] > timeout_s:
                raise _timed_out(timeout_s)
            answer = pickle.loads(row["answer"])  # noqa: S301 - what a test of ours wrote
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, CommandResult)
            return answer

        return await self._call("exec", arguments, work, ran)

    async def snapshot(self, provider_vm_id: str, *, key: str, name: str | None = None) -> str:
        """The snapshot of that key."""
        self._needs("snapshot")
        arguments = {"id": provider_vm_id, "key": key, "name": name}
        return await self._call(
            "snapshot", arguments, lambda db: fake_machines.snapshot(db, provider_vm_id, key, name)
        )

    async def fork(self, provider_vm_id: str, spec: ProviderSpec, *, key: str) -> ProviderVM:
        """The machine of that key, as a copy of one that runs (`vm_not_running` otherwise)."""
        self._needs("fork")
        arguments = {"id": provider_vm_id, **vars(spec), "key": key}
        return await self._call(
            "fork", arguments, lambda db: fake_machines.fork(db, provider_vm_id, spec, key)
        )

    async def attach_endpoint(self, provider_vm_id: str, options: AttachOptions | None = None) -> Endpoint:
        """A WebSocket with a token that is new each time; or SSH, if the object was made so."""
        wanted = options or AttachOptions()

        def work(db: sqlite3.Connection) -> Endpoint:
            fake_machines.existing(db, provider_vm_id, "running")
            if self._attach == "ssh":
                if wanted.require_daemon:
                    raise fake_endpoints.no_daemon()
                return self._ssh(db, provider_vm_id, wanted.key)
            return fake_endpoints.websocket(db, provider_vm_id, wanted, daemon=self._daemon, now=self._now())

        return await self._call("attach_endpoint", {"id": provider_vm_id, **vars(wanted)}, work)

    async def ssh_endpoint(self, provider_vm_id: str, *, key: str) -> SSHEndpoint:
        """An identity of that key, which ends in 15 minutes by its endpoint."""
        self._needs("ssh_endpoint")
        arguments = {"id": provider_vm_id, "key": key}
        return await self._call("ssh_endpoint", arguments, lambda db: self._ssh(db, provider_vm_id, key))

    def _ssh(self, db: sqlite3.Connection, provider_vm_id: str, key: str) -> SSHEndpoint:
        handle, password = fake_machines.mint(db, provider_vm_id, key)
        return fake_endpoints.ssh(provider_vm_id, handle, password, self._now())

    async def revoke_identity(self, provider_vm_id: str, *, key: str, handle: str | None = None) -> None:
        """End the identity of that key; ended already, or never made, is fine, also if its machine is gone."""
        self._needs("revoke_identity")
        arguments = {"id": provider_vm_id, "key": key, "handle": handle}
        await self._call(
            "revoke_identity", arguments, lambda db: fake_machines.revoke(db, provider_vm_id, key, handle)
        )

    async def list_owned(self, owner: str) -> list[ProviderVM]:
        """All machines of `owner`; without those that `hide_new` hides."""
        return await self._call(
            "list_owned", {"owner": owner}, lambda db: fake_machines.list_owned(db, owner)
        )

    async def heartbeat(self) -> None:
        """Counted only."""
        await self._call("heartbeat", {}, lambda _db: None)

    async def aclose(self) -> None:
        """Let go of the file; machines go on."""
        self.close()


def _timed_out(timeout_s: float) -> ProviderError:
    return ProviderError(
        f"The command was not done within {timeout_s:g} seconds.",
        hint="Give it more time, or run it as a job.",
        code="vm_exec_timeout",
        status=504,
    )
