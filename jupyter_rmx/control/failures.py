"""What the control plane says when it cannot do what was asked."""

from __future__ import annotations

from jupyter_rmx.errors import ProviderError, UsageError, WorkflowError
from jupyter_rmx.models import VM, Machine, Workspace, check_machine_name
from jupyter_rmx.store.machines import MachineRecord


def not_found(machine: str, ended: MachineRecord | None = None) -> WorkflowError:
    """There is no such machine; if there was one, how it ended."""
    details: dict[str, object] = {"vm_id": machine[:128]}
    message = f"There is no machine {machine[:60]!r}."
    if ended is not None and ended.vm.destroyed_at is not None:
        when = f"{ended.vm.destroyed_at:%Y-%m-%d %H:%M} UTC"
        why = f" {ended.vm.reason}" if ended.vm.reason else ""
        message = f"Machine {ended.vm.name!r} ended on {when}.{why}"
        details |= {"reason_code": ended.vm.reason_code, "ended": ended.vm.destroyed_at.isoformat()}
    return WorkflowError(
        message,
        hint=f"%vm ls shows yours; make one with: %vm create {_suggest_name(machine, ended)}",
        code="vm_not_found",
        status=404,
        details=details,
    )


def _suggest_name(machine: str, ended: MachineRecord | None) -> str:
    try:
        return check_machine_name(ended.vm.name if ended else machine)
    except UsageError:
        return "demo"


def provider_missing(record: MachineRecord) -> WorkflowError:
    """Its provider has it no more."""
    return WorkflowError(
        f"Machine {record.vm.name!r} is gone: its provider has it no more.",
        hint=f"Make a new one: %vm create {record.vm.name}",
        code="vm_not_found",
        status=404,
        retryable=False,
        details={"vm_id": record.vm.id, "reason": "provider_missing"},
    )


def name_taken(name: str) -> WorkflowError:
    """Another wish for a name that is in use."""
    return WorkflowError(
        f"There is already a machine {name!r}, made with other parameters.",
        hint=f"Use it as it is, choose another name, or remove it first: %vm destroy {name}",
        code="vm_name_taken",
    )


def name_in_use(other: Machine) -> WorkflowError:
    """Another machine has the name, whatever it is."""
    what = "a host of yours" if isinstance(other, Workspace) else "a VM"
    return WorkflowError(
        f"There is already a machine {other.name!r}: {what}.",
        hint=f"Choose another name, or give that one another: %vm rename {other.name} NEW-NAME",
        code="vm_name_taken",
    )


def has_a_name(machine: Machine) -> WorkflowError:
    """A host is attached already, or a VM there, and was asked for under another name."""
    what = "host is attached already, as" if isinstance(machine, Workspace) else "is a VM, with the name"
    return WorkflowError(
        f"This {what} {machine.name!r}.",
        hint=f"Use it under that name, or give it the other one: %vm rename {machine.name} NEW-NAME",
        code="ssh_has_a_name",
        details={"machine": machine.name},
    )


def no_startup(vm: VM) -> UsageError:
    """A command for the terminals of a host was given for a VM."""
    return UsageError(
        f"{vm.name!r} is a VM: a command for its terminals cannot be kept.",
        hint="Leave --startup out, and run the command in the terminal.",
        code="usage_bad_startup",
        details={"field": "startup"},
    )


def no_lifecycle(workspace: Workspace, what: str) -> ProviderError:
    """A workspace is no VM."""
    return ProviderError(
        f"{workspace.name!r} is a host of yours, reached over SSH: it cannot be {what} from here.",
        hint=f"Only VMs can. To let go of this host: %vm detach {workspace.name}",
        code="vm_unsupported",
        status=501,
        retryable=False,
        details={"machine": workspace.name},
    )


def mismatch(name: str) -> WorkflowError:
    """Another wish under a key that is in use."""
    return WorkflowError(
        f"This idempotency key already made {name!r} with other parameters.",
        hint="Use a new key for a new machine.",
        code="idempotency_mismatch",
        status=422,
    )


def busy(name: str, what: str, code: str = "vm_busy", **details: object) -> WorkflowError:
    """Something else is being done with the machine."""
    return WorkflowError(
        f"Machine {name!r} is {what} right now.",
        hint="Try again in a few seconds.",
        code=code,
        retryable=True,
        details=details,
    )


def in_progress(record: MachineRecord) -> WorkflowError:
    """The machine of this wish is still being made."""
    return busy(
        record.vm.name, "being created", "vm_create_in_progress", idempotency_key_set=record.key is not None
    )


def limit_exceeded(limit: int) -> WorkflowError:
    """Too many machines are active."""
    return WorkflowError(
        f"You have {limit} active machine{'s' if limit != 1 else ''}, which is the limit.",
        hint="Pause or destroy one first (%vm ls shows them), or raise RmxExtension.max_active_owner.",
        code="vm_active_limit_exceeded",
        status=402,
        details={"limit": limit},
    )


def cleanup_pending(record: MachineRecord) -> ProviderError:
    """A failed create whose remains could not be removed yet."""
    return ProviderError(
        f"An earlier try to make {record.vm.name!r} failed, and what it left could not be removed yet.",
        hint="It is tried again by itself; try again in a minute, or use another key.",
        code="vm_cleanup_pending",
        status=503,
        retryable=True,
        details={"vm_id": record.vm.id},
    )


def not_running(record: MachineRecord) -> ProviderError:
    """A command needs a running machine."""
    return ProviderError(
        f"Machine {record.vm.name!r} is {record.vm.status}.",
        hint="It must be running for this; %vm ls shows its state.",
        code="vm_not_running",
        status=409,
        retryable=record.vm.status == "creating",
    )
