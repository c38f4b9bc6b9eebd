"""Frozen values that every floor shares; no behaviour but their own shape and their wire form.

names       grammar of machine names, ids of ours
vm          VM, VMSpec and their status
endpoint    how to reach a machine (data, never a connection)
execution   what to run, and what came of it
transfer    what an upload will do
port        a link to a machine's port
"""

from jupyter_rmx.models.endpoint import Endpoint, SSHEndpoint
from jupyter_rmx.models.execution import ExecEvent, ExecSpec, Exit, Output, PtySpec, SignalName, TcpTarget
from jupyter_rmx.models.names import (
    MACHINE_NAME_RULE,
    check_idempotency_key,
    check_machine_name,
    check_port,
    machine_label,
    new_id,
)
from jupyter_rmx.models.port import PortLink
from jupyter_rmx.models.transfer import FileItem, FileResult, Rejection, TransferPlan, Upload
from jupyter_rmx.models.vm import VM, VMSpec, VMStatus

__all__ = [
    "MACHINE_NAME_RULE",
    "VM",
    "Endpoint",
    "ExecEvent",
    "ExecSpec",
    "Exit",
    "FileItem",
    "FileResult",
    "Output",
    "PortLink",
    "PtySpec",
    "Rejection",
    "SSHEndpoint",
    "SignalName",
    "TcpTarget",
    "TransferPlan",
    "Upload",
    "VMSpec",
    "VMStatus",
    "check_idempotency_key",
    "check_machine_name",
    "check_port",
    "machine_label",
    "new_id",
]
