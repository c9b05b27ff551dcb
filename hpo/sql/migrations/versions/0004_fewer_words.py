"""A word to idle workers about a new trial only where it waits for one of them."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Say nothing of a trial whose worker has it already: of 64 workers each would wake for every trial of another."""
    op.execute("DROP TRIGGER say_work ON hpo.trial")
    op.execute("""
        CREATE TRIGGER say_work AFTER INSERT ON hpo.trial
        FOR EACH ROW WHEN (NEW.state = 'waiting') EXECUTE FUNCTION hpo.say_work('hpo_work')""")


def downgrade() -> None:
    """Say it of every trial again."""
    op.execute("DROP TRIGGER say_work ON hpo.trial")
    op.execute("""
        CREATE TRIGGER say_work AFTER INSERT ON hpo.trial
        FOR EACH STATEMENT EXECUTE FUNCTION hpo.say_work('hpo_work')""")
