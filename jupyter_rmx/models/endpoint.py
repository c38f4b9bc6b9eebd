"""How to reach a machine: short-lived data, never a connection."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any


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

    @property
    def public_key_fingerprint(self) -> str | None:
        """The host key's as OpenSSH shows it, `SHA256:…`; None if `host_key` is no such line."""
        words = self.host_key.split()
        try:
            key = base64.b64decode(words[1], validate=True)
        except (IndexError, binascii.Error, ValueError):
            return None
        return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")

    def to_wire(self) -> dict[str, Any]:
        """JSON form, with its secret; without `identity_handle`, which is for the provider only."""
        return {
            "transport": "ssh",
            "host": self.host,
            "port": self.port if self.unix_path is None else None,
            "unix_path": self.unix_path,
            "username": self.username,
            "host_key": self.host_key,
            "public_key_fingerprint": self.public_key_fingerprint,
            "credential": self._credential(),
            "expires_at_unix": int(self.expires_at.timestamp()) if self.expires_at else None,
            "daemon": None,
        }

    def _credential(self) -> dict[str, str] | None:
        if self.client_key is not None:
            return {"kind": "authorized_key", "private_key_pem": self.client_key}
        return {"kind": "password", "value": self.password} if self.password is not None else None


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

    def to_wire(self) -> dict[str, Any]:
        """JSON form, with its secrets."""
        return {
            "transport": "websocket",
            **self.way_to_wire(),
            "attachment_id": self.attachment_id,
            "daemon": self.daemon.way_to_wire() if self.daemon else None,
        }

    def way_to_wire(self) -> dict[str, Any]:
        """The part of `to_wire` that a daemon has, too."""
        return {
            "url": self.url,
            "headers": dict(self.headers),
            "token": self.token,
            "session_id": self.session_id,
            "expires_at_unix": int(self.expires_at.timestamp()),
        }


Endpoint = SSHEndpoint | WebSocketEndpoint


def endpoint_from_wire(wire: dict[str, Any]) -> Endpoint:
    """The inverse of `to_wire`; KeyError or ValueError for what is no endpoint."""
    if wire.get("transport", "ssh") == "websocket":
        return _websocket(wire)
    credential = wire.get("credential") or {}
    expires = wire.get("expires_at_unix")
    return SSHEndpoint(
        username=wire["username"],
        host_key=wire["host_key"],
        host=wire.get("host"),
        port=int(wire.get("port") or 22),
        unix_path=wire.get("unix_path"),
        client_key=credential.get("private_key_pem"),
        password=credential.get("value"),
        expires_at=None if expires is None else _moment(expires),
    )


def _websocket(wire: dict[str, Any]) -> WebSocketEndpoint:
    daemon = wire.get("daemon")
    return WebSocketEndpoint(
        url=wire["url"],
        token=wire["token"],
        session_id=wire["session_id"],
        expires_at=_moment(wire["expires_at_unix"]),
        headers=dict(wire.get("headers") or {}),
        attachment_id=wire.get("attachment_id"),
        daemon=_websocket(daemon) if daemon else None,
    )


def _moment(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, timezone.utc)
