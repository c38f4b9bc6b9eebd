"""The service that every face calls.

It is implemented by `manager.py` in the process that owns the connections, and by `client.py`, its HTTP twin,
everywhere else. All methods raise errors of `errors.py` only. Machines are named by their name or their id.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from jupyter_rmx.models import (
    VM,
    Attached,
    CommandResult,
    Endpoint,
    Event,
    ExecEvent,
    ExecSpec,
    FileResult,
    Machine,
    Operation,
    PortLink,
    SignalName,
    Snapshot,
    SSHEndpoint,
    SSHHost,
    VMSpec,
    Workspace,
)

PAGE_LIMIT = 100
"""How many machines a page has unless another number is asked for, and `PAGE_MAX` at most."""
PAGE_MAX = 1000
CURSOR = r"[0-9]{1,16}-[A-Za-z0-9_]{1,64}"
"""What a cursor looks like: microseconds since 1970, and an id. Callers send it back as it came."""


@dataclass(frozen=True)
class MachinePage:
    """Some machines, newest first; `next` is the cursor of the page after it, None at the end.

    A page may hold fewer machines than were asked for, and others may still follow.
    """

    machines: list[Machine]
    next: str | None = None


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
    """Machines of one owner: VMs, which providers make, and workspaces, which are hosts that the user already has.

    What has a lifecycle (`pause resume snapshot fork destroy attach_endpoint ssh_endpoint`) is for VMs; a workspace
    raises ProviderError `vm_unsupported` (501). Everything else takes both.
    """

    async def create(self, spec: VMSpec, *, key: str | None = None) -> VM:
        """Make a machine, or return the one that `key` or the same name and parameters already made.

        Raises UsageError `usage_bad_name`, `vm_invalid_provider`; WorkflowError `vm_name_taken`,
        `idempotency_mismatch` (422), `vm_active_limit_exceeded` (402), `vm_create_in_progress` (409; the HTTP twin
        waits and asks again); ProviderError.
        """
        ...

    async def attach(
        self, target: str, *, name: str | None = None, startup: str | None = None, force_ssh: bool = False
    ) -> Attached:
        """Connect to a machine, and keep it connected; it is ready unless a question is there to be answered.

        `target` is the name of a VM, which is resumed if it is paused; or of a workspace; or else an SSH destination as
        a person has it: a `Host` of ssh_config, `[user@]host[:port]`, `ssh://…`, or a whole `ssh …` command line. Such
        a host is a workspace from then on: the one that is reached in the very same way, or a new one, named `name` or
        after the host. `ssh:…`, or `force_ssh`: an SSH destination, even if a machine has that name. `startup` is a
        command that the terminals of the workspace run first.

        With `Attached.question`, the server wants an answer and waits for `answer`, for two minutes at most.
        UsageError `usage_bad_target`, `usage_bad_name`, `usage_bad_startup`; WorkflowError `vm_name_taken`,
        `ssh_has_a_name` (409, the host is attached under another name); TransportError. A workspace that nobody ever got
        into is forgotten when its attempt fails.
        """
        ...

    async def answer(self, question_id: str, answers: Sequence[str] | None) -> Attached:
        """Answer a question, one text for each of its prompts; None gives up.

        Returns the ready machine, or the next question; after giving up, the machine as it was, not connected.
        WorkflowError `ssh_no_such_question` (404) if it was answered, given up or is too old; UsageError
        `usage_bad_answers` for another number of texts; TransportError. The answers are neither kept nor logged.
        """
        ...

    async def detach(self, machine: str) -> None:
        """Let go of the connection to a machine. A workspace is forgotten, too; nothing is changed on its host."""
        ...

    async def workspaces(self) -> Sequence[Workspace]:
        """All workspaces of the owner, newest first, with the state of their connections."""
        ...

    async def ssh_hosts(self) -> Sequence[SSHHost]:
        """The hosts of the user's ssh_config that could be attached; empty where there is none."""
        ...

    async def get(self, machine: str) -> Machine:
        """The machine; WorkflowError `vm_not_found` (404) otherwise."""
        ...

    async def list(self) -> list[Machine]:
        """All machines of the owner, newest first, with their status as it is now."""
        ...

    async def page(self, *, limit: int = PAGE_LIMIT, cursor: str | None = None) -> MachinePage:
        """Some of them; UsageError `vm_invalid_request` for a limit out of 1 to 1000, or a cursor that is none of ours."""
        ...

    async def rename(self, machine: str, name: str) -> Machine:
        """Give it another name; its id stays. WorkflowError `vm_name_taken`."""
        ...

    async def pause(self, machine: str) -> VM:
        """Freeze it, so that it costs less and counts no more; one that is paused stays so."""
        ...

    async def resume(self, machine: str) -> VM:
        """Let it go on; one that runs does so. Whatever needs a machine running does this by itself."""
        ...

    async def snapshot(self, machine: str, name: str | None = None) -> Snapshot:
        """Keep a copy of it; ProviderError `vm_unsupported` (501) where the provider cannot."""
        ...

    async def snapshots(self) -> Sequence[Snapshot]:
        """All copies of the owner, newest first."""
        ...

    async def restore(self, snapshot_id: str, *, name: str | None = None, key: str | None = None) -> VM:
        """A new machine that starts as the copy; WorkflowError `vm_snapshot_not_found`, and all that `create` raises."""
        ...

    async def fork(self, machine: str, *, name: str | None = None, key: str | None = None) -> VM:
        """A new machine that goes on as a copy of this one; raises all that `create` raises."""
        ...

    async def attach_endpoint(
        self,
        machine: str,
        *,
        require_daemon: bool = False,
        session_id: str | None = None,
        attachment_id: str | None = None,
    ) -> Endpoint:
        """How to reach it, fresh; holds secrets."""
        ...

    async def ssh_endpoint(self, machine: str) -> SSHEndpoint:
        """How to reach it by SSH, with an identity of its own; older ones are ended. Holds secrets."""
        ...

    async def revoke_leases(self) -> tuple[int, int]:
        """End all endpoints that were given out: how many were ended, and how many could not be yet."""
        ...

    async def operation(self, operation_id: str) -> Operation:
        """One operation; WorkflowError `vm_operation_not_found`."""
        ...

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """What happens from now on, or after the event with that id, without end.

        An event of type `reset` says that some may have been missed: load your lists again.
        """
        ...

    async def destroy(self, machine: str) -> None:
        """End the machine and remove everything of it; `vm_not_found` if there is none."""
        ...

    async def exec(self, machine: str, spec: ExecSpec) -> ExecSession:
        """Start a command."""
        ...

    async def exec_buffered(self, machine: str, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        """Run a command to its end; a non-zero exit code is a result. ProviderError `vm_exec_timeout` (504)."""
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
