"""Run by Alembic, with an open connection in its attributes: never on its own."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], version_table_schema="hpo", version_table="version"
)
with context.begin_transaction():
    context.run_migrations()
