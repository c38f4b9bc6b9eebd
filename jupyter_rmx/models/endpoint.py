"""How to reach a machine: short-lived data, never a connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class SSHEndpoint:
    """An SSH server and what proves both sides.

    Either `host` and `port`, or `unix_path` (a Unix socket on this computer) is set. `host_key` is the server's
    public key as one OpenSSH line; it is pinned. `client_key` is a private key in OpenSSH format, `password` a
    password or token; both are secrets and left out of the repr, as is `identity_handle`, the provider's name of the
    identity that was made for this endpoint (None: there is nothing to revoke). `expires_at` None: it does not end.
    """

    username: str
    host_key: str
    host: str | None = None
    port: int = 22
    unix_path: str | None = None
    client_key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    identity_handle: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True)
class WebSocketEndpoint:
    """A WebSocket that speaks the agent's protocol; `token` (and `headers`) are secrets, left out of the repr.

    `daemon` is the endpoint for calls beside the terminal, None where the image has none.
    """

    url: str
    token: str = field(repr=False)
    session_id: str
    expires_at: datetime
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    attachment_id: str | None = None
    daemon: WebSocketEndpoint | None = None


Endpoint = SSHEndpoint | WebSocketEndpoint
