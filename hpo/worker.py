"""A worker: takes trials, runs each in a process of its own, writes down how it ended, beats.

    take ──> run ──> end ──> take …
      └── nothing to take: leave when told to, when idle for too long, or when the work is done

`leave` lets the trial under way end first; `abandon` gives it back at once, without spending an attempt.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import InterfaceError, OperationalError

from hpo.claims import Claim, Claims
from hpo.control import Control
from hpo.fork_server import Channel
from hpo.presence import is_dead, this_worker
from hpo.records import Cause, Outcome, StudyState, WorkerRecord
from hpo.settings import Settings
from hpo.storage import Storage, open_storage
from hpo.trial import TrialProcess

_T = TypeVar("_T")
_LOG = logging.getLogger("hpo.worker")

# What SQLAlchemy and Optuna raise while the database is away.
DATABASE_AWAY = (OperationalError, InterfaceError, StorageInternalError)

# How soon a worker that waits for its trial notices that it should stop, in seconds.
_LOOK_SECONDS = 0.2
# Waiting for a database that is away: first and longest pause between two tries, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        storage_url: where the studies are; None is the embedded server.
        fork_address: of the fork server that trials come from.
        study: the only study to work on; None is any open one.
        threads: a trial may use.
        until_done: leave when the study gives out no more trials and none is running.
        idle_exit: leave after so many seconds without work; None waits forever.
        max_trials: leave after so many trials.
    """

    storage_url: str | None
    fork_address: str
    study: str | None = None
    threads: int = 1
    until_done: bool = False
    idle_exit: float | None = None
    max_trials: int | None = None


@dataclass
class StopSignals:
    """What somebody else tells a worker."""

    leave: threading.Event = field(default_factory=threading.Event)
    abandon: threading.Event = field(default_factory=threading.Event)

    def heard(self, word: object) -> None:
        """Take a word from the channel: `leave` or `abandon`."""
        if word == "abandon":
            self.abandon.set()
        self.leave.set()

    def gone(self) -> None:
        """Whoever started the worker is there no more."""
        self.heard("abandon")


def work_in_fork(channel: Channel, options: WorkerOptions, settings: Settings) -> int:
    """Run a worker in a fork until it is told to leave; return how many trials it ended."""
    stop = StopSignals()
    channel.listen(stop.heard, stop.gone)
    return run_worker(options, settings, stop)


def run_worker(options: WorkerOptions, settings: Settings, stop: StopSignals) -> int:
    """Run a worker in this process; return how many trials it ended."""
    with open_storage(settings, options.storage_url) as storage:
        me = this_worker()
        control = Control(storage.engine)
        _patiently(lambda: control.register(me), storage, stop)
        beating = threading.Thread(target=_beat, args=(control, me, settings, stop), name="beat", daemon=True)
        beating.start()
        try:
            return Worker(storage, options, settings, stop, me).run()
        finally:
            stop.leave.set()
            stop.abandon.set()
            beating.join()
            # A worker that cannot say that it leaves is missed by its silence.
            with suppress(*DATABASE_AWAY):
                control.unregister(me.id)


class Worker:
    """The loop."""

    def __init__(
        self,
        storage: Storage,
        options: WorkerOptions,
        settings: Settings,
        stop: StopSignals,
        me: WorkerRecord,
    ) -> None:
        self._storage, self._options, self._settings, self._stop, self._me = (
            storage,
            options,
            settings,
            stop,
            me,
        )
        self._control = Control(storage.engine)
        self._claims: dict[str, Claims] = {}
        self._ended = 0

    def run(self) -> int:
        """Work until told to stop or until there is no reason to stay."""
        idle_since = time.monotonic()
        while not self._stop.leave.is_set() and self._ended != self._options.max_trials:
            claim = _patiently(self._take, self._storage, self._stop)
            if claim is not None:
                self._run(claim)
                idle_since = time.monotonic()
            elif _patiently(partial(self._may_leave, time.monotonic() - idle_since), self._storage, self._stop):
                break
            else:
                self._stop.leave.wait(self._settings.poll_seconds)
        return self._ended

    def _take(self) -> Claim | None:
        for name in self._control.open_studies(self._options.study):
            claim = self._claims_of(name).take(self._me.id)
            if claim is not None:
                return claim
        return None

    def _claims_of(self, name: str) -> Claims:
        study = self._control.study(name)
        assert study is not None
        # Made anew when `hpo resume` has changed the cap, and with it the specification.
        if name not in self._claims or self._claims[name].spec.fingerprint != study.fingerprint:
            self._claims[name] = Claims(self._storage, study, self._is_dead)
        return self._claims[name]

    def _is_dead(self, worker: WorkerRecord) -> bool:
        return worker.id != self._me.id and is_dead(worker, self._settings.lost_after_seconds)

    def _run(self, claim: Claim) -> None:
        claims = self._claims[claim.study]
        outcome = self._train(claim, claims)
        held = _patiently(lambda: claims.end(claim.trial, outcome), self._storage, self._stop)
        if held is False:
            _LOG.warning("trial %d of %s was taken over; its result is dropped", claim.trial.number, claim.study)
        self._ended += 1

    def _train(self, claim: Claim, claims: Claims) -> Outcome:
        home, objective = self._settings.home, claims.declaration.objective
        process = TrialProcess(claim, objective, self._options.fork_address, home, self._options.threads)
        number = claim.trial.number

        def report(value: float, step: int) -> None:
            try:
                claims.report(number, value, step)
            except (*DATABASE_AWAY, UpdateFinishedTrialError) as error:
                # Only a point of a curve: the score itself is written when the database is back.
                _LOG.warning("no intermediate value of trial %d: %s", number, type(error).__name__)

        while True:
            outcome = process.wait(_LOOK_SECONDS, report)
            if outcome is not None:
                return outcome
            if self._stop.abandon.is_set():
                process.kill()
                return Outcome(Cause.INTERRUPTED, message="its worker was told to stop at once")

    def _may_leave(self, idle_seconds: float) -> bool:
        if self._options.idle_exit is not None and idle_seconds >= self._options.idle_exit:
            return True
        if not self._options.until_done or self._options.study is None:
            return False
        # A trial that another worker runs may fail and come back: stay until none is open.
        study = self._control.study(self._options.study)
        counts = self._control.counts(self._options.study)
        return study is None or study.state is not StudyState.RUNNING or counts.running + counts.waiting == 0


def _beat(control: Control, me: WorkerRecord, settings: Settings, stop: StopSignals) -> None:
    """Say that this worker is alive until it has ended; a database that is away does not end the beat."""
    while not stop.abandon.wait(settings.beat_seconds):
        try:
            control.beat(me.id)
        except DATABASE_AWAY as error:
            _LOG.warning("no beat: %s", type(error).__name__)


def _patiently(action: Callable[[], _T], storage: Storage, stop: StopSignals) -> _T | None:
    """Call until it works while the database is away; return None when told to stop at once meanwhile."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return action()
        except DATABASE_AWAY as error:
            _LOG.warning("the database is away, next try in %.1f s: %s", pause, type(error).__name__)
            if stop.abandon.wait(pause):
                return None
            pause = min(2 * pause, _LONGEST_PAUSE)
            if storage.server is not None:
                # The embedded server has nobody else to start it again.
                storage.server.ensure_running()
