"""The service that every face calls.

It is implemented by `manager.py` in the process that owns the connections, and by `client.py`, its HTTP twin,
everywhere else. All methods raise errors of `errors.py` only. Machines are named by their name or their id.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

from jupyter_rmx.models import VM, ExecEvent, ExecSpec, FileResult, PortLink, SignalName, VMSpec


class ExecSession(Protocol):
    """One running command.

    Iterating gives `Output` values as they arrive and one `Exit` last; a link that breaks raises TransportError.
    The consumer's pace is passed on to the machine: nothing is read ahead without limit.
    """

    def __aiter__(self) -> AsyncIterator[ExecEvent]:
        """The output, then the exit."""
        ...

    async def signal(self, name: SignalName) -> None:
        """Send a signal to the remote process group; raise TransportError `ssh_no_answer` if the link does not answer."""
        ...

    async def write(self, data: bytes) -> None:
        """Send `data` to the command's standard input."""
        ...

    async def write_eof(self) -> None:
        """Close the command's standard input."""
        ...

    async def aclose(self) -> None:
        """Let go; a command that still runs gets SIGHUP (its group), as when an SSH client goes away."""
        ...


class RemoteMachines(Protocol):
    """Machines of one owner."""

    async def create(self, spec: VMSpec, *, key: str) -> VM:
        """Make a machine, or return the one that `key` or the same name and parameters already made.

        Raises UsageError `usage_bad_name`, `vm_invalid_provider`; WorkflowError `vm_name_taken`,
        `idempotency_mismatch` (422); ProviderError.
        """
        ...

    async def get(self, machine: str) -> VM:
        """The machine; WorkflowError `vm_not_found` (404) otherwise."""
        ...

    async def list(self) -> list[VM]:
        """All machines of the owner, newest first, with their status as it is now."""
        ...

    async def destroy(self, machine: str) -> None:
        """End the machine and remove everything of it; `vm_not_found` if there is none."""
        ...

    async def exec(self, machine: str, spec: ExecSpec) -> ExecSession:
        """Start a command."""
        ...

    async def open_port(
        self, machine: str, port: int, *, path: str = "/", origin: str | None = None
    ) -> PortLink:
        """Mint a single-use ticket for a loopback port; nothing need listen there yet.

        `origin` is the origin of the Jupyter page as the browser sees it, such as `http://localhost:8888`.
        """
        ...

    async def upload(
        self,
        machine: str,
        remote_path: str,
        chunks: AsyncIterable[bytes],
        *,
        size: int,
        mode: int | None = None,
        mtime: float | None = None,
    ) -> FileResult:
        """Write one regular file of `size` bytes, streamed; it appears under `remote_path` whole or not at all.

        A relative path starts at the home directory; `mode` are permission bits, `mtime` seconds since 1970.
        """
        ...

    async def aclose(self) -> None:
        """Let go of all connections."""
        ...
