"""Locks by name in the database: whoever holds one is alone with what the name stands for, on whatever machine."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain, repeat
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

_LOCK_NOT_AVAILABLE, _CANCELLED = "55P03", "57014"
# How long a lock is waited for at a time: first, and then.
_LOCK_SECONDS, _LONG_LOCK_SECONDS = 1, 60


def _lock_key(name: str) -> int:
    """Return the 64-bit key of an advisory lock: the same in every process and version."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


class LockGivenUpError(Exception):
    """Whoever waited for a lock was told not to wait any longer."""


@contextmanager
def advisory_lock(
    connection: Connection, name: str, *, give_up: Callable[[], bool] | None = None, shared: bool = False
) -> Iterator[None]:
    """Hold the database's lock of that name; wait for it where another connection holds it.

    A shared lock is held together with other shared ones.

    The lock belongs to the connection, not to a transaction: the body begins and commits its own, as many as
    it likes, and what it left open is rolled back. The server releases the lock when the connection breaks,
    so the lock of a process that died is free. It may be taken again inside itself. It doesn't work through a
    pooler in transaction mode.

    Raises:
        ValueError: the connection is inside a transaction, which would outlive the lock.
        LockGivenUpError: `give_up`, asked every second, has said so. Without it a command waits, deaf to Ctrl-C for a
            second at a time.
    """
    if connection.in_transaction():
        raise ValueError("an advisory lock is taken outside a transaction: take it before begin()")
    key = _lock_key(name)
    call, mode = (f"_shared({key})", "ShareLock") if shared else (f"({key})", "ExclusiveLock")
    _lock(connection, call, partial(_is_held, connection, key, mode), give_up)
    try:
        yield
    finally:
        _unlock(connection, call)


def _lock(connection: Connection, call: str, is_held: Callable[[], bool], give_up: Callable[[], bool] | None) -> None:
    # A worker that waits longer than a second waits with many others, and would lose its place in their queue every
    # time. Only what can be broken off waits that long: the driver doesn't hear Ctrl-C meanwhile.
    seconds = chain([_LOCK_SECONDS], repeat(_LONG_LOCK_SECONDS if give_up else _LOCK_SECONDS))
    try:
        while not (_lock_within(next(seconds), connection, call, give_up) or is_held()):
            if give_up and give_up():
                raise LockGivenUpError
    except BaseException:
        # The lock may be there or not; without its connection it isn't.
        connection.invalidate()
        raise


def _lock_within(seconds: int, connection: Connection, call: str, give_up: Callable[[], bool] | None) -> bool:
    # The transaction ends here: one that stays open keeps the server from cleaning up.
    breaking_off = _broken_off_by(give_up, connection) if give_up and seconds > _LOCK_SECONDS else nullcontext()
    try:
        with connection.begin(), breaking_off:
            connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'; SELECT pg_advisory_lock{call}"))
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) not in {_LOCK_NOT_AVAILABLE, _CANCELLED}:
            raise
        return False
    return True


def _is_held(connection: Connection, key: int, mode: str) -> bool:
    """Return whether this session was given a lock although its wait for it ended with a timeout.

    Postgres may grant a lock in the moment in which the time is over: it reports the timeout, and the session keeps
    what it was granted. Taken once more and given back once, nobody else would ever get it. With 64 workers, which wait
    about a second each, three of eight runs of 100 trials came to a stand that way.
    """
    held = text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted "
        "AND mode = :mode AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = :key)"
    )
    with connection.begin():
        return bool(connection.execute(held, {"key": key, "mode": mode}).scalar_one())


@contextmanager
def _broken_off_by(give_up: Callable[[], bool], connection: Connection) -> Iterator[None]:
    """Cancel what the connection waits for when `give_up`, asked every second, says so."""
    raw: Any = connection.connection.dbapi_connection
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOCK_SECONDS):
            if give_up():
                raw.cancel()

    watcher = threading.Thread(target=watch, name="lock", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _unlock(connection: Connection, call: str) -> None:
    if connection.closed or connection.invalidated:
        return  # the server has released it
    try:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock{call}"))
        connection.commit()
    except DBAPIError:
        # The pool must not lend out a connection that may still hold it.
        connection.invalidate()
