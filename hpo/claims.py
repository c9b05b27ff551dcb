"""Giving out trials and taking their ends: the one place where Optuna and the control schema meet.

Everything that takes a slot happens under the study's advisory lock, so that the cap is exact and a forced
configuration runs once, however many workers ask. A process may die between any two statements:

- A new trial is made on both sides in one transaction. One that Optuna has running, and that no worker holds, was taken
  from the queue by a worker that died at once. One that has a slot is put back by the next claim. One that has none is
  discarded by whoever looks for strays: everybody now and then, at first, after an error, and at the end of a study.
- The end of a trial is written to the control schema first, guarded by the worker that holds it. Optuna is told
  afterwards, by a worker when its next trial runs already. Whoever comes next tells what a dead worker could not.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from hpo.advisory_lock import LockGivenUpError, advisory_lock
from hpo.artifacts import forget_file, trials_with
from hpo.attempts import Attempts
from hpo.control import Control
from hpo.endings import Endings
from hpo.ledger import Ledger
from hpo.mirror import Mirror
from hpo.notes import note_text
from hpo.proposals import Proposals
from hpo.records import Cause, Outcome, StudyRecord, StudyState, TrialRecord, TrialState, WorkerRecord
from hpo.repeats import Repeats, Step
from hpo.search_end import SearchEnd
from hpo.storage import Storage
from hpo.strategies import STRATEGIES
from studies.declaration import Declaration, Derived, declare
from studies.spec import Spec

# How often a worker looks for trials that Optuna has running and nobody has ever heard of, in seconds: they do no harm
# until they are found, for they use no slot.
_STRAY_SECONDS = 60.0

# How soon a thread that waits for another one's turn notices that it should not.
_TURN_SECONDS = 0.5

_SLOT_TAKEN = "another trial has its slot"


@dataclass(frozen=True)
class Claim:
    """A trial that a worker holds, with everything needed to run it.

    Attributes:
        left: how many trials its study has still to give, as far as was known when this one was taken. A broker takes
            off one for each of its other workers, so that it may be negative.
    """

    study: str
    spec: Spec
    trial: TrialRecord
    params: Mapping[str, Any]
    prepared: Mapping[str, Any]
    left: int


class Claims:
    """Takes trials of one study for workers, one at a time, and takes back how they ended, any number at a time.

    Args:
        storage: where the study is.
        study: as it is stored.
        is_dead: whether a worker that holds a trial is gone.
        home: where the files of trials are kept.
        give_up: whether to wait no longer for the study's lock to take a trial.
        give_up_end: the same for writing down how one ended.
    """

    def __init__(
        self,
        storage: Storage,
        study: StudyRecord,
        is_dead: Callable[[WorkerRecord], bool],
        home: Path,
        give_up: Callable[[], bool] | None = None,
        give_up_end: Callable[[], bool] | None = None,
    ) -> None:
        self._storage = storage
        self._give_up, self._give_up_end = give_up, give_up_end
        self._turn = threading.Lock()
        self._control = Control(storage.engine)
        self.name = study.name
        self.spec = Spec.model_validate(study.spec)
        self.declaration: Declaration = declare(self.spec)
        self.stored_spec = study.spec
        self._prepared = study.prepared
        derived = tuple(Derived(**rule) for rule in study.prepared.get("derived", ()))
        self._attempts = Attempts(self.declaration, self.spec.max_attempts, derived)
        has_reference = study.phase == 1 and bool(self.declaration.forced)
        repeats = Repeats(self.spec.seeds, self.spec.seed, self.spec.direction, has_reference, study.imported)
        self._search_end = SearchEnd(self.spec, repeats)
        self._proposals = Proposals(self.spec, self.declaration, derived, study.imported, STRATEGIES["tpe"]())
        self._is_dead, self._home = is_dead, home
        self._mirror = Mirror(storage, study.name, self.spec.seed)
        self._ledger = Ledger(self._control, study.name)
        self._endings = Endings(self._control, self._mirror, study.name, self._attempts, home)
        self._strays_reaped_at = -math.inf
        self._is_warm = False

    def take(self, worker: str) -> Claim | None:
        """Give a trial to the worker, which holds none, or return None when the study has none to give now.

        Idempotent in the large: if the worker dies anywhere in here, the next call of any worker puts right what
        was left, and neither a slot nor a forced configuration is lost or used twice; so does the worker's own next
        call when it loses the database in here. Decides, with evidence, that the study has converged or finished.
        """
        if not self._is_warm:
            # Before others wait for it: of 10,000 trials it takes seconds.
            self._proposals.warm_up(self._ledger.read())
            self._is_warm = True
        try:
            with self._locked(self._give_up):
                return self._take(worker)
        except BaseException:
            # It may have taken a trial from the queue that it could not write down.
            self._strays_reaped_at = -math.inf
            raise

    def _take(self, worker: str) -> Claim | None:
        # Also of a study that has stopped: a trial that nobody will end must not stay running.
        self._reap_holders(taker=worker)
        if time.monotonic() - self._strays_reaped_at > _STRAY_SECONDS:
            self._reap_strays()
        while (study := self._control.study(self.name)) is not None and study.state is StudyState.RUNNING:
            records, queue = self._ledger.read(), self._mirror.waiting()
            if self._rescue_told(queue):
                continue
            end, step = self._search_end.look(study, records)
            if end:
                self._control.decide(self.name, end.state, end.reason, end.evidence)
                self._reap_strays()
                return None
            is_full = len(records) >= study.cap and sum(record.uses_slot for record in records) >= study.cap
            if (is_full or step.holds) and not self._ledger.waiting:
                return None
            if queue:
                trial = self._start_waiting(queue[0], worker, records, study.cap)
            else:
                trial = self._start_new(worker, records, step)
            if trial is not None:
                values, left = self._attempts.values(trial), study.cap - 1 - self._ledger.slots_begun
                return Claim(self.name, self.spec, trial, values, self._prepared, left)
        return None

    def end(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Write down how a trial ended and tell Optuna; see `write_end`."""
        held = self.write_end(trial, outcome)
        self.publish()
        return held

    def write_end(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Write down how a trial ended; return False when the worker does not hold it any more.

        A cause that is worth another attempt puts the same parameters back into the queue; see `hpo.attempts`. A score
        that comes too late is given to the trial that waits in place of this one, if nobody has begun that; otherwise
        it is dropped. Optuna is told by `publish`, at once or when there is time: see the module.
        """
        if self._endings.needs_lock(trial, outcome):
            with self._locked(self._give_up_end):
                held = self._endings.write(trial, outcome)
        else:
            held = self._endings.write(trial, outcome)
        if not held and outcome.cause is None:
            with self._locked(self._give_up_end):
                self._endings.give_to_successor(trial, outcome, self._ledger.read())
                self.publish()
        return held

    def report(self, number: int, value: float, step: int) -> None:
        """Pass an intermediate value on to Optuna, where the dashboard draws it."""
        self._mirror.report(number, value, step)

    def forget_surpassed(self) -> None:
        """Remove what trials have kept on this machine that are not among the study's best any more."""
        name = self.declaration.kept_of_best
        if name and (kept := trials_with(self._home, self.name, name)):
            # Of trials that this storage knows to have ended alone: another one may have a study of the same name.
            surpassed = self._control.surpassed(self.name, self.spec.direction, self.spec.keep_weights)
            for number in kept & surpassed:
                forget_file(self._home, self.name, number, name)

    def settle(self) -> int:
        """Reap, publish, and decide whether the study has ended: what `take` does, without taking.

        Returns:
            How many trials of dead workers were put back.
        """
        with self._locked():
            lost = self.reap()
            study = self._control.study(self.name)
            if study is not None and study.state is StudyState.RUNNING:
                end, _ = self._search_end.look(study, self._ledger.read())
                if end:
                    self._control.decide(self.name, end.state, end.reason, end.evidence)
        self.publish()
        return lost

    def reap(self) -> int:
        """Put back the trials of dead workers, and those that Optuna has running and nobody holds; return how many.

        Called under the study's lock, where nobody is between asking for a trial and writing down who holds it.
        """
        return self._reap_holders() + self._reap_strays()

    def _reap_holders(self, taker: str | None = None) -> int:
        """Put back the trials of dead workers.

        Args:
            taker: a worker that holds no trial: what is written down as its own it was given, and never heard of.
        """
        lost = 0
        for number, worker in self._control.holders(self.name):
            if worker.id == taker or worker.has_left or self._is_dead(worker):
                trial = self._control.trial(self.name, number)
                cause = Cause.INTERRUPTED if worker.id == taker else Cause.LOST
                lost += trial is not None and self._endings.lose(trial, cause)
        if lost:
            self.publish()
        return lost

    def _reap_strays(self) -> int:
        """Put back what Optuna has running and waits here, and discard there what has no slot."""
        lost = 0
        for number in self._mirror.strays():
            lost += self._endings.rescue(number, self._control.trial(self.name, number))
        if lost:
            self.publish()
        self._strays_reaped_at = time.monotonic()
        return lost

    def publish(self, number: int | None = None) -> None:
        """Tell Optuna how trials ended that it believes to be running, and the dashboard how the study stands.

        Args:
            number: of the only trial to tell of; default: all. Who tells all tells also what others are about to.
        """
        trials, noted = self._control.unpublished(self.name, number), False
        for trial in trials:
            if trial.is_infeasible:
                self._mirror.set_infeasible(trial.number)
            noted = self._control.mark_published(self.name, trial.number, partial(self._mirror.tell, trial=trial))
        if not noted:
            self._note()

    def _note(self) -> None:
        study = self._control.study(self.name)
        if study is not None and not study.noted:
            # What was learnt before it went on is not what it has learnt at its next end.
            learnt = self._mirror.learnt if study.ended else self._mirror.forget_learnt()
            self._mirror.note(note_text(study, self._control.children(self.name), learnt))
            self._control.mark_noted(study)

    @contextmanager
    def _locked(self, give_up: Callable[[], bool] | None = None) -> Iterator[None]:
        # Threads of one process queue here, with no connection in their hands: whoever holds the lock needs a second
        # one, and would wait for it behind all that wait for the lock.
        while not self._turn.acquire(timeout=_TURN_SECONDS):
            if give_up is not None and give_up():
                raise LockGivenUpError
        try:
            with (
                self._storage.engine.connect() as connection,
                advisory_lock(connection, f"hpo study {self.name}", give_up=give_up),
            ):
                yield
        finally:
            self._turn.release()

    def _rescue_told(self, queue: Sequence[int]) -> int:
        """Put back what waits here and does not in Optuna: a dashboard ended it, or a worker died that took it."""
        in_queue = set(queue)
        told = [each for each in self._ledger.waiting if each.number not in in_queue]
        return sum(self._endings.rescue(record.number, record) for record in told)

    def _start_new(self, worker: str, records: Sequence[TrialRecord], step: Step) -> TrialRecord | None:
        """Make the next trial and give it to the worker; None if it has no place here."""
        new = self._proposals.next(records, step.repeat)
        # Workers that were held back for repeats have something to do again, it may be.
        call = self.spec.seeds > 1

        def make(connection: Connection) -> int:
            return self._mirror.begin(connection, new, self.declaration.space, worker)

        return self._control.begin_new_trial(self.name, new, worker, make, call_others=call)

    def _start_waiting(self, first: int, worker: str, records: Sequence[TrialRecord], cap: int) -> TrialRecord | None:
        """Give the worker the trial that has waited longest; None if it has no place here, or does not wait any more.

        Args:
            first: its number.
            worker: that takes it.
            records: all trials of the study.
            cap: of the study.
        """
        known = next((record for record in records if record.number == first), None)
        if known is None:
            return self._adopt(worker, records, cap)
        if known.state is not TrialState.WAITING:
            # It was given a score while it waited, by a worker that died before it could tell Optuna.
            self.publish()
            return None
        if not self._mirror.take(known, self.declaration.space, worker):
            return None
        self._control.start_trial(self.name, known.number, worker)
        return self._control.trial(self.name, known.number)

    def _adopt(self, worker: str, records: Sequence[TrialRecord], cap: int) -> TrialRecord | None:
        """Take the first of Optuna's queue, which waits there alone; None if it has no place here."""
        asked = self._mirror.ask(self.declaration.space)
        why = ""
        if sum(record.uses_slot for record in records) >= cap:
            why = "enqueued when no slot was left"
        # Left by a worker that was about to put a trial back when it lost the database, or when another one had
        # put it back already.
        elif any(record.slot == asked.user_attrs.get("slot") and record.uses_slot for record in records):
            why = _SLOT_TAKEN
        else:
            adopted = self._proposals.adopted(asked.number, asked.params, asked.user_attrs, records)
            if not self._control.begin_trial(self.name, adopted, worker):
                why = _SLOT_TAKEN
        if why:
            self._mirror.discard(asked.number, Cause.INTERRUPTED.value, why)
            return None
        asked.set_user_attr("worker", worker)
        return self._control.trial(self.name, asked.number)
