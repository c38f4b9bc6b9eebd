"""Workspaces: machines that the user already has."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "workspaces",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("transport", sa.String(16), nullable=False),
        sa.Column("transport_key", sa.String(64), nullable=False),
        sa.Column("target", sa.JSON, nullable=False),
        sa.Column("startup", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True)),
    )
    op.create_index("workspaces_name", "workspaces", ["owner", "name"], unique=True)
    op.create_index("workspaces_key", "workspaces", ["owner", "transport_key"], unique=True)
    op.create_index("workspaces_page", "workspaces", ["owner", "created_at", "id"])
