"""Phase 2, workers that can be asked to leave, alerts, and a word to idle workers when there is work."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns with defaults, so that nothing stored before has to be touched."""
    op.execute("""
        ALTER TABLE hpo.study
            ADD COLUMN parent text REFERENCES hpo.study (name),
            ADD COLUMN history jsonb NOT NULL DEFAULT '[]',
            ADD COLUMN noted boolean NOT NULL DEFAULT false""")
    op.execute("""
        ALTER TABLE hpo.worker
            ADD COLUMN vitals jsonb NOT NULL DEFAULT '{}',
            ADD COLUMN leave_asked_at timestamptz""")
    op.execute("""
        CREATE TABLE hpo.alert (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            host text NOT NULL,
            message text NOT NULL
        )""")
    op.execute("CREATE INDEX trial_unpublished ON hpo.trial (study) WHERE NOT published")
    _create_notifications()


def _create_notifications() -> None:
    op.execute("""
        CREATE FUNCTION hpo.say_work() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify(TG_ARGV[0], '');
            RETURN NULL;
        END $$""")
    # Postgres sends equal notifications of one transaction once.
    for table, when, channel in (
        ("hpo.study", "INSERT OR UPDATE OF state, cap", "hpo_work"),
        ("hpo.trial", "INSERT", "hpo_work"),
        ("hpo.worker", "UPDATE OF leave_asked_at", "hpo_leave"),
    ):
        op.execute(
            f"CREATE TRIGGER say_work AFTER {when} ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION hpo.say_work('{channel}')"
        )


def downgrade() -> None:
    """Drop what `upgrade` added."""
    for table in ("hpo.study", "hpo.trial", "hpo.worker"):
        op.execute(f"DROP TRIGGER say_work ON {table}")
    op.execute("DROP FUNCTION hpo.say_work")
    op.execute("DROP INDEX hpo.trial_unpublished")
    op.execute("DROP TABLE hpo.alert")
    op.execute("ALTER TABLE hpo.worker DROP COLUMN vitals, DROP COLUMN leave_asked_at")
    op.execute("ALTER TABLE hpo.study DROP COLUMN parent, DROP COLUMN history, DROP COLUMN noted")
