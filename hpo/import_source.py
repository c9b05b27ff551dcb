"""Where a study is copied from: any Postgres, a SQLite file or a journal file of Optuna, opened to be read alone.

Nothing is written there, no table made and no schema brought up: Postgres gets read-only transactions, SQLite the
mode `ro`, and a journal is only read.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import URL, create_engine, inspect, make_url
from sqlalchemy.exc import DBAPIError

from hpo.errors import StorageError
from hpo.masking import shown
from hpo.optuna_versions import check_optuna_known, optuna_versions
from hpo.storage import check_reachable, connect_arguments, masked, optuna_address, parse_storage_url, redact

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_REMEDY: Final = "write postgresql://USER:PASSWORD@HOST:5432/DATABASE, sqlite:///FILE, or the path of a journal file"
_SQLITE_HEADER: Final = b"SQLite format 3\0"
# The nineteenth byte of the file says what its writers keep their changes in.
_WRITE_AHEAD: Final = 2


@dataclass(frozen=True)
class ImportSource:
    """An open source; made by `open_source`.

    Attributes:
        storage: Optuna's, to be read alone; that of a database refuses to write.
        shown: the URL or path without its password.
    """

    storage: "BaseStorage"
    shown: str


@contextmanager
def open_source(given: str) -> Iterator[ImportSource]:
    """Open the storage at a URL or a path of a file, to read it alone.

    Raises:
        StorageError: it is no storage of Optuna, can't be reached, or is of another version of Optuna.
    """
    scheme, separator, rest = given.strip().partition("://")
    if not separator:
        yield from _open_file(Path(given.strip()).expanduser(), given.strip())
    elif scheme.partition("+")[0] in {"postgres", "postgresql"}:
        yield from _open_postgres(f"postgresql://{rest}")
    elif scheme.partition("+")[0] == "sqlite":
        file = rest.partition("?")[0].removeprefix("/").removeprefix("file:")
        yield from _open_file(_named(file, given), shown(given))
    else:
        raise StorageError(
            f"--from must be a Postgres, a SQLite file or a journal file, not {shown(given)!r}: copy the study into a "
            "SQLite file with optuna.copy_study, and name that"
        )


def _named(file: str, given: str) -> Path:
    if not file or file == ":memory:":
        raise StorageError(f"--from must name a file of SQLite, not {shown(given)!r}: {_REMEDY}")
    return Path(file)


def _open_postgres(given: str) -> Iterator[ImportSource]:
    url = parse_storage_url(given)
    options = {
        "connect_args": connect_arguments(url),
        # Every transaction sees one moment of the source, also of a search that goes on.
        "execution_options": {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"},
    }
    engine = create_engine(url, **options)
    try:
        check_reachable(engine, option="--from")
    finally:
        engine.dispose()
    try:
        yield from _open_tables(url, options, masked(url))
    except DBAPIError as error:
        said = redact(" ".join(str(error.orig).split()), url)
        raise StorageError(
            f"the source must let its user read Optuna's tables, {masked(url)} says: {said}: "
            "GRANT SELECT ON ALL TABLES IN SCHEMA public, or name another user"
        ) from None


def _open_file(path: Path, named: str) -> Iterator[ImportSource]:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise StorageError(
            f"--from must name a file that can be read, and {_without_secrets(named)!r} can't ({error.strerror}): "
            f"{_REMEDY}"
        ) from None
    if start.startswith(_SQLITE_HEADER):
        yield from _open_sqlite(path, _connection_mode(path, start), named)
    elif _begins_a_journal(start):
        yield from _open_journal(path, named)
    else:
        raise StorageError(
            f"--from must be a SQLite database or a journal of Optuna, and {named!r} is neither: {_REMEDY}"
        )


def _without_secrets(path: str) -> str:
    """Return a path as it is; what is no path may be a URL that lacks its colon, with a password in it."""
    return shown(path) if re.search(r"(?i)[:@]|password", path) else path


def _connection_mode(path: Path, start: bytes) -> str:
    """Return how SQLite opens this file so that it leaves nothing beside it.

    A database with a write-ahead log that nobody has open gets two new files from a reader in mode `ro`, which stay:
    such a one is read as immutable. Where there is a log, and an index of it, its writers have it open.
    """
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    if start[18] != _WRITE_AHEAD or index.exists():
        return "mode=ro"
    if log.exists() and log.stat().st_size:
        raise StorageError(
            f"--from must be a database that is whole, and {str(path)!r} has changes in {log.name} that only a writer "
            f"can take in: run `sqlite3 {path} 'PRAGMA wal_checkpoint'`, on a copy if you like"
        )
    return "mode=ro&immutable=1"


def _open_sqlite(path: Path, mode: str, named: str) -> Iterator[ImportSource]:
    address = f"file:{quote(str(path.resolve()))}?{mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, check_same_thread=False, timeout=30)

    try:
        yield from _open_tables(make_url("sqlite://"), {"creator": connect}, named)
    except (DBAPIError, sqlite3.Error) as error:
        said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        raise StorageError(
            f"--from must be a SQLite database that can be read, and {named!r} says: {said}: let its writer end, or "
            "import from a copy"
        ) from None


def _open_tables(url: URL, options: dict[str, Any], where: str) -> Iterator[ImportSource]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _check_tables(url, options, where)
    # Optuna makes no table, and of the right version it notes nothing down either.
    storage = optuna.storages.RDBStorage(optuna_address(url), engine_kwargs=options, skip_table_creation=True)
    try:
        yield ImportSource(storage, where)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _check_tables(url: URL, options: dict[str, Any], where: str) -> None:
    """Raise StorageError where there are no tables of Optuna, or those of another version."""
    from alembic.migration import MigrationContext

    engine = create_engine(url, **options)
    try:
        with engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            version = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    if not {"studies", "trials", "version_info"} <= tables:
        raise StorageError(f"--from must hold studies of Optuna, and {where} has none of its tables: {_REMEDY}")
    check_optuna_known(version, where)
    newest = optuna_versions().newest
    if version != newest:
        raise StorageError(
            f"Optuna's tables at --from must be of version {newest}, and those in {where} are of "
            f"{version or 'an old one'}: run `optuna storage upgrade --storage URL` there or on a copy, for here "
            "nothing is written to them"
        )


def _begins_a_journal(start: bytes) -> bool:
    try:
        entry = json.loads(start.partition(b"\n")[0])
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry


def _open_journal(path: Path, named: str) -> Iterator[ImportSource]:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, AssertionError) as error:
        raise StorageError(
            f"--from must be a whole journal of Optuna, and {named!r} breaks off ({error}): import from a backup of it"
        ) from None
    yield ImportSource(storage, named)
