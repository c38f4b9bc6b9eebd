"""The tables of the first release. It wrote no revision: a version of its own stands in `schema_info`."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    info = op.create_table("schema_info", sa.Column("version", sa.Integer, primary_key=True))
    op.bulk_insert(info, [{"version": 1}])
    op.create_table(
        "vms",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("provider_vm_id", sa.String(256)),
        sa.Column("image", sa.String(256)),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("worker", sa.String(64)),
        sa.UniqueConstraint("owner", "name", name="vms_owner_name"),
        sa.UniqueConstraint("owner", "idempotency_key", name="vms_owner_key"),
    )
