"""How to reach a machine: short-lived data, never a connection."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SSHEndpoint:
    """An SSH server and what proves both sides.

    Either `host` and `port`, or `unix_path` (a Unix socket on this computer) is set. `host_key` is the server's
    public key as one OpenSSH line; it is pinned. `client_key` is a private key in OpenSSH format, a secret: it is
    left out of the repr.
    """

    username: str
    host_key: str
    host: str | None = None
    port: int = 22
    unix_path: str | None = None
    client_key: str | None = field(default=None, repr=False)


Endpoint = SSHEndpoint
