"""A worker: takes trials of any open study, runs each in a process of its own, writes down how it ended.

    take ──> run ──> end ──> take …
      │       └── meanwhile: tell Optuna how the trial before ended, and clear up after it
      └── nothing to take: do that, and sleep until Postgres says that there is work, or a look around is due

`hpo.stopping` says how it is made to go.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from hpo.advisory_lock import LockGivenUpError
from hpo.broker_client import BrokerClient
from hpo.claims import Claim
from hpo.control import Control
from hpo.errors import StorageError
from hpo.fork_server import Channel, Fork, ForkFailedError, spare_fork
from hpo.opening import open_patiently
from hpo.presence import this_worker
from hpo.pulse import Pulse
from hpo.records import Cause, Outcome, StudyState, TrialRecord
from hpo.report_request import request_report, settle_reports
from hpo.settings import Settings
from hpo.stopping import Patience, StopSignals
from hpo.storage import Storage, database_away
from hpo.trial_run import TrialRun
from hpo.trial_source import AskAgainError, TrialSource
from hpo.trial_watch import TrialWatch
from hpo.vitals import OwnMemory, read_vitals
from hpo.worker_log import log_to
from hpo.worker_options import WorkerOptions
from hpo.worklist import Worklist

_T = TypeVar("_T")
_LOG = logging.getLogger("hpo.worker")

_DATABASE_AWAY: tuple[type[Exception], ...] = (*database_away(), AskAgainError)
# A worker also stops waiting for another one's lock when it has to go.
_NOT_NOW: tuple[type[Exception], ...] = (*_DATABASE_AWAY, LockGivenUpError)

# A worker counts its own memory at every sixth beat, or sooner where it has moved.
_BEATS_A_COUNT = 6
# How many counts after a trial it remembers.
_REMEMBERED_COUNTS = 50


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
        storage = open_patiently(stack, options.storage_url, settings, stop)
        return 0 if storage is None else Worker(storage, options, settings, stop).live()


class Worker:
    """The loop."""

    def __init__(self, storage: Storage, options: WorkerOptions, settings: Settings, stop: StopSignals) -> None:
        self._storage, self._options, self._settings, self._stop = storage, options, settings, stop
        self._me = this_worker()
        self._control = Control(storage.engine)
        self._unreported: set[str] = set()
        self._trial: TrialRun | None = None
        self._untold: deque[tuple[str, int]] = deque()
        self._spare: Fork | None = None
        self._memory = OwnMemory(_BEATS_A_COUNT * settings.beat_seconds)
        self._memory_after: deque[float] = deque(maxlen=_REMEMBERED_COUNTS)
        self._measured_after = 0
        self._server_gone = False
        self._ended = 0
        self._pulse = Pulse(storage.engine, self._me.id, settings.beat_seconds, _Ears(stop), self._vitals)
        self._source = self._trials()

    def _trials(self) -> TrialSource:
        if self._options.broker is not None:
            return BrokerClient(self._options.broker, self._stop)
        given = self._storage, self._options, self._settings, self._pulse.connected_seconds, self._stop
        worklist = Worklist(*given)
        worklist.warm_up()
        return worklist

    def live(self) -> int:
        """Register, work until there is no reason to stay, unregister; return how many trials were ended."""
        self._patiently(lambda: self._control.register(self._me), at_stake=False)
        # Many workers would hold many connections: beside the pulse's each opens one when it needs it.
        self._storage.engine.dispose()
        _LOG.info("worker %s is here", self._me.id)
        try:
            with self._pulse:
                self._work()
                self._clear_up()
                self._tell_if_possible()
        finally:
            # A worker that cannot say that it leaves is missed by its silence.
            with suppress(*_DATABASE_AWAY):
                self._control.unregister(self._me.id)
        _LOG.info("leaving; trials ended here: %d", self._ended)
        if self._server_gone or self._source.server_gone:
            raise ServerGoneError(self._ended)
        return self._ended

    def _work(self) -> None:
        idle_since = time.monotonic()
        while not self._is_leaving():
            # Before the look: what is said during it must not be slept through.
            self._stop.wake.clear()
            claim = self._patiently(lambda: self._source.take(self._me.id), at_stake=False)
            if claim is not None:
                self._run(claim)
                idle_since = time.monotonic()
                continue
            self._clear_up()
            self._patiently(self._tell, at_stake=False)
            self._patiently(self._publish_reports, at_stake=False)
            if self._patiently(partial(self._may_leave, time.monotonic() - idle_since), at_stake=False):
                break
            if not self._is_leaving():
                self._stop.wake.wait(self._pause(time.monotonic() - idle_since))

    def _is_leaving(self) -> bool:
        gone = self._server_gone or self._source.server_gone
        return gone or self._stop.leave.is_set() or self._ended == self._options.max_trials

    def _pause(self, idle_seconds: float) -> float:
        if self._options.idle_exit is None:
            return self._settings.poll_seconds
        return min(self._settings.poll_seconds, max(0.05, self._options.idle_exit - idle_seconds))

    def _vitals(self) -> dict[str, Any]:
        trial = self._trial
        vitals = read_vitals(self._settings.home, self._memory, trial.pid if trial else None)
        if self._memory.is_new and self._ended > self._measured_after:
            self._measured_after = self._ended
            self._memory_after.append(vitals["own_memory_mb"])
        said = {"memory_after": [*self._memory_after], "trials_ended": self._ended, "studies": self._options.studies}
        return {**vitals, **said}

    def _publish_reports(self) -> None:
        """Put what was learnt into the dashboard where a study has ended; `hpo run` does so for its own workers."""
        options = self._options
        if not options.until_done:
            report = partial(request_report, options.fork_address, self._settings, options.storage_url)
            settle_reports(self._control, self._me.id, self._unreported, report)

    def _run(self, claim: Claim) -> None:
        trial = claim.trial
        self._unreported.add(claim.study)
        name = f"trial {trial.number} of {claim.study}"
        _LOG.info("%s begins: %s, attempt %d", name, trial.attributes.get("design", trial.origin.value), trial.attempt)
        began = time.monotonic()
        self._finish_trial()
        given = self._options, self._settings, self._stop
        self._trial = run = TrialRun(
            claim, self._reporter(claim), *given, self._pulse.holds_nothing_since, self._tell_if_possible, self._spare
        )
        self._spare = None
        outcome = run.outcome()
        if claim.left > 0:
            # Where that is not the last trial for this worker; otherwise it would end for nothing.
            self._fork_ahead()
        self._server_gone = run.server_gone
        if self._patiently(lambda: self._write_end(claim.study, trial, outcome)) is False:
            _LOG.warning("%s was taken over while this worker was silent", name)
        self._untold.append((claim.study, trial.number))
        result = f"{outcome.score:.6g}" if outcome.score is not None else str(outcome.cause)
        _LOG.info("%s ended after %.1f s: %s", name, time.monotonic() - began, result)
        self._ended += outcome.cause is not Cause.INTERRUPTED

    def _reporter(self, claim: Claim) -> Callable[[float, int], str]:
        watch = TrialWatch(self._control, claim)

        def report(value: float, step: int) -> str:
            self._source.report(claim.study, claim.trial.number, value, step)
            return watch.look(value, step)

        return report

    def _write_end(self, study: str, trial: TrialRecord, outcome: Outcome) -> bool:
        try:
            return self._source.write_end(study, trial, outcome)
        except KeyError:
            # The study was deleted in a dashboard that may write; a later look raises the alert.
            _LOG.exception("trial %d of %s could not be put back", trial.number, study)
            return True

    def _fork_ahead(self) -> None:
        """Have the process of the next trial made while that trial is looked for; 20 ms with torch loaded."""
        if not self._is_leaving():
            # Without a server it is the next trial that finds out.
            with suppress(OSError):
                self._spare = spare_fork(self._options.fork_address)

    def _finish_trial(self) -> None:
        """Wait until the process of the last trial is gone: only then does the next one get memory."""
        if self._trial is not None:
            self._trial.finish()
        self._trial = None

    def _clear_up(self) -> None:
        """Hold no process while there is no trial."""
        self._finish_trial()
        if self._spare is not None:
            self._spare.dismiss()
        self._spare = None

    def _tell(self) -> None:
        """Do what the next trial need not wait for: tell Optuna of the last one, and clear up after it."""
        while self._untold:
            study, number = self._untold[0]
            try:
                self._source.follow_up(study, number)
            except KeyError:
                _LOG.exception("the end of trial %d of %s could not be told to Optuna", number, study)
            self._untold.popleft()

    def _tell_if_possible(self) -> None:
        # What is not told now is told after the next trial, or by whoever comes next.
        with suppress(*_DATABASE_AWAY):
            self._tell()

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
        gives_again = counts.used < counts.cap and self._source.works_on(name)
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
                if isinstance(error, LockGivenUpError):
                    said = "others hold the study's lock"
                else:
                    by_broker = isinstance(error, AskAgainError)
                    said = str(error) if by_broker else f"the database is away: {type(error).__name__}"
                _LOG.warning("%s; next try in %.1f s", said, patience.pause)
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
