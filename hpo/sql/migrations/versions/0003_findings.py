"""Repeats of a configuration over seeds, and the one reading of the test part."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Allow one more origin, and keep when the test part of a study was read, and what it said."""
    op.execute("ALTER TABLE hpo.trial DROP CONSTRAINT trial_origin_check")
    op.execute("""
        ALTER TABLE hpo.trial ADD CONSTRAINT trial_origin_check
            CHECK (origin IN ('forced', 'sampled', 'enqueued', 'repeat'))""")
    op.execute("""
        CREATE TABLE hpo.test_reading (
            study text NOT NULL REFERENCES hpo.study (name),
            fingerprint text NOT NULL,
            read_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            plan jsonb NOT NULL,
            result jsonb,
            PRIMARY KEY (study, fingerprint)
        )""")


def downgrade() -> None:
    """Drop what `upgrade` added; a study with repeats can't go back."""
    op.execute("DROP TABLE hpo.test_reading")
    op.execute("ALTER TABLE hpo.trial DROP CONSTRAINT trial_origin_check")
    op.execute("""
        ALTER TABLE hpo.trial ADD CONSTRAINT trial_origin_check
            CHECK (origin IN ('forced', 'sampled', 'enqueued'))""")
