"""Operations, events, leases, snapshots; machines that have ended stay as history."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_LIVE = sa.text("status NOT IN ('destroyed', 'failed')")
_ONLY_LIVE: dict[str, Any] = {"sqlite_where": _LIVE, "postgresql_where": _LIVE}
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Keep the machines, make the rest."""
    _machines()
    _operations()
    _workers()
    _leases()
    _snapshots()
    _events()


def _machines() -> None:
    # Moved aside and back, since SQLite cannot take a unique constraint or a column's NOT NULL away.
    op.execute("CREATE TEMPORARY TABLE vms_0001 AS SELECT * FROM vms")
    op.drop_table("vms")
    op.drop_table("schema_info")
    op.create_table(
        "vms",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("provider_vm_id", sa.String(256)),
        sa.Column("image", sa.String(256)),
        sa.Column("image_version", sa.String(128)),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("destroyed_at", _TIME),
        sa.Column("reason_code", sa.String(64)),
        sa.Column("reason", sa.String(1000)),
        sa.Column("idempotency_key", sa.String(128)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("operation_id", sa.String(40)),
        sa.Column("checked_at", _TIME),
    )
    kept = "id, owner, name, status, provider, provider_vm_id, image, details, created_at, idempotency_key, fingerprint"
    op.execute(
        f"INSERT INTO vms ({kept}, active, version) "  # noqa: S608  (no value of a user in it)
        f"SELECT {kept}, status IN ('creating', 'running', 'destroying'), 0 FROM vms_0001"
    )
    op.execute("DROP TABLE vms_0001")
    op.create_index("vms_live_name", "vms", ["owner", "name"], unique=True, **_ONLY_LIVE)
    op.create_index("vms_key", "vms", ["owner", "idempotency_key"], unique=True)
    op.create_index(
        "vms_live_machine", "vms", ["owner", "provider", "provider_vm_id"], unique=True, **_ONLY_LIVE
    )
    op.create_index("vms_live_page", "vms", ["owner", "created_at", "id"], **_ONLY_LIVE)
    op.create_index("vms_live_check", "vms", ["owner", "checked_at"], **_ONLY_LIVE)
    op.create_index("vms_ended", "vms", ["owner", "destroyed_at"])


def _operations() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("vm_id", sa.String(40), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("step", sa.String(40), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("worker", sa.String(40)),
        sa.Column("retry_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_index("operations_state", "operations", ["owner", "state"])
    op.create_index("operations_vm", "operations", ["vm_id"])


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("host", sa.String(300), nullable=False),
        sa.Column("process", sa.String(64), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "roles",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("worker", sa.String(40)),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("vm_id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("token_hash", sa.String(64)),
        sa.Column("identity", sa.Boolean, nullable=False),
        sa.Column("identity_handle", sa.String(256)),
        sa.Column("session_id", sa.String(128)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("retry_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.String(240)),
    )
    op.create_index("leases_token", "leases", ["token_hash"], unique=True)
    op.create_index("leases_vm", "leases", ["vm_id", "kind"])
    op.create_index("leases_owner", "leases", ["owner", "expires_at"])


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("vm_id", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("provider_snapshot_id", sa.String(256)),
        sa.Column("name", sa.String(200)),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_index("snapshots_owner", "snapshots", ["owner", "created_at"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("type", sa.String(48), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("vm_id", sa.String(40)),
        sa.Column("machine", sa.String(40)),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("once", sa.String(96)),
        sqlite_autoincrement=True,
    )
    op.create_index("events_once", "events", ["once"], unique=True)
    op.create_index("events_owner", "events", ["owner", "id"])
    op.create_index("events_vm", "events", ["vm_id", "type"])
