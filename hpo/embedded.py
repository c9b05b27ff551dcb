"""The embedded Postgres: one server a home folder, alive while somebody uses it.

    use(home)      this process is a user until `leave()`; the server is started where it doesn't run
    keep(home)     the server outlives its users
    release(home)  it doesn't any more

It stops when its last user has left, however the user left: `hpo.embedded_watchdog`, which describes the
locks, sees to that. A lock file needs a file system with `flock`: the home is a folder on a local disk.
"""

import enum
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from hpo import embedded_watchdog, postgres
from hpo.embedded_watchdog import Files, is_free, lock, stop_server, try_lock
from hpo.errors import StorageError

POLL_SECONDS = 0.05


class Released(enum.StrEnum):
    """What became of the server when it was released."""

    STOPPED = "stopped"
    IN_USE = "in use"
    """It stops when the last of its users leaves."""
    NOT_RUNNING = "not running"


class EmbeddedServer:
    """A user's hold on the embedded server; leaving it, or dying, lets the server go.

    Made by `use`. It may be left twice, and used as a context manager.
    """

    def __init__(self, files: Files, users_lock: int) -> None:
        self._files = files
        self._users_lock: int | None = users_lock

    @property
    def home(self) -> Path:
        """The folder that the server lives in."""
        return self._files.home

    @property
    def url(self) -> str:
        """The URL for SQLAlchemy."""
        return url(self.home)

    @property
    def libpq_url(self) -> str:
        """The URL for psql, pg_dump and psycopg2."""
        return libpq_url(self.home)

    def ensure_running(self) -> None:
        """Start the server and its watchdog again where something has killed them; else do nothing.

        Raises:
            StorageError: the server doesn't start, or this user has left.
        """
        if self._users_lock is None:
            raise StorageError(f"the embedded Postgres in {self.home} was left already: call use() again")
        with _tell_folder(self._files), _held(lock(self._files.start, fcntl.LOCK_EX)):
            _ensure_watchdog(self._files)
            _ensure_server(self._files)

    def leave(self) -> None:
        """Give the server up; it stops soon after its last user has."""
        users_lock, self._users_lock = self._users_lock, None
        if users_lock is None:
            return
        try:
            # The watchdog may have been killed; without one nobody would stop the server.
            with _held(lock(self._files.start, fcntl.LOCK_EX)):
                if not is_free(self._files.server):
                    _ensure_watchdog(self._files)
        except (OSError, StorageError):
            # The home is gone, and the server ends by itself; or the disk is full: the next user sees to it.
            pass
        finally:
            os.close(users_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


def use(home: Path) -> EmbeddedServer:
    """Become a user of the embedded server, starting it where it doesn't run.

    Safe from any number of processes at once: one starts the server and the others wait for it. Waits also
    while the watchdog is stopping the server, and then starts it again. A process that is forked off keeps
    the hold of its parent until it ends; one that is executed anew calls `use` by itself.

    Raises:
        StorageError: the folder can't be written, or the server doesn't start; one line, with the remedy.
    """
    files = _files(home)
    with _tell_folder(files):
        files.home.mkdir(parents=True, exist_ok=True)
        server = EmbeddedServer(files, lock(files.users, fcntl.LOCK_SH))
    try:
        server.ensure_running()
    except BaseException:
        server.leave()
        raise
    return server


def keep(home: Path) -> None:
    """Start the embedded server where it doesn't run, and let it outlive its users until `release`."""
    with use(home) as server, _tell_folder(server._files):
        server._files.keep.touch()


def release(home: Path) -> Released:
    """Undo `keep`: stop the server now where nobody uses it, else let it stop with its last user.

    Waits for a stop that is under way. Calling it again changes nothing.

    Raises:
        StorageError: the folder can't be written, or the server doesn't stop.
    """
    files = _files(home)
    if not files.home.exists():
        return Released.NOT_RUNNING
    with _tell_folder(files):
        while True:
            outcome = _release_unused(files) or _release_used(files)
            if outcome:
                return outcome
            time.sleep(POLL_SECONDS)


def is_running(home: Path) -> bool:
    """Whether the embedded server takes connections; starts nothing."""
    return postgres.is_ready(_files(home).data)


def exists(home: Path) -> bool:
    """Whether the embedded server has been used in this home before; starts and writes nothing."""
    return _files(home).data.exists()


def is_kept(home: Path) -> bool:
    """Whether the server outlives its users."""
    return _files(home).keep.exists()


def url(home: Path) -> str:
    """Return the URL for SQLAlchemy; it works while the server runs."""
    return libpq_url(home).replace("postgresql:", "postgresql+psycopg2:", 1)


def libpq_url(home: Path) -> str:
    """Return the URL for psql, pg_dump and psycopg2; it works while the server runs.

    The port is written out, for the variable PGPORT would change it. The path needs no quoting:
    `hpo.postgres.socket_folder` takes plain ones only.
    """
    folder = postgres.running_socket_folder(_files(home).data)
    return f"postgresql://postgres@/postgres?port=5432&host={folder}"


def _files(home: Path) -> Files:
    return Files(home.expanduser().resolve())


@contextmanager
def _held(file: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(file)


@contextmanager
def _tell_folder(files: Files) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the folder of the embedded Postgres must be a writable one, {files.home} is not "
            f"({error.strerror or error}): set HPO_HOME to another folder, or HPO_STORAGE to a Postgres URL"
        ) from None


def _ensure_server(files: Files) -> None:
    """Start the server where none lives; the caller holds the users' lock shared and the start lock."""
    deadline = time.monotonic() + postgres.START_SECONDS
    while time.monotonic() < deadline:
        server_lock = try_lock(files.server)
        if server_lock is not None:
            with _held(server_lock):
                _start_server(files, server_lock)
            return
        # It runs; or its starter died half-way and it comes up alone; or it was killed and its children end.
        if postgres.is_ready(files.data):
            return
        time.sleep(POLL_SECONDS)
    raise StorageError(
        f"the embedded Postgres in {files.data} must answer within {postgres.START_SECONDS} s, and does not: "
        f"read {files.data / 'server.log'}, and end its processes where they hang"
    )


def _start_server(files: Files, server_lock: int) -> None:
    account = postgres.server_account()
    postgres.open_to(account, files.data)
    postgres.init_data(files.data, account)
    postgres.start_server(files.data, account, server_lock)


def _ensure_watchdog(files: Files) -> None:
    """Start a watchdog where none lives; the caller holds the users' lock shared and the start lock."""
    watchdog_lock = try_lock(files.watchdog)
    if watchdog_lock is None:
        return
    account = postgres.server_account()
    owner = [str(account.uid), str(account.gid)] if account else ["-", "-"]
    script = [sys.executable, "-I", "-S", embedded_watchdog.__file__]
    command = [*script, str(files.home), str(postgres.program("pg_ctl")), *owner, str(watchdog_lock)]
    with _held(watchdog_lock), files.watchdog_log.open("ab") as log:
        # Its own session: Ctrl-C and the terminal's end don't reach it. It returns when it has detached.
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            pass_fds=[watchdog_lock],
            start_new_session=True,
            check=False,
        )
    if done.returncode:
        raise StorageError(
            f"the watchdog of the embedded Postgres must start, and ended with {done.returncode}: "
            f"read {files.watchdog_log}, or set HPO_STORAGE to the URL of a Postgres"
        )


def _release_unused(files: Files) -> Released | None:
    users_lock = try_lock(files.users)
    if users_lock is None:
        return None
    with _held(users_lock):
        if is_free(files.server):
            files.keep.unlink(missing_ok=True)
            return Released.NOT_RUNNING
        if not stop_server(files, postgres.program("pg_ctl"), postgres.server_account()):
            raise StorageError(
                f"the embedded Postgres in {files.data} must end within "
                f"{embedded_watchdog.STOP_SECONDS:.0f} s, and does not: "
                f"read {files.data / 'server.log'}, and end its processes"
            )
        # Last: a stop that is interrupted leaves a server that is kept, not one that nobody looks after.
        files.keep.unlink(missing_ok=True)
        return Released.STOPPED


def _release_used(files: Files) -> Released | None:
    users_lock = try_lock(files.users, fcntl.LOCK_SH)
    if users_lock is None:
        return None  # the watchdog is stopping it
    with _held(users_lock), _held(lock(files.start, fcntl.LOCK_EX)):
        if is_free(files.server):
            return None
        _ensure_watchdog(files)
        files.keep.unlink(missing_ok=True)
        return Released.IN_USE
