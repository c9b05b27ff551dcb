"""Studies, trials and workers."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables; the schema itself holds Alembic's version table and is there already."""
    op.execute("""
        CREATE TABLE hpo.study (
            name text PRIMARY KEY,
            phase integer NOT NULL,
            spec jsonb NOT NULL,
            fingerprint text NOT NULL,
            prepared jsonb NOT NULL,
            cap integer NOT NULL CHECK (cap > 0),
            state text NOT NULL CHECK (state IN ('running', 'converged', 'finished', 'stopped')),
            reason text NOT NULL DEFAULT '',
            evidence jsonb NOT NULL DEFAULT '{}',
            convergence_off boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )""")
    op.execute("""
        CREATE TABLE hpo.worker (
            id text PRIMARY KEY,
            place text NOT NULL,
            host text NOT NULL,
            pid integer NOT NULL,
            started double precision NOT NULL,
            registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            left_at timestamptz
        )""")
    op.execute("""
        INSERT INTO hpo.worker (id, place, host, pid, started, left_at)
        VALUES ('nobody', '', '', 0, 0, clock_timestamp())""")
    _create_trials()


def _create_trials() -> None:
    op.execute("""
        CREATE TABLE hpo.trial (
            study text NOT NULL REFERENCES hpo.study (name),
            number integer NOT NULL,
            slot integer NOT NULL,
            turn integer NOT NULL,
            attempt integer NOT NULL,
            origin text NOT NULL CHECK (origin IN ('forced', 'sampled', 'enqueued')),
            design_id text,
            seed integer NOT NULL,
            params jsonb NOT NULL,
            state text NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'running', 'complete', 'pruned', 'failed', 'replaced')),
            worker text REFERENCES hpo.worker (id),
            cause text,
            message text NOT NULL DEFAULT '',
            score double precision,
            attributes jsonb NOT NULL DEFAULT '{}',
            published boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            started_at timestamptz,
            ended_at timestamptz,
            PRIMARY KEY (study, number),
            UNIQUE (study, slot, turn),
            UNIQUE (study, design_id, turn),
            CHECK ((state = 'complete') = (score IS NOT NULL)),
            CHECK (state <> 'running' OR worker IS NOT NULL)
        )""")
    op.execute("CREATE INDEX trial_by_state ON hpo.trial (study, state)")
    op.execute("CREATE INDEX worker_present ON hpo.worker (registered_at) WHERE left_at IS NULL")


def downgrade() -> None:
    """Drop the tables and with them what the service knows; Optuna's studies stay."""
    op.execute("DROP TABLE hpo.trial, hpo.worker, hpo.study")
