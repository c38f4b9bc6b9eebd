"""Frozen values that every floor shares; no behaviour but their own shape and their wire form.

names       grammar of machine names, ids of ours
vm          VM, VMSpec and their status
endpoint    how to reach a machine (data, never a connection)
execution   what to run, and what came of it
transfer    what an upload will do
port        a link to a machine's port
operation   what is being done to a machine; events
snapshot    a kept copy of a machine
lease       the record of an endpoint that was given out
"""

from jupyter_rmx.models.endpoint import Endpoint, SSHEndpoint, WebSocketEndpoint, endpoint_from_wire
from jupyter_rmx.models.execution import (
    CommandResult,
    ExecEvent,
    ExecSpec,
    Exit,
    Output,
    PtySpec,
    SignalName,
    TcpTarget,
)
from jupyter_rmx.models.lease import Lease, LeaseKind
from jupyter_rmx.models.names import (
    MACHINE_NAME_RULE,
    check_idempotency_key,
    check_machine_name,
    check_port,
    machine_label,
    new_id,
)
from jupyter_rmx.models.operation import Event, Operation, OperationKind, OperationState
from jupyter_rmx.models.port import PortLink
from jupyter_rmx.models.snapshot import Snapshot, SnapshotStatus
from jupyter_rmx.models.transfer import FileItem, FileResult, Rejection, TransferPlan, Upload
from jupyter_rmx.models.vm import VM, VMSpec, VMStatus

__all__ = [
    "MACHINE_NAME_RULE",
    "VM",
    "CommandResult",
    "Endpoint",
    "Event",
    "ExecEvent",
    "ExecSpec",
    "Exit",
    "FileItem",
    "FileResult",
    "Lease",
    "LeaseKind",
    "Operation",
    "OperationKind",
    "OperationState",
    "Output",
    "PortLink",
    "PtySpec",
    "Rejection",
    "SSHEndpoint",
    "SignalName",
    "Snapshot",
    "SnapshotStatus",
    "TcpTarget",
    "TransferPlan",
    "Upload",
    "VMSpec",
    "VMStatus",
    "WebSocketEndpoint",
    "check_idempotency_key",
    "check_machine_name",
    "check_port",
    "endpoint_from_wire",
    "machine_label",
    "new_id",
]
