"""A worker: takes trials of any open study, runs each in a process of its own, writes down how it ended.

    take ──> run ──> end ──> take …
      └── nothing to take: sleep until Postgres says that there is work, or a look around is due

`hpo.stopping` says how it is made to go.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError

from hpo.claims import Claim, Claims
from hpo.control import Control
from hpo.errors import StorageError
from hpo.fork_server import Channel, ForkFailedError, call
from hpo.memory_room import MemoryRoom, Reservation
from hpo.presence import is_dead, this_worker
from hpo.pulse import Pulse
from hpo.records import Cause, OpenWork, Outcome, StudyState, TrialRecord, WorkerRecord
from hpo.report_request import request_report, settle_reports
from hpo.settings import Settings
from hpo.stopping import Patience, StopSignals
from hpo.storage import LockGivenUpError, Storage, database_away, open_storage
from hpo.strategies import warm_up
from hpo.trial import TrialLimits, TrialProcess
from hpo.trial_room import needed_by, usable_here
from hpo.trial_watch import TrialWatch
from hpo.vitals import process_memory, read_vitals
from hpo.worker_log import log_to

_T = TypeVar("_T")
_LOG = logging.getLogger("hpo.worker")

_DATABASE_AWAY: tuple[type[Exception], ...] = database_away()
# What keeps a point of a curve from being written: also that the trial, or its study, has ended or gone elsewhere.
_NOT_REPORTED: tuple[type[Exception], ...] = (*_DATABASE_AWAY, UpdateFinishedTrialError, KeyError)
# A worker also stops waiting for another one's lock when it has to go.
_NOT_NOW: tuple[type[Exception], ...] = (*_DATABASE_AWAY, LockGivenUpError)

# How soon a worker that waits for its trial notices that it should stop, in seconds.
_LOOK_SECONDS = 0.2
# How often a trial that waits for memory looks whether there is room, in seconds.
_ROOM_SECONDS = 1.0
# A study that this machine cannot work on is looked at again after so many seconds.
_UNREADY_SECONDS = 600.0
# Of how many trials a worker remembers what memory it had afterwards.
_REMEMBERED_TRIALS = 50


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        storage_url: where the studies are; None is the embedded server.
        fork_address: of the fork server that trials come from.
        studies: the only studies to work on; none is any open one.
        prepared: whether these studies' data and objective have been looked at on this machine just now.
        threads: a trial may use.
        until_done: leave when these studies give out no more trials and none is running.
        idle_exit: leave after so many seconds without work; None waits forever.
        max_trials: leave after so many trials.
    """

    storage_url: str | None
    fork_address: str
    studies: tuple[str, ...] = ()
    prepared: bool = False
    threads: int = 1
    until_done: bool = False
    idle_exit: float | None = None
    max_trials: int | None = None


@dataclass
class _Ears:
    """What the pulse hears, said to the worker."""

    stop: StopSignals

    def work(self) -> None:
        self.stop.wake.set()

    def leave(self) -> None:
        if not self.stop.leave.is_set():
            self.stop.heard("leave")


def work_in_fork(channel: Channel, options: WorkerOptions, settings: Settings) -> int:
    """Run a worker in a fork until it is told to leave; return how many trials it ended."""
    stop = StopSignals()
    log_to(channel)
    channel.listen(stop.heard, stop.gone)
    return run_worker(options, settings, stop)


class ServerGoneError(ForkFailedError):
    """The fork server is gone, and no trial can be started without it; `ended` counts the trials until then."""

    def __init__(self, ended: int) -> None:
        super().__init__("the fork server is gone, and no trial can be started without it")
        self.ended = ended


def run_worker(options: WorkerOptions, settings: Settings, stop: StopSignals) -> int:
    """Run a worker in this process; return how many trials it ended.

    Whoever starts it has seen the storage: one that can't be used now is waited for.

    Raises:
        ServerGoneError: whoever watches over both starts another pair.
    """
    with ExitStack() as stack:
        storage = _open_patiently(stack, options, settings, stop)
        return 0 if storage is None else Worker(storage, options, settings, stop).live()


def _open_patiently(stack: ExitStack, options: WorkerOptions, settings: Settings, stop: StopSignals) -> Storage | None:
    patience = Patience(stop, 0.0)
    while True:
        try:
            return stack.enter_context(open_storage(settings, options.storage_url))
        except StorageError as error:
            _LOG.warning("next try in %.1f s: %s", patience.pause, error)
        if not patience.wait():
            return None


class Worker:
    """The loop."""

    def __init__(self, storage: Storage, options: WorkerOptions, settings: Settings, stop: StopSignals) -> None:
        self._storage, self._options, self._settings, self._stop = storage, options, settings, stop
        self._me = this_worker()
        self._control = Control(storage.engine)
        self._claims: dict[str, Claims] = {}
        self._unready_until: dict[str, float] = {}
        self._unreported: set[str] = set()
        self._trial: TrialProcess | None = None
        self._memory_after: deque[float] = deque(maxlen=_REMEMBERED_TRIALS)
        self._server_gone = False
        self._ended = 0
        self._pulse = Pulse(storage.engine, self._me.id, settings.beat_seconds, _Ears(stop), self._vitals)

    def live(self) -> int:
        """Register, work until there is no reason to stay, unregister; return how many trials were ended."""
        self._patiently(lambda: self._control.register(self._me), at_stake=False)
        warm_up()
        _LOG.info("worker %s is here", self._me.id)
        try:
            with self._pulse:
                self._work()
        finally:
            # A worker that cannot say that it leaves is missed by its silence.
            with suppress(*_DATABASE_AWAY):
                self._control.unregister(self._me.id)
        _LOG.info("leaving; trials ended here: %d", self._ended)
        if self._server_gone:
            raise ServerGoneError(self._ended)
        return self._ended

    def _work(self) -> None:
        idle_since = time.monotonic()
        while not self._is_leaving():
            # Before the look: what is said during it must not be slept through.
            self._stop.wake.clear()
            claim = self._patiently(self._take, at_stake=False)
            if claim is not None:
                self._run(claim)
                idle_since = time.monotonic()
                continue
            self._patiently(self._publish_reports, at_stake=False)
            if self._patiently(partial(self._may_leave, time.monotonic() - idle_since), at_stake=False):
                break
            if not self._is_leaving():
                self._stop.wake.wait(self._pause(time.monotonic() - idle_since))

    def _is_leaving(self) -> bool:
        return self._server_gone or self._stop.leave.is_set() or self._ended == self._options.max_trials

    def _pause(self, idle_seconds: float) -> float:
        if self._options.idle_exit is None:
            return self._settings.poll_seconds
        return min(self._settings.poll_seconds, max(0.05, self._options.idle_exit - idle_seconds))

    def _vitals(self) -> dict[str, Any]:
        trial = self._trial
        vitals = read_vitals(self._settings.home, trial.pid if trial else None, tuple(self._memory_after))
        return {**vitals, "studies": self._options.studies}

    def _take(self) -> Claim | None:
        for work in self._control.open_work(self._options.studies):
            deserted = any(map(self._is_deserter, work.holders))
            if not (work.gives or work.unsaid or deserted) or not self._is_ready(work):
                continue
            if claim := self._take_of(work, deserted):
                return claim
        return None

    def _take_of(self, work: OpenWork, deserted: bool) -> Claim | None:
        claims = self._claims[work.study]
        try:
            if work.gives or deserted:
                return claims.take(self._me.id)
            claims.publish()
        except KeyError:
            # Optuna's answer where a study is gone: whether it is, making the claims anew will say.
            del self._claims[work.study]
            if self._is_ready(work):
                raise
        return None

    def _publish_reports(self) -> None:
        """Put what was learnt into the dashboard where a study has ended; `hpo run` does so for its own workers."""
        options = self._options
        if not options.until_done:
            report = partial(request_report, options.fork_address, self._settings, options.storage_url)
            settle_reports(self._control, self._me.id, self._unreported, report)

    def _is_deserter(self, holder: WorkerRecord) -> bool:
        """Return whether the holder of a trial does not work on it; this worker itself does not while it looks."""
        return holder.id == self._me.id or holder.has_left or self._is_dead(holder)

    def _is_ready(self, work: OpenWork) -> bool:
        """Return whether this machine can work on a study; look again where that is unknown or was long ago."""
        name = work.study
        if time.monotonic() < self._unready_until.get(name, 0.0):
            return False
        study = self._control.study(name)
        # Made anew when `hpo resume` has changed the cap, or another run the mode.
        if study is None or (name in self._claims and self._claims[name].stored_spec == study.spec):
            return study is not None
        try:
            claims = Claims(self._storage, study, self._is_dead, self._settings.home, self._stop.suspend.is_set)
            if not self._options.prepared:
                arguments = (claims.declaration.readiness, claims.spec, study.prepared, self._settings.home)
                call(self._options.fork_address, "hpo.trial:check_ready", *arguments)
        except OSError:
            self._server_gone = True
            return False
        except (ValueError, ForkFailedError) as error:
            # A value error is wrong input, or a specification that a newer version has stored.
            said = str(error).strip().splitlines()[0]
            _LOG.warning("study %s is left to other machines: %s", name, said)
            self._control.raise_alert(self._me.host, f"{name} can't be worked on here: {said}")
            self._unready_until[name] = time.monotonic() + _UNREADY_SECONDS
            return False
        self._claims[name] = claims
        return True

    def _is_dead(self, worker: WorkerRecord) -> bool:
        silent = min(worker.silent_seconds, self._pulse.connected_seconds())
        return worker.id != self._me.id and is_dead(
            replace(worker, silent_seconds=silent), self._settings.lost_after_seconds
        )

    def _run(self, claim: Claim) -> None:
        trial, claims = claim.trial, self._claims[claim.study]
        self._unreported.add(claim.study)
        name = f"trial {trial.number} of {claim.study}"
        _LOG.info("%s begins: %s, attempt %d", name, trial.attributes.get("design", trial.origin.value), trial.attempt)
        began = time.monotonic()
        outcome = self._train(claim, claims)
        self._trial = None
        held = self._patiently(lambda: self._end(claims, trial, outcome))
        if held is False:
            _LOG.warning("%s was taken over while this worker was silent", name)
        # What is left behind now goes after the next trial.
        with suppress(*_DATABASE_AWAY):
            claims.forget_surpassed()
        result = f"{outcome.score:.6g}" if outcome.score is not None else str(outcome.cause)
        _LOG.info("%s ended after %.1f s: %s", name, time.monotonic() - began, result)
        self._ended += outcome.cause is not Cause.INTERRUPTED
        self._memory_after.append(process_memory(self._me.pid)[1])

    def _end(self, claims: Claims, trial: TrialRecord, outcome: Outcome) -> bool:
        try:
            return claims.end(trial, outcome)
        except KeyError:
            # The study was deleted in a dashboard that may write; a later look raises the alert.
            _LOG.exception("the end of trial %d of %s could not be told to Optuna", trial.number, claims.name)
            return True

    def _train(self, claim: Claim, claims: Claims) -> Outcome:
        """Wait until the machine has room for the trial, and run it."""
        reservation = self._reserve(claim)
        if reservation is None:
            return Outcome(Cause.INTERRUPTED, message="it was waiting for memory when its worker had to go")
        try:
            return self._run_process(claim, claims)
        finally:
            reservation.release()

    def _reserve(self, claim: Claim) -> Reservation | None:
        """Return the memory of a trial, when there is room for it; None when this worker has to go before that."""
        room, wanted, began = MemoryRoom(self._settings.home), needed_by(claim), time.monotonic()
        said = False
        while (reservation := room.reserve(wanted, usable_here)) is None:
            if not said:
                _LOG.info("trial %d waits for %.1f GiB of memory", claim.trial.number, wanted.ram / 2**30)
                said = True
            if self._stop.leave.is_set() or self._reason_to_kill(None, began):
                return None
            self._stop.leave.wait(_ROOM_SECONDS)
        return reservation

    def _run_process(self, claim: Claim, claims: Claims) -> Outcome:
        home, objective = self._settings.home, claims.declaration.objective
        began, number = time.monotonic(), claim.trial.number
        try:
            limits = TrialLimits(self._options.threads, self._settings.trial_memory_mb)
            process = TrialProcess(claim, objective, self._options.fork_address, home, limits)
        except OSError:
            self._server_gone = True
            return Outcome(Cause.INTERRUPTED, message="the fork server is gone")
        self._trial = process
        watch = TrialWatch(self._control, claim, claims.declaration.compared_within)

        def report(value: float, step: int) -> None:
            try:
                claims.report(number, value, step)
                if why := watch.look(value, step):
                    process.prune(why)
            except _NOT_REPORTED as error:
                # Only a point of a curve: the score itself is written when the database is back.
                _LOG.warning("no intermediate value of trial %d: %s", number, type(error).__name__)

        asked_at: float | None = None
        while True:
            outcome = process.wait(_LOOK_SECONDS, report)
            if outcome is not None:
                return outcome
            if self._stop.suspend.is_set() and asked_at is None:
                asked_at = time.monotonic()
                process.ask_to_stop()
            if why := self._reason_to_kill(asked_at, began):
                return process.kill(why)

    def _reason_to_kill(self, asked_at: float | None, began: float) -> str:
        if self._stop.abandon.is_set():
            return "its worker was told to stop at once"
        if asked_at is not None and time.monotonic() - asked_at > self._settings.grace_seconds:
            return f"it had not ended {self._settings.grace_seconds:g} s after its worker was told to stop"
        if self._pulse.holds_nothing_since(began):
            return "it was given to another worker while this one was silent"
        return ""

    def _may_leave(self, idle_seconds: float) -> bool:
        if self._options.idle_exit is not None and idle_seconds >= self._options.idle_exit:
            return True
        return self._options.until_done and all(map(self._is_done, self._options.studies))

    def _is_done(self, name: str) -> bool:
        # A trial that another worker runs may fail and come back: stay until none is open.
        study, counts = self._control.study(name), self._control.counts(name)
        if study is None or study.state is not StudyState.RUNNING:
            return True
        # Free slots were held back for repeats, and what they waited for has ended since this worker looked.
        gives_again = counts.used < counts.cap and name in self._claims
        return counts.running + counts.waiting == 0 and not gives_again

    def _patiently(self, action: Callable[[], _T], *, at_stake: bool = True) -> _T | None:
        """Call until it works while the database is away; None when it is still away and this worker has to go.

        Args:
            action: what needs the database.
            at_stake: whether work would be lost: a worker that has to go then tries on for the grace period.
        """
        patience = Patience(self._stop, self._settings.grace_seconds if at_stake else 0.0)
        while True:
            try:
                return action()
            except _NOT_NOW as error:
                _LOG.warning("the database is away, next try in %.1f s: %s", patience.pause, type(error).__name__)
            if not patience.wait():
                return None
            self._revive_server()

    def _revive_server(self) -> None:
        """Start the embedded server again: it has nobody else to do so."""
        if self._storage.server is not None:
            try:
                self._storage.server.ensure_running()
            except StorageError as error:
                _LOG.warning("%s", error)
