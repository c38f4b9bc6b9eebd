"""The tables. `SCHEMA_VERSION` is stored with them; a newer one is refused, never guessed at."""

from __future__ import annotations

from sqlalchemy import JSON, Column, DateTime, Integer, MetaData, String, Table, UniqueConstraint

SCHEMA_VERSION = 1

metadata = MetaData()

schema_info = Table("schema_info", metadata, Column("version", Integer, primary_key=True))

vms = Table(
    "vms",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("name", String(40), nullable=False),
    Column("status", String(16), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("provider_vm_id", String(256)),
    Column("image", String(256)),
    Column("details", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("idempotency_key", String(128), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    # The process that works on a row in `creating` or `destroying`: `<pid>-<start time>`.
    Column("worker", String(64)),
    UniqueConstraint("owner", "name", name="vms_owner_name"),
    UniqueConstraint("owner", "idempotency_key", name="vms_owner_key"),
)
