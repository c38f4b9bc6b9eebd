"""The Transport contract.

Every implementation maps foreign exceptions to TransportError (`ssh_…`) or TransferError (`transfer_…`). Everything
that is opened is closed by its `aclose()`; a transport's `aclose()` ends all that it opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Literal, Protocol

from jupyter_rmx.models import (
    ExecEvent,
    ExecSpec,
    Exit,
    FileResult,
    Prompt,
    PtySpec,
    SignalName,
    TcpTarget,
)

Capability = Literal["exec", "pty", "tcp", "unix", "sftp", "ports", "jobs"]
TransportState = Literal["ready", "closed"]


class ByteStream(Protocol):
    """A two-way stream of bytes with half-close and back-pressure (`write` waits while the peer does not read)."""

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes; empty at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; waits while the buffer is full."""
        ...

    async def write_eof(self) -> None:
        """Half-close: no more will be written."""
        ...

    async def aclose(self) -> None:
        """Close both ways, at once."""
        ...


class Process(Protocol):
    """A command on the machine. Output not read stops the command, it is never dropped."""

    def events(self) -> AsyncIterator[ExecEvent]:
        """Output in order of arrival, then one Exit; TransportError `ssh_connection_lost` if the link breaks first."""
        ...

    async def signal(self, name: SignalName) -> None:
        """Signal the whole process group there."""
        ...

    async def write(self, data: bytes) -> None:
        """Send to standard input; waits while the command does not read."""
        ...

    async def write_eof(self) -> None:
        """Close standard input."""
        ...

    async def aclose(self) -> None:
        """Let go; a command that still runs gets SIGHUP."""
        ...


class Pty(Protocol):
    """A pseudo-terminal on the machine."""

    async def read(self, limit: int = 65536) -> bytes:
        """What the terminal shows next; empty when it ended."""
        ...

    async def write(self, data: bytes) -> None:
        """Keys typed."""
        ...

    async def resize(self, cols: int, rows: int) -> None:
        """Tell the terminal its size in characters."""
        ...

    async def wait(self) -> Exit:
        """How the shell ended."""
        ...

    async def aclose(self) -> None:
        """Hang up."""
        ...


class RemoteFiles(Protocol):
    """Files on the machine."""

    async def put(
        self,
        remote_path: str,
        chunks: AsyncIterable[bytes],
        *,
        size: int,
        mode: int | None = None,
        mtime: float | None = None,
    ) -> FileResult:
        """Write `chunks` under a temporary name beside `remote_path`, then rename.

        On any error the temporary file is removed and `remote_path` is as it was. Raises TransferError
        `transfer_disk_full`, `transfer_no_such_folder`, `transfer_denied`, `transfer_is_folder`,
        `transfer_size_mismatch`.
        """
        ...


class Asker(Protocol):
    """Whoever can put a server's questions to a person while a connection is made."""

    async def ask(self, title: str, instructions: str, prompts: Sequence[Prompt]) -> list[str] | None:
        """One answer for each prompt, in order; None if nobody answers or the person gives up.

        No prompts: there is something to read or to do only (touch a security key); the call may then be cancelled as
        soon as it is done. Answers are secrets: they are sent to the server and forgotten.
        """
        ...


class Transport(Protocol):
    """A live connection to one machine."""

    key: str
    capabilities: frozenset[Capability]

    @property
    def state(self) -> TransportState:
        """`closed` once the link is known to be gone."""
        ...

    async def run(self, spec: ExecSpec) -> Process:
        """Start a command."""
        ...

    async def pty(self, spec: PtySpec) -> Pty:
        """Open a pseudo-terminal."""
        ...

    async def dial(self, target: TcpTarget) -> ByteStream:
        """Connect from the machine to `target`; TransportError `ssh_port_refused` if nothing listens there."""
        ...

    def files(self) -> RemoteFiles:
        """Files on the machine."""
        ...

    async def aclose(self) -> None:
        """Close."""
        ...
