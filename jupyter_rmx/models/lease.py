"""The record of an endpoint that was given out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

LeaseKind = Literal["ssh", "pty", "rpc"]


@dataclass(frozen=True)
class Lease:
    """Who may reach a machine, and until when. Of its token only the SHA-256 is kept, as hex.

    `token_hash` None: the provider was asked for it, and its answer is not written down yet. `identity`: there is
    something to revoke at the provider, under this lease's id. `retry_at`: a revocation failed and is tried again then.
    """

    id: str
    vm_id: str
    owner: str
    kind: LeaseKind
    created_at: datetime
    expires_at: datetime | None = None
    token_hash: str | None = None
    identity: bool = False
    identity_handle: str | None = None
    session_id: str | None = None
    revoked_at: datetime | None = None
    retry_at: datetime | None = None
    attempts: int = 0
    last_error: str | None = None
