"""A record, told as what the rest of the provider asks about."""

from __future__ import annotations

from jupyter_rmx.providers.base import ProviderStatus, ProviderVM
from jupyter_rmx.providers.drivers.local import layout, processes
from jupyter_rmx.providers.drivers.local.layout import MachineDir, Record


def marker_of(where: MachineDir) -> str:
    """The marker in the environment of its processes."""
    return f"{layout.MARKER}={where.id}"


def machine_of(where: MachineDir, record: Record) -> processes.Machine:
    """How to find its processes."""
    return processes.Machine(record.init_pid, record.init_started, record.namespace, marker_of(where))


def status_of(where: MachineDir, record: Record) -> ProviderStatus:
    """As its first process is now; `stopped` where there is none, since the record and the home are kept."""
    first = processes.init_of(machine_of(where, record))
    if first is None:
        return "stopped"
    return "paused" if first.state in "Tt" else "running"


def vm_of(where: MachineDir, record: Record) -> ProviderVM:
    """For the contract."""
    return ProviderVM(
        provider_vm_id=where.id,
        key=record.key,
        name=record.name,
        owner=record.owner,
        status=status_of(where, record),
        image=record.image,
        details=dict(record.details),
    )
