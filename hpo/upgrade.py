"""Bringing a storage to this version: the control schema and Optuna's tables."""

import logging
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Engine, text

from hpo import control_schema
from hpo.advisory_lock import advisory_lock
from hpo.errors import StorageError
from hpo.storage import OPTUNA_SCHEMA_LOCK, Storage, create_optuna_schema, masked, optuna_address


@dataclass(frozen=True)
class Change:
    """The version that something had, None where it wasn't there, and the one that it has now."""

    before: str | None
    after: str | None


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade changed."""

    control: Change
    optuna: Change


def upgrade(storage: Storage) -> Upgrade:
    """Bring the control schema and Optuna's tables to this version; safe for any number of processes at once.

    Raises:
        StorageError: one of them is of a newer version.
    """
    with storage.engine.connect() as connection, advisory_lock(connection, OPTUNA_SCHEMA_LOCK):
        before = optuna_version(storage.engine)
        check_optuna_known(before, masked(storage.url))
        ours = Change(control_schema.migrate(storage.engine), control_schema.NEWEST_VERSION)
        if before is not None:
            _upgrade_optuna(storage)
    create_optuna_schema(storage.url)
    return Upgrade(ours, Change(before, optuna_version(storage.engine)))


def optuna_version(engine: Engine) -> str | None:
    """Return the version of Optuna's tables, or None where there are none or they were just being made."""
    with engine.connect() as connection:
        if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return version


@dataclass(frozen=True)
class OptunaVersions:
    """The versions of its tables that the installed Optuna knows."""

    known: frozenset[str]
    newest: str


@cache
def optuna_versions() -> OptunaVersions:
    """Return the versions of Optuna's tables that can be read or brought up; asking for them takes half a second."""
    import optuna

    # They can be asked of a storage only: one in memory is touched by nobody.
    storage = optuna.storages.RDBStorage("sqlite://")
    try:
        return OptunaVersions(frozenset(storage.get_all_versions()), storage.get_head_version())
    finally:
        storage.remove_session()
        storage.engine.dispose()


def check_optuna_known(version: str | None, where: str) -> None:
    """Raise StorageError where a version of Optuna's tables is newer than the Optuna that is installed."""
    import optuna

    versions = optuna_versions()
    if version is not None and version not in versions.known:
        raise StorageError(
            f"Optuna's tables in {where} must be of version {versions.newest} or older, not {version}: a newer Optuna "
            f"than {optuna.__version__} made them, install that one, or name another storage"
        )


def _upgrade_optuna(storage: Storage) -> None:
    import optuna

    # Optuna configures logging, and prints its steps, where nobody has.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    opened = optuna.storages.RDBStorage(optuna_address(storage.url), skip_compatibility_check=True)
    try:
        opened.upgrade()
    finally:
        opened.remove_session()
        opened.engine.dispose()
