"""What of a database is this service's: the rest is left out of a backup, and the script that brings it back.

The database may be shared. Of its schemas, tables, functions and extensions that others own, a backup holds nothing:
it neither needs a right to read them nor meets them where it is restored.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, text

from hpo import postgres

# Taken by the restoring transaction: whoever gets it after that one knows that it has ended, in one way or the other.
RESTORE_LOCK = "pg_try_advisory_xact_lock(hashtextextended('hpo restore', 0))"
_TAKE_LOCK = RESTORE_LOCK.replace("_try", "")
# The workers of a backup are not here: whoever comes next puts their trials back. One that comes back by itself beats,
# and has not left any more.
_DESERTED = "UPDATE hpo.worker SET left_at = clock_timestamp() WHERE left_at IS NULL"
_EXCLUDES_EXTENSIONS_SINCE = 17
# Of what stands in Optuna's schema.
_KINDS = (
    "TABLE DATA|TABLE|SEQUENCE OWNED BY|SEQUENCE SET|SEQUENCE|DEFAULT|"
    "CHECK CONSTRAINT|FK CONSTRAINT|CONSTRAINT|INDEX|TYPE"
)
_OURS = re.compile(rf"\d+; \d+ \d+ (?:SCHEMA - |(?:{_KINDS}) |[A-Z ]+ hpo )")
# pg_restore sets this parameter to none in every session; a server before 17 knows no such parameter.
_TRANSACTION_TIMEOUT_SINCE = 17
_TRANSACTION_TIMEOUT = b"SET transaction_timeout = 0;\n"


@cache
def optuna_tables() -> tuple[str, ...]:
    """Names of the tables that Optuna makes."""
    from optuna.storages._rdb.models import BaseModel

    return (*BaseModel.metadata.tables, "alembic_version")


def left_out(connection: Connection, program: Path) -> list[str]:
    """Return the options with which this pg_dump leaves out what is not the service's."""
    own = {"own": list(optuna_tables())}
    # A user whose name is hpo has a schema of that name: Optuna's tables are in there too.
    schemas = connection.scalars(
        text("""
            SELECT nspname FROM pg_namespace
            WHERE nspname <> 'hpo' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
              AND oid IS DISTINCT FROM (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('studies'))""")
    )
    relations = connection.execute(
        text("""
            SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.oid = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('studies'))
              AND n.nspname <> 'hpo' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
              AND c.relname <> ALL (CAST(:own AS text[]))
              AND NOT EXISTS (
                  SELECT FROM pg_depend d JOIN pg_class o ON o.oid = d.refobjid
                  WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND o.relname = ANY (CAST(:own AS text[])))"""),
        own,
    )
    options = [f"--exclude-schema={_quoted(schema)}" for schema in schemas]
    options += [f"--exclude-table={_quoted(schema)}.{_quoted(name)}" for schema, name in relations]
    if postgres.major_version(program) >= _EXCLUDES_EXTENSIONS_SINCE:
        options.append("--exclude-extension=*")
    return ["--no-blobs", *options]


def only_ours(listed: str) -> str:
    """Return the lines of `pg_restore --list` that are the service's."""
    return "".join(f"{line}\n" for line in listed.splitlines() if _OURS.match(line))


def write_script(dumped: Path, script: Path, server: int, moves: Sequence[str]) -> None:
    """Write what psql does in one transaction: what was dumped, without what this server refuses, and what follows."""
    with script.open("wb") as kept:
        kept.write(f"SELECT {_TAKE_LOCK};\n".encode())
        with dumped.open("rb") as lines:
            kept.writelines(_accepted(lines, server))
            shutil.copyfileobj(lines, kept)
        kept.write("".join(f"{statement};\n" for statement in (_DESERTED, *moves)).encode())


def _accepted(lines: Iterator[bytes], server: int) -> Iterator[bytes]:
    """Yield the lines before the data that this server takes."""
    for line in lines:
        if server >= _TRANSACTION_TIMEOUT_SINCE or line != _TRANSACTION_TIMEOUT:
            yield line
        if line.startswith(b"CREATE "):
            return


def moves_to(schema: str | None, listed: str) -> list[str]:
    """Return the statements that bring Optuna's tables of a backup to the schema in which this user looks for them.

    They are in the schema `hpo` where the user of the old server was called hpo: by Postgres's own rule a user's tables
    go to the schema of the user's name, where there is one.
    """
    found = re.search(r"^\d+; \d+ \d+ TABLE (\S+) studies ", listed, re.MULTILINE)
    if found is None or schema in {None, found[1]}:
        return []
    there = re.findall(rf"^\d+; \d+ \d+ (TABLE|TYPE) {re.escape(found[1])} (\S+) ", listed, re.MULTILINE)
    return [
        f"ALTER {kind} {_quoted(found[1])}.{_quoted(name)} SET SCHEMA {_quoted(str(schema))}"
        for kind, name in there
        if kind == "TYPE" or name in optuna_tables()
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
