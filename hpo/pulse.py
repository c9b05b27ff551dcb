"""A worker's pulse: a thread that says "I am alive" in database time, and hears when there is work.

It has a connection of its own, so that neither a long transaction nor a training step can hold it up. Between two
beats it sleeps on that connection: Postgres wakes it (`LISTEN`), and it wakes the worker. A database that is away
does not end it.
"""

import json
import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import psycopg2
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from hpo.sql import statement

_LOG = logging.getLogger("hpo.worker")
# How soon a pulse that lost the database tries again, at first and at most, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
# A beat that is later than this many intervals says that the database could not be reached, whatever the driver says.
_LATE_BEATS = 2.5
# For the last beat of a worker that leaves; a statement that hangs must not hold it up for long.
_JOIN_SECONDS = 5.0


class Ears(Protocol):
    """Whoever is told what the pulse hears."""

    def work(self) -> None:
        """There may be work."""

    def leave(self) -> None:
        """Somebody has asked this worker to leave after its trial."""


class Pulse:
    """Beats for one worker for as long as the block lasts."""

    def __init__(
        self, engine: Engine, worker: str, beat_seconds: float, ears: Ears, vitals: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._engine, self._worker, self._beat_seconds = engine, worker, beat_seconds
        self._ears, self._vitals = ears, vitals
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ended = False
        self._connected_since, self._last_beat = -math.inf, math.inf
        self._holds_nothing_since = -math.inf
        self._thread = threading.Thread(target=self._live, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        os.write(self._wake_write, b"x")
        self._thread.join(_JOIN_SECONDS)
        if not self._thread.is_alive():
            os.close(self._wake_read)
            os.close(self._wake_write)

    def connected_seconds(self) -> float:
        """Return for how long the beats have been on time; infinite if they always were, 0 while one is overdue.

        Others were cut off as well, it may be, and have to be given the time to beat again. A connection that stalls
        raises nothing: the beats themselves have to tell.
        """
        now = time.monotonic()
        return 0.0 if self._is_late(now) else now - self._connected_since

    def _is_late(self, now: float) -> bool:
        return now - self._last_beat > _LATE_BEATS * self._beat_seconds

    def holds_nothing_since(self, moment: float) -> bool:
        """Return whether a beat that began after that monotonic moment found no trial of this worker."""
        return self._holds_nothing_since > moment

    def _live(self) -> None:
        pause, was_away = _FIRST_PAUSE, False
        while not self._ended:
            try:
                with self._engine.connect() as connection:
                    connection.execution_options(isolation_level="AUTOCOMMIT")
                    # The pool must not lend out a connection that listens.
                    connection.detach()
                    self._listen(connection, was_away)
            # Whatever it is: a worker without a pulse would be taken for dead, and its trial given away.
            except Exception as error:
                if isinstance(error, DBAPIError | psycopg2.Error):
                    _LOG.warning("no pulse, the database is away: %s", type(error).__name__)
                else:
                    _LOG.exception("no pulse")
                was_away = True
                self._sleep([], pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE

    def _listen(self, connection: Connection, was_away: bool) -> None:
        connection.execute(text("LISTEN hpo_work"))
        connection.execute(text("LISTEN hpo_leave"))
        self._beat(connection)
        if was_away:
            self._connected_since = time.monotonic()
            _LOG.info("the database is back")
        # What was said while nobody listened is not said again.
        self._ears.work()
        raw: Any = connection.connection.dbapi_connection
        next_beat = time.monotonic() + self._beat_seconds
        while not self._ended:
            self._sleep([raw], next_beat - time.monotonic())
            raw.poll()
            heard = {notice.channel for notice in raw.notifies}
            raw.notifies.clear()
            if "hpo_leave" in heard or time.monotonic() >= next_beat:
                self._beat(connection)
                next_beat = time.monotonic() + self._beat_seconds
            if "hpo_work" in heard:
                self._ears.work()

    def _sleep(self, sources: list[Any], seconds: float) -> None:
        select.select([*sources, self._wake_read], [], [], max(0.0, seconds))

    def _beat(self, connection: Connection) -> None:
        began = time.monotonic()
        values = {"id": self._worker, "vitals": self._vitals_as_json()}
        found = connection.execute(statement("beat"), values).mappings().first()
        now = time.monotonic()
        if self._is_late(now):
            self._connected_since = now
        self._last_beat = now
        if found is None:
            return
        if found["leave_asked"]:
            self._ears.leave()
        if not found["holds"]:
            self._holds_nothing_since = began

    def _vitals_as_json(self) -> str:
        try:
            return json.dumps(self._vitals())
        # A disk that can't be looked at, a driver that fails: no reason to be taken for dead.
        except Exception as error:
            _LOG.warning("no vitals with this beat: %s", error)
            return "{}"
