"""Backups: everything that this service keeps in a Postgres, in one file that an empty one takes back.

A backup is a dump in pg_dump's custom format, of one snapshot: it is whole while workers work. It stands in its
place under its name, checked and on the disk, or not at all; and a restore is one transaction. What else the database
holds, and is not this service's, is in none; see `hpo.backup_contents`.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from budgets.errors import InputError
from hpo import control_schema, embedded, postgres
from hpo.advisory_lock import advisory_lock
from hpo.backup_contents import RESTORE_LOCK, left_out, moves_to, only_ours, write_script
from hpo.errors import ProgramFailedError, StorageError
from hpo.optuna_versions import check_optuna_known, optuna_version
from hpo.postgres_clients import program_for, run_program, server_version
from hpo.presence import is_dead
from hpo.records import WorkerRecord
from hpo.settings import Settings
from hpo.storage import OPTUNA_SCHEMA_LOCK, Storage, masked, open_storage
from hpo.upgrade import upgrade

# Who owns what, and who may what, is the new server's affair. The rest isn't this service's at all.
_LEFT_OUT = ("owner", "privileges", "tablespaces", "publications", "subscriptions", "comments", "security-labels")
_NEEDED = ("hpo version", "hpo study", "hpo trial", "hpo worker", r"\S+ studies", r"\S+ trials", r"\S+ alembic_version")
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Contents:
    """What a backup holds, or a storage."""

    studies: int
    trials: int
    running: int


def save(settings: Settings, storage_url: str | None, file: Path, *, overwrite: bool) -> Contents:
    """Write a backup of a storage; return what is in it.

    Raises:
        InputError: the file may not be written, or the storage holds no study; nothing was written.
        ProgramFailedError: pg_dump has failed, and what was there before is there still.
    """
    file = _path(file)
    _check_target(file, overwrite=overwrite)
    if storage_url is None and settings.storage is None and not embedded.exists(settings.home):
        raise _nothing_to_save(_embedded(settings.home))
    with open_storage(settings, storage_url) as storage:
        if not control_schema.exists(storage.engine) or not _contents_of(storage).studies:
            raise _nothing_to_save(_place(storage))
        with _temporary(file) as temporary:
            contents = _dump(storage, temporary)
            _to_disk(temporary)
            _check_target(file, overwrite=overwrite)
            temporary.replace(file)
            _to_disk(file.parent)
    return contents


def load(settings: Settings, storage_url: str | None, file: Path) -> Contents:
    """Restore a backup into an empty storage and bring it to this version; return what is in it now.

    Tables that are there already, made by a command that looked around, are dropped while they hold no study.
    The workers of the backup are not here: they have left, so that whoever comes next puts their trials back. One
    that comes back by itself, to a server restored in its old place, beats and is here again.

    Raises:
        KeyboardInterrupt: the command was interrupted; the message says whether the storage is filled.
        InputError: the file is no whole backup, or of a newer version, or the storage is in use; nothing was
            written.
        ProgramFailedError: pg_restore or psql has failed, and the storage is empty.
    """
    file = _path(file)
    check_backup(file, postgres.program("pg_restore"))
    check_optuna_known(_stored_version(file, "alembic_version"), str(file))
    control_schema.check_known(_stored_version(file, "version", "--schema=hpo") or "none", str(file))
    with open_storage(settings, storage_url) as storage:
        try:
            _fill(storage, file, settings)
            upgrade(storage)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_after_interruption(storage)) from None
        return _contents_of(storage)


def _fill(storage: Storage, file: Path, settings: Settings) -> None:
    with (
        storage.engine.connect() as connection,
        # Every command passes these locks before it works: it waits for the end of the restore.
        advisory_lock(connection, OPTUNA_SCHEMA_LOCK),
        advisory_lock(connection, control_schema.SCHEMA_LOCK),
    ):
        with connection.begin():
            program, server = program_for("pg_restore", connection), server_version(connection)
            _clear(connection, storage, settings)
            schema = connection.scalar(text("SELECT current_schema()"))
        _run_script(program, file, storage, server, schema)


def _run_script(program: Path, file: Path, storage: Storage, server: int, schema: str | None) -> None:
    """Restore with psql and not pg_restore: it does the rest in the same transaction."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, dumped, script = (Path(folder) / name for name in ("list", "dumped.sql", "script.sql"))
        wanted.write_text(only_ours(run_program(program, ["--list", str(file)])))
        options = ["--no-owner", "--no-privileges", f"--use-list={wanted}", f"--file={dumped}"]
        run_program(program, [*options, str(file)])
        write_script(dumped, script, server, moves_to(schema, wanted.read_text()))
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", f"--file={script}"]
        run_program(program.with_name("psql"), options, storage.url)


def _after_interruption(storage: Storage) -> str:
    """Say how an interrupted restore has ended, once the server has heard that nobody waits for it."""
    with storage.engine.connect() as connection:
        while not connection.scalar(text(f"SELECT {RESTORE_LOCK}")):
            connection.rollback()
            time.sleep(_LOOK_SECONDS)
        filled = connection.scalar(text("SELECT to_regclass('hpo.study')")) is not None
    where = _place(storage)
    if filled:
        return f"interrupted, and all of the backup is in {where}: `hpo db upgrade` does what is left"
    return f"interrupted, and nothing is restored, {where} is empty: the same command begins again"


def check_backup(file: Path, program: Path) -> None:
    """Read a backup from end to end with this pg_restore.

    Raises:
        InputError: it is no backup of this service, or not whole.
    """
    if not file.is_file():
        raise InputError(f"a backup must be a file, {file} is not: name one that `hpo db backup` has written")
    try:
        listed = run_program(program, ["--list", str(file)])
        # The list stands at the beginning: only who reads all notices that the end is missing.
        run_program(program, [f"--file={os.devnull}", str(file)])
    except ProgramFailedError as error:
        raise InputError(
            f"a backup must be a whole file of `hpo db backup`, {file} is not ({error.reason}): name another"
        ) from None
    missing = [table for table in _NEEDED if not re.search(rf"^\d+; .* TABLE {table} ", listed, re.MULTILINE)]
    if missing:
        raise InputError(
            f"a backup must hold the tables of this service and of Optuna, {file} does not: "
            "name one that `hpo db backup` has written"
        )


def _dump(storage: Storage, file: Path) -> Contents:
    with storage.engine.connect() as connection:
        # The numbers are of the very snapshot that is dumped, which lives as long as this transaction.
        connection.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        contents = _count(connection)
        program = program_for("pg_dump", connection)
        options = ["--format=custom", f"--snapshot={snapshot}", f"--file={file}"]
        options += [*(f"--no-{part}" for part in _LEFT_OUT), *left_out(connection, program)]
        run_program(program, options, storage.url)
    check_backup(file, program.with_name("pg_restore"))
    return contents


def _check_target(file: Path, *, overwrite: bool) -> None:
    """Raise InputError where a backup may not be written to this file."""
    if not file.parent.is_dir():
        raise InputError(f"a backup goes into a folder that exists, {file.parent} does not: make it, or name another")
    if file.exists() and not file.is_file():
        raise InputError(f"a backup is a plain file, {file} is something else: name another")
    if file.exists() and not overwrite:
        raise InputError(f"a backup replaces no file, {file} exists: name another, or add --overwrite")


def _nothing_to_save(where: str) -> StorageError:
    """Return the error that there is nothing to back up."""
    return StorageError(
        f"a backup needs a storage with a study, {where} holds none: name another with --storage or HPO_STORAGE, "
        "or make a study with `hpo run`"
    )


def _stored_version(file: Path, table: str, *schema: str) -> str | None:
    """Return the only value of the only row of a table in a backup."""
    options = ["--data-only", *schema, f"--table={table}", "--file=-"]
    printed = run_program(postgres.program("pg_restore"), [*options, str(file)])
    found = re.search(r"^COPY .* FROM stdin;\n(.+)$", printed, re.MULTILINE)
    return found[1] if found and found[1] != "\\." else None


def _clear(connection: Connection, storage: Storage, settings: Settings) -> None:
    """Drop tables that hold no study; refuse where one is, or somebody may be about to make one."""
    where = _place(storage)
    remedy = "name another with HPO_HOME" if storage.embedded else "name another database"
    if control_schema.exists(storage.engine):
        connection.execute(text("LOCK TABLE hpo.study IN ACCESS EXCLUSIVE MODE"))
        if connection.scalar(text("SELECT count(*) FROM hpo.study")):
            raise StorageError(f"a backup goes into an empty storage, {where} has studies: {remedy}")
        if not all(is_dead(worker, settings.lost_after_seconds) for worker in _workers(connection)):
            raise StorageError(f"a backup goes into an idle storage, workers wait in {where}: end them, or {remedy}")
        connection.execute(text("DROP SCHEMA hpo CASCADE"))
    elif connection.scalar(text("SELECT to_regnamespace('hpo')")) is not None:
        raise StorageError(f"a backup goes into an empty storage, {where} has another schema hpo: {remedy}")
    if connection.scalar(text("SELECT to_regclass('studies')")) is not None:
        connection.execute(text("LOCK TABLE studies IN ACCESS EXCLUSIVE MODE"))
        if connection.scalar(text("SELECT count(*) FROM studies")):
            raise StorageError(f"a backup goes into an empty storage, {where} has studies of Optuna's: {remedy}")
        if optuna_version(storage.engine) is None:
            raise StorageError(f"a backup goes into an empty storage, {where} has another table studies: {remedy}")
        _drop_optuna(connection)


def _drop_optuna(connection: Connection) -> None:
    from optuna.storages._rdb.models import BaseModel

    BaseModel.metadata.drop_all(connection)
    connection.execute(text("DROP TABLE alembic_version"))


def _workers(connection: Connection) -> list[WorkerRecord]:
    # Of what is every version's, as for the count.
    rows = connection.execute(
        text("""SELECT id, place, host, pid, started, EXTRACT(EPOCH FROM
                    clock_timestamp() - GREATEST(beat_at, pg_postmaster_start_time()))::float AS silent_seconds
                FROM hpo.worker WHERE left_at IS NULL""")
    )
    return [WorkerRecord(**row) for row in rows.mappings()]


def _place(storage: Storage) -> str:
    return _embedded(storage.server.home) if storage.server else masked(storage.url)


def _embedded(home: Path) -> str:
    return f"the embedded Postgres in {home}"


def _contents_of(storage: Storage) -> Contents:
    with storage.engine.connect() as connection:
        return _count(connection)


def _count(connection: Connection) -> Contents:
    # Of what is every version's: a backup comes before an upgrade.
    row = connection.execute(
        text("""SELECT (SELECT count(*) FROM hpo.study), count(*), count(*) FILTER (WHERE state = 'running')
                FROM hpo.trial""")
    ).one()
    return Contents(*row)


@contextmanager
def _temporary(file: Path) -> Iterator[Path]:
    """Yield a new file beside another, for the user alone, that is gone at the end unless it was renamed."""
    try:
        opened, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
        os.close(opened)
        try:
            yield Path(name)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as error:
        raise InputError(
            f"a backup's folder must be writable, {file.parent} is not ({error.strerror or error}): name another"
        ) from None


def _path(file: Path) -> Path:
    try:
        return file.expanduser().resolve()
    except (RuntimeError, OSError):
        raise InputError(f"a backup must have the path of a file, {str(file)!r} is none: write its full path") from None


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
