"""Which version Optuna's tables are of, and which ones the installed Optuna knows."""

from dataclasses import dataclass
from functools import cache

from sqlalchemy import Connection, Engine, text

from hpo.errors import StorageError


@dataclass(frozen=True)
class OptunaVersions:
    """The versions of its tables that the installed Optuna knows."""

    known: frozenset[str]
    newest: str


@cache
def optuna_versions() -> OptunaVersions:
    """Return the versions of Optuna's tables that can be read or brought up; asking for them takes a quarter second."""
    import optuna

    # They can be asked of a storage only: one in memory is touched by nobody.
    storage = optuna.storages.RDBStorage("sqlite://")
    try:
        return OptunaVersions(frozenset(storage.get_all_versions()), storage.get_head_version())
    finally:
        storage.remove_session()
        storage.engine.dispose()


def optuna_version(engine: Engine) -> str | None:
    """Return the version of Optuna's tables, or None where there are none or they were just being made."""
    with engine.connect() as connection:
        return stored_version(connection)


def stored_version(connection: Connection) -> str | None:
    """Return the same; begins a transaction where there is none."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def are_newest(connection: Connection) -> bool:
    """Return whether the tables are known to be of the installed version, without asking Optuna: see `hpo.preload`.

    Optuna's own look takes a worker 40 ms and 6 MiB, for it reads all its migrations.
    """
    return optuna_versions.cache_info().currsize > 0 and stored_version(connection) == optuna_versions().newest


def check_optuna_known(version: str | None, where: str) -> None:
    """Raise StorageError where a version of Optuna's tables is newer than the Optuna that is installed."""
    import optuna

    versions = optuna_versions()
    if version is not None and version not in versions.known:
        raise StorageError(
            f"Optuna's tables in {where} must be of version {versions.newest} or older, not {version}: a newer Optuna "
            f"than {optuna.__version__} made them, install that one, or name another storage"
        )
