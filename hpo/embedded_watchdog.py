"""The watchdog of the embedded Postgres: stops the server when its last user has left, however it left.

`hpo.embedded` starts this file by its path with `python -I -S`, so it uses the standard library alone and is
up in some 20 ms. It waits for the exclusive lock that every user holds shared. The kernel drops a lock when
its process dies, so a user killed with SIGKILL counts as gone at once.

The locks, all `flock` on files in the home folder:

    postgres.users     shared by every user, exclusive while the server is being stopped
    postgres.start     exclusive while a user makes sure that server and watchdog run
    postgres.watchdog  held by the watchdog for its whole life: handed to it locked, as an open file
    postgres.server    held by the server for its whole life, in the same way, and by all of its children

The last one makes "no server lives here" exact: no process id is trusted, which after a reboot or under
another container's process table may be somebody else's.
"""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

STOP_SECONDS = 300.0
IMMEDIATE_AFTER_SECONDS = 200.0
POLL_SECONDS = 0.05


class Files(NamedTuple):
    """Where things lie in the home folder."""

    home: Path

    @property
    def data(self) -> Path:
        """The data directory of the server."""
        return self.home / "postgres"

    @property
    def users(self) -> Path:
        """Lock shared by the users."""
        return self.home / "postgres.users"

    @property
    def start(self) -> Path:
        """Lock of the one who is starting things."""
        return self.home / "postgres.start"

    @property
    def watchdog(self) -> Path:
        """Lock of the living watchdog."""
        return self.home / "postgres.watchdog"

    @property
    def server(self) -> Path:
        """Lock of the living server."""
        return self.home / "postgres.server"

    @property
    def keep(self) -> Path:
        """While this file exists the server outlives its users."""
        return self.home / "postgres.keep"

    @property
    def watchdog_log(self) -> Path:
        """What a watchdog that failed had to say; normally empty."""
        return self.home / "postgres.watchdog.log"


class Account(NamedTuple):
    """The operating-system user that the server runs as, where this process is root."""

    uid: int
    gid: int


def open_lock(path: Path) -> int:
    """Return an open, unlocked lock file; it is made where it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def lock(path: Path, operation: int) -> int:
    """Wait for a lock (`fcntl.LOCK_SH` or `LOCK_EX`) and return its file; closing that releases it."""
    file = open_lock(path)
    try:
        fcntl.flock(file, operation)
    except BaseException:
        os.close(file)
        raise
    return file


def try_lock(path: Path, operation: int = fcntl.LOCK_EX) -> int | None:
    """Return the lock's file, or None where another process holds it."""
    try:
        return lock(path, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock."""
    file = try_lock(path)
    if file is not None:
        os.close(file)
    return file is not None


def stop_server(files: Files, pg_ctl: Path, account: Account | None) -> bool:
    """Stop the server and return whether it is gone; the caller holds the users' lock exclusively.

    A server that is just being started has no pid file yet, so the command is repeated until the server's
    lock is free. Fast first, which writes everything out; a server that doesn't end is stopped at once and
    recovers from its log at the next start.
    """
    began = time.monotonic()
    while not is_free(files.server):
        waited = time.monotonic() - began
        if waited > STOP_SECONDS:
            return False
        mode = "fast" if waited < IMMEDIATE_AFTER_SECONDS else "immediate"
        command = [str(pg_ctl), "stop", "-D", str(files.data), "-m", mode, "-w", "-t", "60"]
        _run_quietly(command, account)
        if not is_free(files.server):
            time.sleep(POLL_SECONDS)
    return True


def _run_quietly(command: list[str], account: Account | None) -> None:
    # No environment: variables such as PGPORT and PGDATA would change what the command does.
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        check=False,
        start_new_session=True,
    )


def _watch(files: Files, pg_ctl: Path, account: Account | None, watchdog_lock: int) -> None:
    users = lock(files.users, fcntl.LOCK_EX)
    try:
        if _is_same_file(users, files.users) and not files.keep.exists():
            stop_server(files, pg_ctl, account)
    finally:
        # In this order: whoever gets in next must find no watchdog, or it would rely on one that is leaving.
        os.close(watchdog_lock)
        os.close(users)


def _is_same_file(file: int, path: Path) -> bool:
    # A home that was deleted and made anew belongs to another watchdog.
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def main(arguments: list[str]) -> None:
    """Detach and watch; the arguments are home, pg_ctl, uid and gid (or -), and the locked file's number."""
    home, pg_ctl, uid, gid, watchdog_lock = arguments
    if os.fork():
        # The starter collects this process; the watchdog itself becomes nobody's child.
        os._exit(0)
    account = None if uid == "-" else Account(int(uid), int(gid))
    _watch(Files(Path(home)), Path(pg_ctl), account, int(watchdog_lock))


if __name__ == "__main__":
    main(sys.argv[1:])
