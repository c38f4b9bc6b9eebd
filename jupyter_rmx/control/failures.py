"""What the control plane says when it cannot do what was asked."""

from __future__ import annotations

from jupyter_rmx.errors import ProviderError, UsageError, WorkflowError
from jupyter_rmx.models import check_machine_name
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
