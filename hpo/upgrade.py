"""Bringing a storage to this version: the control schema and Optuna's tables."""

import logging
from dataclasses import dataclass

from hpo import control_schema
from hpo.advisory_lock import advisory_lock
from hpo.optuna_versions import check_optuna_known, optuna_version
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
