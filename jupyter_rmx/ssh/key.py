"""Which targets share one connection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from jupyter_rmx.models import SSHTarget, WebSocketEndpoint
from jupyter_rmx.ssh.options import durable_target


def transport_key(
    target: SSHTarget,
    *,
    home: str,
    transport: Literal["ssh", "websocket"] = "ssh",
    baked: bool = False,
    websocket: WebSocketEndpoint | None = None,
    preserve: bool = False,
    slot: str | None = None,
    apart: Sequence[str | int] = (),
) -> str:
    """Equal keys mean that one connection serves both (vectors `same_transport_key`).

    What decides: transport, destination (trimmed, case kept), port (22 and none are not the same), identities with
    `~` expanded to `home`, flags, and the durable options in their order. Secrets and tokens never enter it: of a
    WebSocket only address, session and expiry count. `baked`: the image brought its agent; `preserve` and `slot`: the
    session outlives the connection, under this name; `apart`: whatever else keeps two connections of a target apart.
    """
    way = None
    if websocket is not None:
        way = [websocket.url, websocket.session_id, int(websocket.expires_at.timestamp())]
    session = ["preserved", slot] if preserve else None
    parts = [transport, baked, durable_target(target, home=home).to_wire(), way, session, list(apart)]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"{transport}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
