"""One claim on its way through a worker: it waits for memory, trains in a process of its own, and is stopped."""

import logging
import time
from collections.abc import Callable

from optuna.exceptions import UpdateFinishedTrialError

from hpo.claims import Claim
from hpo.fork_server import Fork
from hpo.memory_room import MemoryRoom, Reservation
from hpo.records import Cause, Outcome
from hpo.settings import Settings
from hpo.stopping import StopSignals
from hpo.storage import database_away
from hpo.trial import TrialLimits, TrialProcess
from hpo.trial_room import needed_by, usable_at_least, usable_here
from hpo.trial_source import AskAgainError
from hpo.worker_options import WorkerOptions
from studies.declaration import declare

_LOG = logging.getLogger("hpo.worker")

# What keeps a point of a curve from being written: also that the trial, or its study, has ended or gone elsewhere.
_NOT_REPORTED: tuple[type[Exception], ...] = (*database_away(), AskAgainError, UpdateFinishedTrialError, KeyError)
# How soon a worker that waits for its trial notices that it should stop, in seconds.
_LOOK_SECONDS = 0.2
# How often a trial that waits for memory looks whether there is room, in seconds.
_ROOM_SECONDS = 1.0


class TrialRun:
    """Runs one claimed trial to its end.

    Args:
        claim: the trial.
        report: passes an intermediate value on, and returns why the trial is hopeless, or nothing.
        options: of the worker.
        settings: of this machine.
        stop: what the worker is told.
        holds_nothing_since: whether a beat after that monotonic moment found that the worker holds no trial.
        meanwhile: what the worker has still to do; called once, when the trial runs or has to wait.
        spare: a fork that waits already, to run in.

    Attributes:
        server_gone: whether the fork server did not answer.
    """

    def __init__(
        self,
        claim: Claim,
        report: Callable[[float, int], str],
        options: WorkerOptions,
        settings: Settings,
        stop: StopSignals,
        holds_nothing_since: Callable[[float], bool],
        meanwhile: Callable[[], None],
        spare: Fork | None,
    ) -> None:
        self._claim, self._options, self._settings, self._stop = claim, options, settings, stop
        self._holds_nothing_since, self._meanwhile = holds_nothing_since, meanwhile
        self._spare = spare
        self._pass_on = report
        self._reservation: Reservation | None = None
        self._process: TrialProcess | None = None
        self.server_gone = False

    @property
    def pid(self) -> int | None:
        """The process id of the trial, once it has begun."""
        return self._process.pid if self._process else None

    def outcome(self) -> Outcome:
        """Wait until the machine has room for the trial, run it, and return how it ended as soon as it says so."""
        self._reservation = self._reserve()
        if self._reservation is None:
            if self._spare:
                self._spare.dismiss()
            return Outcome(Cause.INTERRUPTED, message="it was waiting for memory when its worker had to go")
        return self._run_process(self._reservation.card)

    def finish(self) -> None:
        """Wait until the process is gone, and let others have its memory."""
        while self._process is not None and self._process.wait(_LOOK_SECONDS, self._report) is None:
            if self._stop.abandon.is_set():
                self._process.kill("its worker was told to stop at once")
        if self._reservation is not None:
            self._reservation.release()
        self._process = self._reservation = None

    def _reserve(self) -> Reservation | None:
        """Return the memory of a trial, when there is room for it; None when this worker has to go before that."""
        room, wanted, began = MemoryRoom(self._settings.home), needed_by(self._claim), time.monotonic()
        said = False
        while (reservation := room.reserve(wanted, usable_here, usable_at_least)) is None:
            if not said:
                _LOG.info("trial %d waits for %.1f GiB of memory", self._claim.trial.number, wanted.ram / 2**30)
                said = True
                self._do_meanwhile()
            if self._stop.leave.is_set() or self._reason_to_kill(None, began):
                return None
            self._stop.leave.wait(_ROOM_SECONDS)
        return reservation

    def _do_meanwhile(self) -> None:
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()

    def _run_process(self, card: str | None) -> Outcome:
        home, objective = self._settings.home, declare(self._claim.spec).objective
        began = time.monotonic()
        try:
            limits = TrialLimits(self._options.threads, self._settings.trial_memory_mb, card)
            process = TrialProcess(self._claim, objective, self._options.fork_address, home, limits, self._spare)
        except OSError:
            self.server_gone = True
            return Outcome(Cause.INTERRUPTED, message="the fork server is gone")
        self._process = process
        self._do_meanwhile()
        asked_at: float | None = None
        while True:
            outcome = process.wait(_LOOK_SECONDS, self._report) or process.last_words
            if outcome is not None:
                return outcome
            if self._stop.suspend.is_set() and asked_at is None:
                asked_at = time.monotonic()
                process.ask_to_stop()
            if why := self._reason_to_kill(asked_at, began):
                return process.kill(why)

    def _report(self, value: float, step: int) -> None:
        try:
            if (why := self._pass_on(value, step)) and self._process is not None:
                self._process.prune(why)
        except _NOT_REPORTED as error:
            # Only a point of a curve: the score itself is written when the database is back.
            _LOG.warning("no intermediate value of trial %d: %s", self._claim.trial.number, type(error).__name__)

    def _reason_to_kill(self, asked_at: float | None, began: float) -> str:
        if self._stop.abandon.is_set():
            return "its worker was told to stop at once"
        if asked_at is not None and time.monotonic() - asked_at > self._settings.grace_seconds:
            return f"it had not ended {self._settings.grace_seconds:g} s after its worker was told to stop"
        if self._holds_nothing_since(began):
            return "it was given to another worker while this one was silent"
        return ""
