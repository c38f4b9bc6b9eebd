"""The VMProvider contract: the service that makes machines. It returns endpoints (data), never connections.

Laws, held by `jupyter_rmx.testing.provider_contract`:

1. `create` with the same key twice gives the same machine, also after a crash between the two calls.
2. The provider keeps the key with the machine, so that `list_owned` finds machines whose row was lost.
3. `status` is read from the machine itself, never remembered.
4. `destroy` is repeatable: what is gone already is success.
5. A machine that `list_owned` still lists as `gone` is started again by `create` with its key, with its disk as it was.
6. Every failure is a ProviderError with a code and a hint; nothing half-made is left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from jupyter_rmx.models import Endpoint
from jupyter_rmx.settings import Settings

ProviderStatus = Literal["creating", "running", "paused", "gone"]


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


class VMProvider(Protocol):
    """A service that makes machines."""

    name: str
    capabilities: frozenset[str]
    """Names of the optional methods that this provider has: `pause`, `resume`, `snapshot`, `restore`."""

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
        """Let them go on."""
        ...

    async def snapshot(self, provider_vm_id: str, *, name: str | None = None) -> str:
        """Keep a copy of its disk (of the embedded one: the home); return the snapshot's id.

        `restore` is `create` with `ProviderSpec.snapshot`.
        """
        ...

    async def attach_endpoint(self, provider_vm_id: str) -> Endpoint:
        """How to reach it; ProviderError `vm_not_running` if it is gone or paused."""
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
