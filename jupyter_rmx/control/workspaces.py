"""Workspaces: which hosts the user has attached, under which names. Rows only; connections are made elsewhere.

Laws
1. A host that is reached in the same way (its transport key) is one workspace, whoever asks, and in whatever words.
2. A name is unique over workspaces and VMs that live; whoever gives one holds the owner's lock.
3. A workspace whose first connection fails is forgotten again: a slip of the pen leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from jupyter_rmx.control import failures
from jupyter_rmx.control.context import Context
from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import STARTUP_MAX, Machine, SSHTarget, Workspace, check_machine_name, new_id
from jupyter_rmx.models.names import MACHINE_NAME_MAX
from jupyter_rmx.ssh.key import transport_key
from jupyter_rmx.ssh.options import durable_target
from jupyter_rmx.ssh.target import slug
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.store.store import Transaction

MEMORY_S = 2.0
"""How long a row that was found is taken for true: each command asks for it, and another Jupyter rarely changes it."""
KNOWN_MAX = 1000
ALL = 100_000


@lru_cache(maxsize=KNOWN_MAX)
def _key(target: SSHTarget, home: str) -> str:
    # Asked for by each command.
    return transport_key(target, home=home)


class Workspaces:
    """The workspaces of `settings.owner`. `home` is the user's home directory, for `~` in paths of keys."""

    def __init__(self, context: Context, home: str) -> None:
        self._context = context
        self._home = home
        self._known: dict[str, tuple[float, Workspace]] = {}

    def key_of(self, target: SSHTarget) -> str:
        """The transport key: equal for targets that one connection serves (vectors ssh.json)."""
        return _key(target, self._home)

    # -- looking ------------------------------------------------------------------------------------------------

    async def find(self, machine: str) -> Workspace | None:
        """The workspace of that name or id; may be `MEMORY_S` behind what another Jupyter did."""
        now = self._context.clock.monotonic()
        seen = self._known.get(machine)
        if seen is not None and now - seen[0] < MEMORY_S:
            return seen[1]
        async with self._context.store.read() as tx:
            found = await tx.workspaces.find(self._context.owner, machine)
        if found is None:
            self._known.pop(machine, None)
            return None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[machine] = (now, found)
        return found

    async def all(self) -> list[Workspace]:
        """All of them, newest first."""
        async with self._context.store.read() as tx:
            return await tx.workspaces.page(self._context.owner, limit=ALL)

    # -- changing -----------------------------------------------------------------------------------------------

    async def attach(
        self, target: SSHTarget, *, name: str | None = None, startup: str | None = None
    ) -> Workspace:
        """The workspace of that target: the one there is (law 1), or a new row.

        UsageError `usage_bad_name`, `usage_bad_startup`; WorkflowError `vm_name_taken`, `ssh_has_a_name`.
        """
        if name is not None:
            check_machine_name(name)
        check_startup(startup)
        context, target = self._context, durable_target(target, home=self._home)
        key = self.key_of(target)
        await context.store.hold_reserve()
        async with context.store.write() as tx:
            await tx.lock_owner(context.owner)
            known = await tx.workspaces.by_key(context.owner, key)
            if known is not None:
                return await self._again(tx, known, name, startup)
            made = Workspace(
                id=new_id("ws"),
                name=await self._name(tx, target, name),
                owner=context.owner,
                target=target,
                created_at=context.clock.now(),
                startup=startup or None,
            )
            if not await tx.workspaces.insert(made, key=key):
                raise failures.busy(made.name, "being attached by another Jupyter")
            self._tell(tx, made, "attached")
        self._known.clear()
        return made

    async def _again(
        self, tx: Transaction, known: Workspace, name: str | None, startup: str | None
    ) -> Workspace:
        if name is not None and name != known.name:
            raise failures.has_a_name(known)
        return await self._start_with(tx, known, startup)

    async def with_startup(self, workspace: Workspace, startup: str | None) -> Workspace:
        """Change what its terminals run first; None leaves it as it is, blank takes it away."""
        check_startup(startup)
        if startup is None:
            return workspace
        async with self._context.store.write() as tx:
            return await self._start_with(tx, workspace, startup)

    async def _start_with(self, tx: Transaction, known: Workspace, startup: str | None) -> Workspace:
        if startup is None or (startup or None) == known.startup:
            return known
        await tx.workspaces.change(known.id, {"startup": startup or None})
        self._known.clear()
        return replace(known, startup=startup or None)

    async def _name(self, tx: Transaction, target: SSHTarget, wanted: str | None) -> str:
        if wanted is not None:
            await self._refuse_taken(tx, wanted)
            return wanted
        base = slug(target)
        name, number = base, 1
        while await self._holder(tx, name) is not None:
            number += 1
            tail = f"-{number}"
            name = base[: MACHINE_NAME_MAX - len(tail)].rstrip("-") + tail
        return name

    async def _refuse_taken(self, tx: Transaction, name: str) -> None:
        other = await self._holder(tx, name)
        if other is not None:
            raise failures.name_in_use(other)

    async def _holder(self, tx: Transaction, name: str) -> Machine | None:
        record = await tx.machines.find(self._context.owner, name)
        return record.vm if record is not None else await tx.workspaces.find(self._context.owner, name)

    async def rename(self, workspace: Workspace, name: str) -> Workspace:
        """Give it another name; UsageError `usage_bad_name`, WorkflowError `vm_name_taken`, `vm_not_found`."""
        check_machine_name(name)
        if workspace.name == name:
            return workspace
        context = self._context
        async with context.store.write() as tx:
            await tx.lock_owner(context.owner)
            await self._refuse_taken(tx, name)
            if not await tx.workspaces.change(workspace.id, {"name": name}):
                raise failures.not_found(workspace.name)
            renamed = replace(workspace, name=name)
            self._tell(tx, renamed, "attached")
        self._known.clear()
        return renamed

    async def connected(self, workspace: Workspace) -> None:
        """Somebody got in: from now on it stays until it is detached."""
        async with self._context.store.write() as tx:
            await tx.workspaces.connected(workspace.id, self._context.clock.now())

    async def forget(self, workspace: Workspace, *, only_untried: bool = False) -> bool:
        """Remove the row; False if it is gone, or with `only_untried` if somebody got in before (law 3)."""
        async with self._context.store.write() as tx:
            gone = await tx.workspaces.remove(workspace.id, only_untried=only_untried)
            if gone:
                self._tell(tx, workspace, "detached")
        self._known.clear()
        return gone

    def _tell(self, tx: Transaction, workspace: Workspace, status: str) -> None:
        data = {"workspace_id": workspace.id, "kind": "workspace", "status": status}
        now = self._context.clock.now()
        tx.events.add(NewEvent(workspace.owner, "machine.state", now, workspace.id, workspace.name, data))


def check_startup(startup: str | None) -> None:
    """UsageError `usage_bad_startup` for a command that no terminal could run."""
    if startup is not None and (len(startup) > STARTUP_MAX or not startup.replace("\t", " ").isprintable()):
        raise UsageError(
            "The command for terminals is not usable.",
            hint=f"It is one line of at most {STARTUP_MAX} printable characters.",
            code="usage_bad_startup",
            details={"field": "startup"},
        )
