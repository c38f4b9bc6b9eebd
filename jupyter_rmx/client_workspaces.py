"""The part of `client.py` that is about workspaces: attach, what is asked meanwhile, detach, and what could be attached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from jupyter_rmx.models import Attached, SSHHost, Workspace


class Asks(Protocol):
    """What these calls need of the client."""

    async def _ask(
        self, method: str, path: str, *, slow: bool | float = False, **request: Any
    ) -> dict[str, Any]:
        """One request; the answer's JSON object, or the error that it carries."""
        ...


class WorkspaceCalls(Asks):
    """Those methods of `service.RemoteMachines`."""

    async def attach(
        self, target: str, *, name: str | None = None, startup: str | None = None, force_ssh: bool = False
    ) -> Attached:
        """See `service.RemoteMachines.attach`."""
        body = {"target": target, "name": name, "startup": startup, "force_ssh": force_ssh}
        return Attached.from_wire(await self._ask("POST", "workspaces", json=body, slow=True))

    async def answer(self, question_id: str, answers: Sequence[str] | None) -> Attached:
        """See `service.RemoteMachines.answer`; the answers travel in the body and nowhere else."""
        body = {"answers": list(answers) if answers is not None else None}
        way = f"questions/{quote(question_id, safe='')}"
        return Attached.from_wire(await self._ask("POST", way, json=body, slow=True))

    async def detach(self, machine: str) -> None:
        """See `service.RemoteMachines.detach`."""
        await self._ask("DELETE", f"workspaces/{quote(machine, safe='')}", slow=True)

    async def workspaces(self) -> Sequence[Workspace]:
        """See `service.RemoteMachines.workspaces`."""
        return [Workspace.from_wire(wire) for wire in (await self._ask("GET", "workspaces"))["workspaces"]]

    async def ssh_hosts(self) -> Sequence[SSHHost]:
        """See `service.RemoteMachines.ssh_hosts`."""
        hosts = (await self._ask("GET", "ssh-hosts"))["hosts"]
        return [SSHHost(wire["name"], wire["source"]) for wire in hosts]
