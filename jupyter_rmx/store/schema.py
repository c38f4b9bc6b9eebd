"""The tables as they are now. How older files become this stands in `migrations/`; a test holds the two together."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

ENDED = ("destroyed", "failed")
"""Statuses of rows that are history: their name and key are free."""

# In these very words, also in queries: SQLite uses a partial index only where the texts are equal.
LIVE = text("status NOT IN ('destroyed', 'failed')")


class UtcDateTime(TypeDecorator[datetime]):
    """Aware times in UTC, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - its signature
        """To the database."""
        return value.astimezone(timezone.utc) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - its signature
        """From the database."""
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


metadata = MetaData()

vms = Table(
    "vms",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("name", String(40), nullable=False),
    Column("status", String(16), nullable=False),
    # Counts to the limit of active machines: being made, running, being ended; also while it is being resumed.
    Column("active", Boolean, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("provider_vm_id", String(256)),
    Column("image", String(256)),
    Column("image_version", String(128)),
    Column("details", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("destroyed_at", UtcDateTime),
    Column("reason_code", String(64)),
    Column("reason", String(1000)),
    # None: made without a key, or the key was set free.
    Column("idempotency_key", String(128)),
    Column("fingerprint", String(64), nullable=False),
    # Grows with every change, so that what was seen before a change is not written after it.
    Column("version", Integer, nullable=False),
    # The operation that has this machine to itself; None if there is none.
    Column("operation_id", String(40)),
    # When its provider was last asked how it is.
    Column("checked_at", UtcDateTime),
    Index("vms_live_name", "owner", "name", unique=True, sqlite_where=LIVE, postgresql_where=LIVE),
    Index("vms_key", "owner", "idempotency_key", unique=True),
    Index(
        "vms_live_machine",
        "owner",
        "provider",
        "provider_vm_id",
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    ),
    Index("vms_live_page", "owner", "created_at", "id", sqlite_where=LIVE, postgresql_where=LIVE),
    Index("vms_live_check", "owner", "checked_at", sqlite_where=LIVE, postgresql_where=LIVE),
    Index("vms_ended", "owner", "destroyed_at"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("owner", String(128), nullable=False),
    Column("vm_id", String(40), nullable=False),
    Column("state", String(16), nullable=False),
    Column("step", String(40), nullable=False),
    # What its steps must remember, free of secrets.
    Column("data", JSON, nullable=False),
    Column("error", JSON),
    # Who works on it; None: nobody, and it is to be taken up at `retry_at`.
    Column("worker", String(40)),
    Column("retry_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("operations_state", "owner", "state"),
    Index("operations_vm", "vm_id"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(40), primary_key=True),
    # Which process of which computer, so that a dead one is known at once there; `beat` grows while it lives.
    Column("host", String(300), nullable=False),
    Column("process", String(64), nullable=False),
    Column("beat", BigInteger, nullable=False),
)

roles = Table(
    "roles",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("worker", String(40)),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("vm_id", String(40), nullable=False),
    Column("owner", String(128), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("token_hash", String(64)),
    Column("identity", Boolean, nullable=False),
    Column("identity_handle", String(256)),
    Column("session_id", String(128)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("retry_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("last_error", String(240)),
    Index("leases_token", "token_hash", unique=True),
    Index("leases_vm", "vm_id", "kind"),
    Index("leases_owner", "owner", "expires_at"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("vm_id", String(40), nullable=False),
    Column("status", String(16), nullable=False),
    Column("provider_snapshot_id", String(256)),
    Column("name", String(200)),
    Column("created_at", UtcDateTime, nullable=False),
    Index("snapshots_owner", "owner", "created_at"),
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("name", String(40), nullable=False),
    Column("transport", String(16), nullable=False),
    # SHA-256 of the transport key: what decides that two targets are reached by one connection.
    Column("transport_key", String(64), nullable=False),
    Column("target", JSON, nullable=False),
    Column("startup", Text),
    Column("created_at", UtcDateTime, nullable=False),
    # When somebody got in for the first time. None: never yet, and the row goes if that fails.
    Column("connected_at", UtcDateTime),
    Index("workspaces_name", "owner", "name", unique=True),
    Index("workspaces_key", "owner", "transport_key", unique=True),
    Index("workspaces_page", "owner", "created_at", "id"),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("owner", String(128), nullable=False),
    Column("type", String(48), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("vm_id", String(40)),
    Column("machine", String(40)),
    Column("data", JSON, nullable=False),
    # `<operation>:<type>` of what must be written once however often its step is done.
    Column("once", String(96)),
    Index("events_once", "once", unique=True),
    Index("events_owner", "owner", "id"),
    Index("events_vm", "vm_id", "type"),
    sqlite_autoincrement=True,
)
