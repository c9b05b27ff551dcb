"""The control schema itself: whether it is there, of which version, and how it is made and changed."""

from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from hpo.advisory_lock import advisory_lock
from hpo.errors import StorageError
from hpo.storage import masked

NEWEST_VERSION: Final = "0004"
"""The version of the control schema that this service works with: Alembic's head, without loading Alembic."""

SCHEMA_LOCK = "hpo schema"
"""The advisory lock under which the control schema is made and changed; every command passes it first."""


def migrate(engine: Engine, *, upgrades: bool = True) -> str | None:
    """Bring the control schema to the newest version; safe for any number of processes at once.

    Returns:
        The version that it had, or None where there was none.

    Raises:
        StorageError: the schema is of a newer version, or without `upgrades` of an older one; nothing was written.
    """
    with engine.connect() as connection, advisory_lock(connection, SCHEMA_LOCK):
        found = _known_version(connection)
        if not upgrades:
            _refuse_older(found, engine)
        if found != NEWEST_VERSION:
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS hpo"))
            connection.commit()
            _upgrade(connection)
        return found


def is_ready(engine: Engine) -> bool:
    """Return whether the control schema has been made in this database.

    Raises:
        StorageError: it has, by another version of this service.
    """
    with engine.connect() as connection:
        _refuse_older(found := _known_version(connection), engine)
        return found is not None


def exists(engine: Engine) -> bool:
    """Return whether the control schema has been made in this database.

    Raises:
        StorageError: it has, by a newer version of this service.
    """
    with engine.connect() as connection:
        return _known_version(connection) is not None


def check_known(version: str, where: str) -> None:
    """Raise StorageError where a version of the control schema is newer than this service."""
    if version == NEWEST_VERSION:
        # Every command looks; loading Alembic would take it 0.16 s.
        return
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_alembic_config())
    if version not in {script.revision for script in scripts.walk_revisions()}:
        raise StorageError(
            f"the control schema in {where} must be of version {scripts.get_current_head()} or older, not "
            f"{version}: a newer budget-hpo made it, install that one, or name another storage"
        )


def _version(connection: Connection) -> str | None:
    if connection.scalar(text("SELECT to_regclass('hpo.version')")) is None:
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM hpo.version"))
    return version


def _known_version(connection: Connection) -> str | None:
    if (found := _version(connection)) is not None:
        check_known(found, masked(connection.engine.url))
    return found


def _refuse_older(found: str | None, engine: Engine) -> None:
    # Not brought up unasked: the workers of the older version, on other machines, would fail in their trials.
    if found not in {None, NEWEST_VERSION}:
        raise StorageError(
            f"the control schema in {masked(engine.url)} must be of version {NEWEST_VERSION}, not {found}: "
            "end the workers of the older budget-hpo, and run `hpo db upgrade`"
        )


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _alembic_config() -> Any:  # noqa: ANN401  Alembic is imported only where it is used
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "hpo.sql:migrations")
    return config
