"""The VMProvider contract: the service that makes machines. It returns endpoints (data), never connections.

Laws, held by `jupyter_rmx.testing.provider_contract`:

1. `create` with the same key twice gives the same machine, also after a crash between the two calls; so do `fork`,
   `snapshot` (the same snapshot) and `ssh_endpoint` (one identity).
2. The provider keeps the key with the machine, so that `list_owned` finds machines whose row was lost.
3. `status` is read from the machine itself, never remembered.
4. `destroy` and `revoke_identity` are repeatable: what is gone already is success.
5. A machine that is `stopped` has ended but is kept: `resume` (or `create` with its key) starts it again, with its disk
   as it was. What is `gone` is gone.
6. Every failure is a ProviderError with a code and a hint; nothing half-made is left behind by a call that raised, but
   the caller does not rely on it: an answer may be lost on its way.
7. A call that needs a running machine raises ProviderError `vm_not_running` where it is not, and has done nothing then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from jupyter_rmx.models import CommandResult, Endpoint, SSHEndpoint
from jupyter_rmx.settings import Settings

ProviderStatus = Literal["creating", "running", "paused", "stopped", "gone"]


@dataclass(frozen=True)
class ProviderSpec:
    """What a provider is asked to make. `name` is for people and the host name; `image` None is its default.

    `owner` is whose it is. `snapshot` is an id that `snapshot` returned: the machine starts as a copy of it.
    """

    name: str
    owner: str
    image: str | None = None
    snapshot: str | None = None


@dataclass(frozen=True)
class ProviderVM:
    """A machine as its provider knows it; `key` is our VM id that `create` was given."""

    provider_vm_id: str
    key: str
    name: str
    owner: str
    status: ProviderStatus
    image: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    image_version: str | None = None


@dataclass(frozen=True)
class AttachOptions:
    """What an attach asks for. `key` is our lease id; with `require_daemon` an endpoint without one is an error.

    `session_id` and `attachment_id` are the caller's own names of its session there, None for new ones.
    """

    key: str = ""
    require_daemon: bool = False
    session_id: str | None = None
    attachment_id: str | None = None


class VMProvider(Protocol):
    """A service that makes machines."""

    name: str
    capabilities: frozenset[str]
    """Names of the optional methods that this provider has: `pause`, `resume`, `snapshot`, `restore` (which is `create`
    with a snapshot), `fork`, `exec`, `ssh_endpoint`, `revoke_identity`. A method that is not named is never called."""
    status_is_local: bool
    """True where `status` costs nothing (no network): lists then show it as it is at this moment."""

    async def create(self, spec: ProviderSpec, *, key: str) -> ProviderVM:
        """Make a machine that is ready for `attach_endpoint`; `key` is our VM id."""
        ...

    async def destroy(self, provider_vm_id: str) -> None:
        """End it and remove all of it."""
        ...

    async def status(self, provider_vm_id: str) -> ProviderStatus:
        """How it is now; `gone` if there is none."""
        ...

    async def pause(self, provider_vm_id: str) -> None:
        """Freeze all its processes."""
        ...

    async def resume(self, provider_vm_id: str) -> None:
        """Let them go on; start it if it is `stopped`."""
        ...

    async def exec(self, provider_vm_id: str, command: str, *, timeout_s: float) -> CommandResult:
        """Run one command by the provider's own means, to its end.

        ProviderError `vm_exec_timeout` if it is not done in time; an answer without an exit code is an error, never 0.
        """
        ...

    async def snapshot(self, provider_vm_id: str, *, key: str, name: str | None = None) -> str:
        """Keep a copy of its disk (of the embedded one: the home); return the snapshot's id.

        `restore` is `create` with `ProviderSpec.snapshot`.
        """
        ...

    async def fork(self, provider_vm_id: str, spec: ProviderSpec, *, key: str) -> ProviderVM:
        """Make a machine that goes on as a copy of this one, memory included where the provider can."""
        ...

    async def attach_endpoint(self, provider_vm_id: str, options: AttachOptions | None = None) -> Endpoint:
        """How to reach it, by whatever the provider does best."""
        ...

    async def ssh_endpoint(self, provider_vm_id: str, *, key: str) -> SSHEndpoint:
        """How to reach it by SSH, with an identity made for this call; `key` is our lease id."""
        ...

    async def revoke_identity(self, provider_vm_id: str, *, key: str, handle: str | None = None) -> None:
        """End the identity that was made under that lease id; `handle` is what its endpoint carried, None if not known."""
        ...

    async def list_owned(self, owner: str) -> list[ProviderVM]:
        """All machines of `owner`, found at the provider itself."""
        ...

    async def heartbeat(self) -> None:
        """Say that a Jupyter of this user is alive; called about every minute."""
        ...

    async def aclose(self) -> None:
        """Let go of what this object holds; machines go on."""
        ...


class ProviderFactory(Protocol):
    """What an entry point of the group `jupyter_rmx.providers` names: a class or function."""

    def __call__(self, settings: Settings) -> VMProvider:
        """A provider; must not do I/O."""
        ...
