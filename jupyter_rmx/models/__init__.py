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
ssh_target  where an SSH workspace is
connection  the state of a connection, and what is asked while it is made
workspace   a machine that the user already has
"""

from jupyter_rmx.models.connection import ConnectionState, ConnectionStatus, Prompt, PromptKind, Question
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
    check_timeout,
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
from jupyter_rmx.models.ssh_target import SSHTarget
from jupyter_rmx.models.transfer import FileItem, FileResult, Rejection, TransferPlan, Upload
from jupyter_rmx.models.vm import VM, VMSpec, VMStatus
from jupyter_rmx.models.workspace import (
    STARTUP_MAX,
    Attached,
    Machine,
    SSHHost,
    Workspace,
    machine_from_wire,
)

__all__ = [
    "MACHINE_NAME_RULE",
    "STARTUP_MAX",
    "VM",
    "Attached",
    "CommandResult",
    "ConnectionState",
    "ConnectionStatus",
    "Endpoint",
    "Event",
    "ExecEvent",
    "ExecSpec",
    "Exit",
    "FileItem",
    "FileResult",
    "Lease",
    "LeaseKind",
    "Machine",
    "Operation",
    "OperationKind",
    "OperationState",
    "Output",
    "PortLink",
    "Prompt",
    "PromptKind",
    "PtySpec",
    "Question",
    "Rejection",
    "SSHEndpoint",
    "SSHHost",
    "SSHTarget",
    "SignalName",
    "Snapshot",
    "SnapshotStatus",
    "TcpTarget",
    "TransferPlan",
    "Upload",
    "VMSpec",
    "VMStatus",
    "WebSocketEndpoint",
    "Workspace",
    "check_idempotency_key",
    "check_machine_name",
    "check_port",
    "check_timeout",
    "endpoint_from_wire",
    "machine_from_wire",
    "machine_label",
    "new_id",
]
