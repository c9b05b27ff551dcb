"""What open studies have for a worker, and on which of them this machine can work."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hpo.claims import Claim, Claims
from hpo.control import Control
from hpo.errors import StudyGoneError
from hpo.fork_server import ForkFailedError, call
from hpo.presence import is_dead, this_host
from hpo.records import OpenWork, Outcome, StudyRecord, TrialRecord, WorkerRecord
from hpo.settings import Settings
from hpo.stopping import StopSignals
from hpo.storage import Storage
from hpo.strategies import warm_up
from hpo.worker_options import WorkerOptions

_LOG = logging.getLogger("hpo.worker")

# A study that this machine cannot work on is looked at again after so many seconds.
_UNREADY_SECONDS = 600.0


class Worklist:
    """The open studies of a machine, as `hpo.trial_source.TrialSource`; one `take` at a time.

    Args:
        storage: where they are.
        options: of the worker.
        settings: of this machine.
        connected_seconds: for how long the beats of this process have been on time.
        stop: what its worker is told. With a word to go it waits for nobody's lock to take a trial. To write down how
            one ended it does, for the grace period.

    Attributes:
        claims: of every study that was worked on, by its name.
        server_gone: whether the fork server did not answer.
    """

    def __init__(
        self,
        storage: Storage,
        options: WorkerOptions,
        settings: Settings,
        connected_seconds: Callable[[], float],
        stop: StopSignals,
    ) -> None:
        self._storage, self._options, self._settings = storage, options, settings
        self._asker = ""
        self._connected_seconds, self._stop = connected_seconds, stop
        self._control = Control(storage.engine)
        self._unready_until: dict[str, float] = {}
        self._last: dict[str, Claims] = {}
        self.claims: dict[str, Claims] = {}
        self.server_gone = False

    def warm_up(self) -> None:
        """Do once what the first trial would wait for."""
        warm_up()

    def take(self, worker: str) -> Claim | None:
        """Take a trial of the study that has waited longest for a worker; say on the way what nobody has said."""
        self._asker, self.server_gone = worker, False
        for work in self._control.open_work(self._options.studies):
            # Where there is something to take, whoever takes it looks at the holders anyway.
            deserted = not work.gives and any(map(self._is_deserter, work.holders))
            if not (work.gives or work.unsaid or deserted) or not self._is_ready(work):
                continue
            if claim := self._take_of(work, deserted):
                return claim
        return None

    def _take_of(self, work: OpenWork, deserted: bool) -> Claim | None:
        claims = self.claims[work.study]
        try:
            if work.gives or deserted:
                return claims.take(self._asker)
            claims.publish()
        except KeyError:
            # Optuna's answer where a study is gone: whether it is, making the claims anew will say.
            del self.claims[work.study]
            if self._is_ready(work):
                raise
        return None

    def _is_deserter(self, holder: WorkerRecord) -> bool:
        """Return whether the holder of a trial does not work on it; the worker that asks does not while it does."""
        return holder.id == self._asker or holder.has_left or self._is_dead(holder)

    def _is_ready(self, work: OpenWork) -> bool:
        """Return whether this machine can work on a study; look again where that is unknown or was long ago."""
        name = work.study
        if time.monotonic() < self._unready_until.get(name, 0.0):
            return False
        # Made anew when `hpo resume` has changed the cap, or another run the mode.
        if name in self.claims and self.claims[name].stored_spec == work.spec:
            return True
        study = self._control.study(name)
        if study is None:
            return False
        try:
            claims = self._claims_for(study)
            if not self._options.prepared:
                arguments = (claims.declaration.readiness, claims.spec, study.prepared, self._settings.home)
                call(self._options.fork_address, "hpo.trial:check_ready", *arguments)
        except OSError:
            self.server_gone = True
            return False
        except (ValueError, ForkFailedError) as error:
            # A value error is wrong input, or a specification that a newer version has stored.
            said = str(error).strip().splitlines()[0]
            _LOG.warning("study %s is left to other machines: %s", name, said)
            self._control.raise_alert(this_host(), f"{name} can't be worked on here: {said}")
            self._unready_until[name] = time.monotonic() + _UNREADY_SECONDS
            return False
        self.claims[name] = claims
        return True

    def _is_dead(self, worker: WorkerRecord) -> bool:
        silent = min(worker.silent_seconds, self._connected_seconds())
        return worker.id != self._asker and is_dead(
            replace(worker, silent_seconds=silent), self._settings.lost_after_seconds
        )

    def _claims_for(self, study: StudyRecord) -> Claims:
        home, give_up_end = self._settings.home, partial(self._stop.suspended_for, self._settings.grace_seconds)
        made = Claims(self._storage, study, self._is_dead, home, self._stop.suspend.is_set, give_up_end)
        self._last[study.name] = made
        return made

    def write_end(self, study: str, trial: TrialRecord, outcome: Outcome) -> bool:
        """Write down how a trial ended; see `Claims.write_end`."""
        return self._claims_of(study).write_end(trial, outcome)

    def follow_up(self, study: str, number: int) -> None:
        """Tell Optuna how a trial ended, and remove what it has kept if it is not among the best."""
        claims = self._claims_of(study)
        claims.publish(number)
        claims.forget_surpassed()

    def report(self, study: str, number: int, value: float, step: int) -> None:
        """Pass an intermediate value on to Optuna."""
        self._claims_of(study).report(number, value, step)

    def works_on(self, study: str) -> bool:
        """Return whether trials of that study can be run here, as far as this is known."""
        return study in self.claims

    def _claims_of(self, name: str) -> Claims:
        """Return the claims of a study of which a trial runs, also where the study is gone from Optuna since."""
        if (known := self._last.get(name)) is not None:
            return known
        # A broker that died has given the trial out.
        study = self._control.study(name)
        if study is None:
            raise KeyError(f"study {name} is not in the storage any more")
        try:
            return self._claims_for(study)
        except StudyGoneError as error:
            raise KeyError(str(error)) from error
