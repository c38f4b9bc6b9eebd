"""The endpoints of the fake provider: right in form, reaching nothing."""

from __future__ import annotations

import secrets
import sqlite3
from datetime import datetime, timedelta

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import SSHEndpoint, WebSocketEndpoint
from jupyter_rmx.providers.base import AttachOptions
from jupyter_rmx.testing import fake_machines

PTY_S = 300.0
RPC_S = 12 * 3600.0
SSH_S = 15 * 60.0
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"


def ssh(vm_id: str, handle: str, password: str, now: datetime) -> SSHEndpoint:
    """Password and handle of one identity."""
    return SSHEndpoint(
        username=vm_id,
        host_key=HOST_KEY,
        host="ssh.fake.invalid",
        password=password,
        identity_handle=handle,
        expires_at=now + timedelta(seconds=SSH_S),
    )


def websocket(
    db: sqlite3.Connection, vm_id: str, options: AttachOptions, *, daemon: bool, now: datetime
) -> WebSocketEndpoint:
    """A terminal, and beside it the daemon where there is one; ProviderError if one is required and there is none."""
    if options.require_daemon and not daemon:
        raise no_daemon()
    session_id = options.session_id or secrets.token_hex(16)
    return WebSocketEndpoint(
        url=f"wss://{vm_id}.fake.invalid/terminal",
        token=f"fake-pty-{secrets.token_hex(16)}",
        session_id=session_id,
        expires_at=now + timedelta(seconds=PTY_S),
        attachment_id=options.attachment_id or f"attach-{secrets.token_hex(8)}",
        daemon=_rpc(db, vm_id, session_id, now) if daemon else None,
    )


def _rpc(db: sqlite3.Connection, vm_id: str, session_id: str, now: datetime) -> WebSocketEndpoint:
    return WebSocketEndpoint(
        url=f"wss://{vm_id}.fake.invalid/rpc",
        token=fake_machines.rpc_token(db, vm_id),
        session_id=session_id,
        expires_at=now + timedelta(seconds=RPC_S),
    )


def no_daemon() -> ProviderError:
    """A daemon is required, and there is none."""
    return ProviderError(
        "This machine has no daemon.",
        hint="Attach it without requiring one; the terminal works.",
        code="vm_attach_transport_unsupported",
        status=409,
    )
