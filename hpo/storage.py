"""The Postgres that studies and control state live in: its URL, engine, locks and Optuna's tables.

A password never gets into a message, a representation or a log: URLs are shown by `masked`, and what a driver
says passes through `redact`.
"""

import logging
import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote_plus
from weakref import WeakKeyDictionary

import psycopg2
from psycopg2 import extensions
from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from hpo import embedded
from hpo.advisory_lock import advisory_lock
from hpo.embedded import EmbeddedServer
from hpo.errors import StorageError
from hpo.masking import hide_parameters, shown
from hpo.optuna_versions import are_newest
from hpo.settings import Settings

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

DRIVER = "postgresql+psycopg2"
OPTUNA_SCHEMA_LOCK = "hpo.optuna-schema"
"""The advisory lock under which Optuna's tables are made, once, however many processes begin together."""

# What is used at once is kept: to connect anew takes 5 ms, and the broker of a fleet has three or four at work.
_POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 2}
# A connection that was used so recently, in seconds, is not asked whether it still stands before it is used again: a
# claim takes eleven, one after the other, and each question is a turn of the server.
_TRUSTED_SECONDS = 1.0
_CONNECT: dict[str, str | int] = {
    "connect_timeout": 10,
    "application_name": "hpo",
    # A server that vanished is noticed after a minute, not after the two hours that Linux waits by itself.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# The same for the server: the locks of a machine that vanished are free after a minute. Without effect on a socket.
_SERVER_KEEPALIVES = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
_READING: WeakKeyDictionary[Engine, Engine] = WeakKeyDictionary()
_READING_LOCK = threading.Lock()
_REMEDY = "write postgresql://USER:PASSWORD@HOST:5432/DATABASE, or leave it out for the embedded Postgres"
_OPTION = "HPO_STORAGE or --storage"
_SCHEMES = ("postgres", "postgresql", DRIVER)


def parse_storage_url(given: str) -> URL:
    """Return the URL of a Postgres, with the driver named and the password where `masked` hides it.

    Raises:
        StorageError: it is not the URL of a Postgres; the message shows it without its password.
    """
    try:
        url = make_url(given.strip())
    except (ArgumentError, ValueError):
        raise StorageError(f"the storage must be the URL of a Postgres, not {masked(given)!r}: {_REMEDY}") from None
    if url.drivername not in _SCHEMES:
        raise StorageError(f"the storage must be a Postgres (postgresql://…), not {masked(given)!r}: {_REMEDY}")
    if re.search("[@&=]", url.host or "") or "@" in (url.database or ""):
        raise StorageError(
            f"an @ inside the storage's user name or password must be written %40, not as it is "
            f"in {masked(given)!r}: percent-encode it"
        )
    url = _password_in_place(url.set(drivername=DRIVER))
    if "\0" in unquote_plus(url.render_as_string(hide_password=False)):
        raise StorageError(f"the storage's URL must hold no NUL (%00), and {masked(given)!r} does: take it out")
    return url


def _password_in_place(url: URL) -> URL:
    # libpq takes the password as a parameter too, where SQLAlchemy would show it.
    password = url.query.get("password")
    if not password:
        return url
    last = password if isinstance(password, str) else password[-1]
    return url.difference_update_query(["password"]).set(password=last)


def masked(url: URL | str) -> str:
    """Return the URL with *** for its password, and for every parameter that may be a secret.

    Of a text that is not quite a URL nothing is shown but the scheme.
    """
    if isinstance(url, URL):
        return hide_parameters(url.render_as_string(hide_password=True))
    return shown(url)


def redact(message: str, url: URL) -> str:
    """Return the message with *** for the URL's password, as it is and percent-encoded."""
    password = url.password
    if not password:
        return message
    # The longest first: a form that holds another one would leave its rest behind.
    forms = {
        password,
        quote(password, safe=""),
        quote(password),
        quote(password, safe=" +"),
        quote_plus(password),
    }
    for form in sorted(forms, key=len, reverse=True):
        message = message.replace(form, "***")
    return message


def connect_arguments(url: URL) -> dict[str, str | int]:
    """Return what every connection is opened with; what the URL says itself goes before."""
    return {name: value for name, value in _CONNECT.items() if name not in url.query}


def open_engine(url: URL, **options: str) -> Engine:
    """Return an engine with a small pool; it connects when it is first used.

    A connection that broke while it was idle is replaced unnoticed; connecting gives up after ten seconds.

    Args:
        url: of a Postgres.
        options: of `sqlalchemy.create_engine`.
    """
    engine = create_engine(url, connect_args=connect_arguments(url), **_POOL, **options)
    logging.getLogger("sqlalchemy.pool.impl.QueuePool").addFilter(_is_no_interruption)
    _watch_for_vanished_clients(engine)
    _replace_what_broke_while_idle(engine)
    return engine


def reading_of(engine: Engine) -> Engine:
    """Return the engine to read with by single statements, on connections of its own; it goes with the other one.

    Outside a transaction, whose begin and end are a turn of the server each. Not by an option of the other engine's
    connections: each would be set back by a statement, and one that fails there is neither wrapped nor given back.
    """
    with _READING_LOCK:
        if engine not in _READING:
            reading = _READING[engine] = open_engine(engine.url, isolation_level="AUTOCOMMIT")
            event.listen(engine, "engine_disposed", lambda _engine: reading.dispose())
        return _READING[engine]


def _is_no_interruption(record: logging.LogRecord) -> bool:
    """Keep a traceback out of the log where a command is told to stop while a connection goes back to its pool.

    SQLAlchemy logs what it passes on, and the command says itself, in one line, that it was interrupted.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt))


def _watch_for_vanished_clients(engine: Engine) -> None:
    _set_on_connect(engine, _SERVER_KEEPALIVES)


def _replace_what_broke_while_idle(engine: Engine) -> None:
    @event.listens_for(engine, "checkin")
    def note(_connection: extensions.connection | None, record: ConnectionPoolEntry) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def look(connection: extensions.connection, record: ConnectionPoolEntry, _: object) -> None:
        if time.monotonic() - record.info.get("used", math.inf) > _TRUSTED_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except psycopg2.Error:
                raise InvalidatePoolError from None


def _set_on_connect(engine: Engine, statements: str) -> None:
    @event.listens_for(engine, "connect")
    def set_them(connection: extensions.connection, _: object) -> None:
        # Not as options of the connection: a pooler such as PgBouncer refuses those.
        with connection, connection.cursor() as cursor:
            cursor.execute(statements)


def check_reachable(engine: Engine, option: str = _OPTION) -> None:
    """Connect once.

    Args:
        engine: of any Postgres.
        option: where its URL was given, for the remedy.

    Raises:
        StorageError: no server answers, it refuses the user, the database is missing, or it can't serve now.
    """
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise _unreachable(engine.url, str(error.orig), option) from None


def _unreachable(url: URL, said: str, option: str = _OPTION) -> StorageError:
    where, reason = masked(url), redact(" ".join(said.split()), url)
    if re.search(r'database ".*" does not exist', said):
        rule = f"the storage's database must exist, {url.database or url.username!r} in {where} does not"
        remedy = f"create it with `createdb {url.database or url.username}`, or name another"
    elif re.search(r"permission denied", said):
        rule = f"the storage's user must be allowed to create tables, {where} says: {reason}"
        remedy = "GRANT CREATE ON SCHEMA public, or let the user own the database"
    elif re.search(r'authentication failed|no password supplied|role ".*" does not exist|pg_hba\.conf', said):
        rule = f"the storage must accept the user and password of {where}, and refused them ({reason})"
        remedy = f"correct them in {option}"
    elif "FATAL" in said:
        rule = f"the storage must accept connections, {where} says: {reason}"
        remedy = "mend that on the server, or wait and try again"
    else:
        rule = f"the storage must be reachable, {where} is not ({reason})"
        remedy = "check host and port, and that the server runs and lets this machine in"
    return StorageError(f"{rule}: {remedy}")


def database_away() -> tuple[type[Exception], ...]:
    """Return what SQLAlchemy and Optuna raise while the database is away."""
    from optuna.exceptions import StorageInternalError

    return OperationalError, InterfaceError, StorageInternalError


def open_optuna_storage(url: URL) -> "RDBStorage":
    """Return Optuna's storage, with its tables made where they are missing.

    Optuna creates its tables without a lock, and several processes on an empty database crash on each other:
    here it does so under the advisory lock `OPTUNA_SCHEMA_LOCK`. Where they are made already, workers that begin
    together share that lock: 64 would queue for a quarter of a minute. Nothing is written to stdout or stderr;
    Optuna's own notes are silenced for the whole process, for the service has its own.

    Its commits don't wait for the disk; telling the end of a trial is then a third shorter. Whatever the control
    schema writes waits, and with it all that was written before: after a power cut Optuna's tables are never behind
    what the control schema says that they hold.

    Raises:
        StorageError: the database is out of reach, its user may not create tables, or the tables are of
            another version of Optuna.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = open_engine(url)
    address = optuna_address(url)
    options = {**_POOL, "connect_args": connect_arguments(url)}
    try:
        with engine.connect() as connection:
            storage = None
            # Without tables the first try fails; where the database can't be used, the second says so.
            with (
                advisory_lock(connection, OPTUNA_SCHEMA_LOCK, shared=True),
                suppress(DBAPIError, optuna.exceptions.StorageInternalError),
            ):
                known = are_newest(connection)
                connection.rollback()
                storage = optuna.storages.RDBStorage(
                    address, engine_kwargs=options, skip_compatibility_check=known, skip_table_creation=True
                )
            if storage is None:
                with advisory_lock(connection, OPTUNA_SCHEMA_LOCK):
                    storage = optuna.storages.RDBStorage(address, engine_kwargs=options)
            _watch_for_vanished_clients(storage.engine)
            _replace_what_broke_while_idle(storage.engine)
            _set_on_connect(storage.engine, "SET synchronous_commit = off")
            # Those that making the tables has opened were opened without it.
            storage.engine.dispose()
            return storage
    except DBAPIError as error:
        raise _unreachable(url, str(error.orig)) from None
    except RuntimeError as error:
        raise StorageError(
            f"the storage's tables must be of this Optuna's version, {optuna.__version__}, in {masked(url)}: "
            f"{redact(' '.join(str(error).split()), url)} Run `hpo db upgrade`"
        ) from None
    finally:
        engine.dispose()


def optuna_address(url: URL) -> str:
    """Return the URL as Optuna takes it, with its password: it fills in templates, so that a brace is written twice."""
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def create_optuna_schema(url: URL) -> None:
    """Make Optuna's tables where they are missing; see `open_optuna_storage`."""
    _close_optuna(open_optuna_storage(url))


def _close_optuna(storage: "RDBStorage") -> None:
    storage.remove_session()
    storage.engine.dispose()


@dataclass
class Storage:
    """An open storage; made by `open_storage`.

    Attributes:
        url: its URL; use `masked` to show it.
        engine: the engine for control state.
        server: the hold on the embedded server, or None where the URL was given.
    """

    url: URL
    engine: Engine
    server: EmbeddedServer | None = None

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded Postgres."""
        return self.server is not None

    @cached_property
    def optuna(self) -> "RDBStorage":
        """Optuna's storage, opened when it is first asked for, for that takes a quarter of a second."""
        return open_optuna_storage(self.url)

    def close(self) -> None:
        """Close the connections and leave the embedded server; it may be called twice."""
        opened = self.__dict__.pop("optuna", None)
        if opened is not None:
            _close_optuna(opened)
        self.engine.dispose()
        if self.server is not None:
            self.server.leave()


@contextmanager
def open_storage(settings: Settings, override: str | None = None) -> Iterator[Storage]:
    """Yield the storage of `override`, else of `HPO_STORAGE`, else the embedded one; close it at the end.

    The embedded server is started where it doesn't run, and this process is its user until the end.

    Raises:
        StorageError: the URL is not one of a Postgres, or the database can't be used; nothing was written.
    """
    given = override if override is not None else settings.storage
    with ExitStack() as stack:
        if given is None:
            server = stack.enter_context(embedded.use(settings.home))
            storage = _open(parse_storage_url(server.url), server)
        else:
            storage = _open(parse_storage_url(given), None)
        stack.callback(storage.close)
        check_reachable(storage.engine)
        yield storage


def _open(url: URL, server: EmbeddedServer | None) -> Storage:
    return Storage(url=url, engine=open_engine(url), server=server)
