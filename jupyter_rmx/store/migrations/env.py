"""What alembic runs for an upgrade: on the connection, and in the transaction, that `upgrade` holds."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
