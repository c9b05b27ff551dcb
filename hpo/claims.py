"""Giving out trials and taking their ends: the one place where Optuna and the control schema meet.

Everything that takes a slot happens under the study's advisory lock, so that the cap is exact and a forced
configuration runs once, however many workers ask. A process may die between any two statements:

- A trial that Optuna has running, and that no worker holds, was asked for by a worker that died at once. The next
  claim finds it and replaces it.
- The end of a trial is written to the control schema first, guarded by the worker that holds it, and then told to
  Optuna. Whoever comes next tells what a dead worker could not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from hpo.artifacts import forget_checkpoint, forget_file, forget_outcome, kept_outcome, move_files, trials_with
from hpo.attempts import Attempts, final_state, judgement
from hpo.control import Control
from hpo.convergence import Convergence, check_early_stopping_convergence
from hpo.ledger import Ledger
from hpo.mirror import Mirror
from hpo.notes import note_text
from hpo.output import count
from hpo.records import Cause, Origin, Outcome, StudyRecord, StudyState, TrialRecord, TrialState, WorkerRecord
from hpo.repeats import Repeat, Repeats, Step, carried, fresh_seed, once_each, seed_noise
from hpo.storage import Storage, advisory_lock
from hpo.strategies import STRATEGIES
from studies.declaration import Declaration, Derived, declare, derive
from studies.spec import Spec

# A proposal that repeats an ended trial is asked anew this often before the space counts as exhausted.
_PROPOSALS = 16

# Holds what nobody holds, for the moment between finding a stray trial and putting it back; in the first migration.
NOBODY = "nobody"


@dataclass(frozen=True)
class Claim:
    """A trial that a worker holds, with everything needed to run it."""

    study: str
    spec: Spec
    trial: TrialRecord
    params: Mapping[str, Any]
    prepared: Mapping[str, Any]


class Claims:
    """Takes trials of one study for a worker, and takes back how they ended."""

    def __init__(
        self,
        storage: Storage,
        study: StudyRecord,
        is_dead: Callable[[WorkerRecord], bool],
        home: Path,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._storage = storage
        self._give_up = give_up
        self._control = Control(storage.engine)
        self.name = study.name
        self.spec = Spec.model_validate(study.spec)
        self.declaration: Declaration = declare(self.spec)
        self.stored_spec = study.spec
        self._prepared = study.prepared
        self._derived = tuple(Derived(**rule) for rule in study.prepared.get("derived", ()))
        self._attempts = Attempts(self.declaration, self.spec.max_attempts, self._derived)
        self._history = study.imported
        has_reference = study.phase == 1 and bool(self.declaration.forced)
        self._repeats = Repeats(self.spec.seeds, self.spec.seed, self.spec.direction, has_reference, self._history)
        self._is_dead, self._home = is_dead, home
        self._mirror = Mirror(storage, study.name, self.spec.seed)
        self._ledger = Ledger(self._control, study.name)

    def take(self, worker: str) -> Claim | None:
        """Give a trial to the worker, which holds none, or return None when the study has none to give now.

        Idempotent in the large: if the worker dies anywhere in here, the next call of any worker puts right what
        was left, and neither a slot nor a forced configuration is lost or used twice; so does the worker's own next
        call when it loses the database in here. Decides, with evidence, that the study has converged or finished.
        """
        with self._locked():
            # Also of a study that has stopped: a trial that nobody will end must not stay running.
            self.reap(taker=worker)
            while (study := self._control.study(self.name)) is not None and study.state is StudyState.RUNNING:
                records = self._ledger.read()
                if self._rescue_told(records):
                    continue
                verdict, step = self._look(study, records)
                if self._ended(study, records, verdict, step) or not self._something_to_run(study, records, step):
                    return None
                trial = self._start(worker, study.cap, records)
                if trial is not None:
                    return Claim(self.name, self.spec, trial, self._attempts.values(trial), self._prepared)
            return None

    def end(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Write down how a trial ended; return False when the worker does not hold it any more.

        A cause that is worth another attempt puts the same parameters back into the queue; see `hpo.attempts`. A score
        that comes too late is given to the trial that waits in place of this one, if nobody has begun that; otherwise
        it is dropped.
        """
        if self._attempts.runs_again(trial, outcome.cause):
            with self._locked():
                held = self._write(trial, outcome)
        else:
            held = self._write(trial, outcome)
        if not held and outcome.cause is None:
            with self._locked():
                self._give_to_successor(trial, outcome)
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
                records = self._ledger.read()
                self._ended(study, records, *self._look(study, records))
        self.publish()
        return lost

    def reap(self, taker: str | None = None) -> int:
        """Put back the trials of dead workers, and those that Optuna has running and nobody holds.

        Called under the study's lock, where nobody is between asking for a trial and writing down who holds it.

        Args:
            taker: a worker that holds no trial: what is written down as its own it was given, and never heard of.
        """
        lost = 0
        for number, worker in self._control.holders(self.name):
            if worker.id == taker or worker.has_left or self._is_dead(worker):
                trial = self._control.trial(self.name, number)
                lost += trial is not None and self._lose(trial, Cause.INTERRUPTED if worker.id == taker else Cause.LOST)
        for frozen in self._mirror.running():
            trial = self._control.trial(self.name, frozen.number)
            if trial is None or trial.state is TrialState.WAITING:
                lost += self._rescue(frozen.number, trial)
        if lost:
            self.publish()
        return lost

    def publish(self) -> None:
        """Tell Optuna how trials ended that it believes to be running, and the dashboard how the study stands."""
        for number in self._control.unpublished(self.name):
            trial = self._control.trial(self.name, number)
            assert trial is not None
            self._mirror.tell(trial)
            self._control.mark_published(self.name, number)
        study = self._control.study(self.name)
        if study is not None and not study.noted:
            # What was learnt before it went on is not what it has learnt at its next end.
            learnt = self._mirror.learnt if study.ended else self._mirror.forget_learnt()
            self._mirror.note(note_text(study, self._control.children(self.name), learnt))
            self._control.mark_noted(study)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (
            self._storage.engine.connect() as connection,
            advisory_lock(connection, f"hpo study {self.name}", give_up=self._give_up),
        ):
            yield

    def _look(self, study: StudyRecord, records: Sequence[TrialRecord]) -> tuple[Convergence | None, Step]:
        """Return whether the search has converged, where that is asked, and what repeats are due before it ends."""
        verdict = None if study.convergence_off else self.convergence(records)
        return verdict, self._repeats.step(records, study.cap, converged=bool(verdict))

    def _ended(
        self, study: StudyRecord, records: Sequence[TrialRecord], verdict: Convergence | None, step: Step
    ) -> bool:
        if step.is_due:
            return False
        if verdict:
            evidence = {**verdict.evidence(), **self._repeats.evidence(records)}
            self._control.decide(self.name, StudyState.CONVERGED, verdict.reason, evidence)
            return True
        used = [record for record in records if record.uses_slot]
        if len(used) < study.cap or any(_is_open(record) for record in used):
            return False
        complete = sum(record.state is TrialState.COMPLETE for record in used)
        failed, pruned = (sum(r.state is state for r in used) for state in (TrialState.FAILED, TrialState.PRUNED))
        reason = f"the cap of {count(study.cap, 'trial')} is used: {complete} complete"
        reason += (f", {pruned} pruned" if pruned else "") + (f", {failed} failed for good" if failed else "")
        counted = {"complete": complete, "failed": failed, "cap": study.cap} | ({"pruned": pruned} if pruned else {})
        evidence = {**counted, **self._repeats.evidence(records)}
        self._control.decide(self.name, StudyState.FINISHED, reason, evidence)
        return True

    def convergence(self, records: Sequence[TrialRecord]) -> Convergence:
        """Apply the study's convergence rule to its trials; repeats change a mean, and are no evidence of search."""
        complete = [record for record in once_each(records) if record.state is TrialState.COMPLETE]
        rule, noise = self.spec.early_stop, seed_noise(records)
        return check_early_stopping_convergence(
            [record.score for record in complete],
            patience=rule.patience,
            threshold=rule.threshold,
            top_k=rule.top_k,
            configurations=[record.key for record in complete],
            open_forced=sum(record.origin is Origin.FORCED and _is_open(record) for record in records),
            direction=self.spec.direction,
            seed_noise=noise.standard_deviation if noise else None,
        )

    def _something_to_run(self, study: StudyRecord, records: Sequence[TrialRecord], step: Step) -> bool:
        """Make sure that a trial waits in Optuna, if the cap allows one more and the repeats don't hold it back."""
        if any(record.state is TrialState.WAITING for record in records):
            return True
        used = sum(record.uses_slot for record in records)
        if used >= study.cap or step.holds:
            return False
        if not self._mirror.waiting():
            slot = 1 + max((record.slot for record in records), default=0)
            self._mirror.enqueue(self._repeat(step.repeat, slot) if step.repeat else self._proposal(records, slot))
        return True

    def _repeat(self, repeat: Repeat, slot: int) -> TrialRecord:
        return repeat.as_trial(slot, derive(repeat.of.params, self._derived))

    def _proposal(self, records: Sequence[TrialRecord], slot: int) -> TrialRecord:
        params = self._fresh_proposal(records, slot)
        known = [*self._history, *records]
        return TrialRecord(
            number=-1,
            slot=slot,
            turn=1,
            attempt=1,
            origin=Origin.SAMPLED,
            params=params,
            seed=fresh_seed(self.spec.seed, tuple(sorted(params.items())), known),
            state=TrialState.WAITING,
            attributes=derive(params, self._derived),
        )

    def _fresh_proposal(self, records: Sequence[TrialRecord], slot: int) -> dict[str, Any]:
        known = [*self._history, *records]
        judged = {TrialState.COMPLETE, TrialState.PRUNED}
        seen = {record.key for record in known if record.state in judged or record.is_infeasible}
        params: dict[str, Any] = {}
        shown = once_each(known)
        for draw in range(_PROPOSALS):
            seed = (self.spec.seed * 1_000_003 + slot * _PROPOSALS + draw) % 2**32
            params = STRATEGIES["tpe"](shown, self.declaration.space, self.spec.direction, seed)
            if tuple(sorted(params.items())) not in seen:
                return params
        return params

    def _start(self, worker: str, cap: int, records: Sequence[TrialRecord]) -> TrialRecord | None:
        """Ask Optuna for the trial that has waited longest and give it to the worker; None if it has no place here."""
        if not self._mirror.waiting():
            return None
        asked = self._mirror.ask(self.declaration.space)
        if self._control.trial(self.name, asked.number) is None and (why := self._not_adopted(asked, cap, records)):
            self._mirror.discard(asked.number, Cause.INTERRUPTED.value, why)
            return None
        if not self._control.start_trial(self.name, asked.number, worker):
            # It was given a score while it waited, by a worker that died before it could tell Optuna.
            self.publish()
            return None
        asked.set_user_attr("worker", worker)
        return self._control.trial(self.name, asked.number)

    def _not_adopted(self, asked: Trial, cap: int, records: Sequence[TrialRecord]) -> str:
        """Give a slot to a trial that waited in Optuna alone, just proposed or enqueued by hand; or say why not."""
        if sum(record.uses_slot for record in records) >= cap:
            return "enqueued when no slot was left"
        slot = asked.user_attrs.get("slot")
        # Left by a worker that was about to put a trial back when it lost the database, or when another one had
        # put it back already.
        if any(record.slot == slot and record.uses_slot for record in records):
            return "another trial has its slot"
        record = self._adopted(asked.number, asked.params, asked.user_attrs, records)
        return "" if self._control.add_trial(self.name, record) else "another trial has its slot"

    def _adopted(
        self, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any], records: Sequence[TrialRecord]
    ) -> TrialRecord:
        return TrialRecord(
            number=number,
            slot=attributes.get("slot") or 1 + max((record.slot for record in records), default=0),
            turn=attributes.get("turn", 1),
            attempt=attributes.get("attempt", 1),
            origin=Origin(attributes.get("origin", Origin.ENQUEUED)),
            params=params,
            seed=attributes.get("seed", self.spec.seed),
            state=TrialState.WAITING,
            attributes={**derive(params, self._derived), **carried(attributes)},
        )

    def _put_back(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Replace a running trial by one with the same parameters that waits; False when it is not held.

        Called under the study's lock: nobody takes the trial away between the look and the replacement.
        """
        cause = outcome.cause
        assert cause is not None
        now = self._control.trial(self.name, trial.number)
        if now is None or now.state is not TrialState.RUNNING or now.worker != trial.worker:
            return False
        successor = self._attempts.successor(trial, cause)
        number = self._mirror.waiting_number(successor)
        if number is None:
            self._mirror.enqueue(successor)
            number = self._mirror.waiting_number(successor)
        assert number is not None
        return self._control.replace_trial(self.name, trial, outcome, replace(successor, number=number))

    def _write(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Put a trial back or end it for good; False when it is not held any more."""
        if self._attempts.runs_again(trial, outcome.cause):
            held = self._put_back(trial, outcome)
        else:
            held = self._control.end_trial(
                self.name,
                trial,
                final_state(outcome.cause),
                cause=outcome.cause,
                message=outcome.message,
                score=outcome.score if outcome.cause is None else None,
                attributes={**outcome.attributes, **judgement(outcome.cause)},
            )
            if held:
                forget_checkpoint(self._home, self.name, trial.slot)
        if held:
            forget_outcome(self._home, self.name, trial.number)
        return held

    def _give_to_successor(self, trial: TrialRecord, outcome: Outcome) -> None:
        """Complete the trial that waits in place of one that was taken away; called under the study's lock."""
        following = [record for record in self._ledger.read() if record.slot == trial.slot]
        if following and following[-1].state is TrialState.WAITING:
            assert trial.worker is not None
            self._control.start_trial(self.name, following[-1].number, trial.worker)
            attributes = {**self._attempts.as_run(trial, following[-1]), **outcome.attributes}
            move_files(self._home, self.name, trial.number, following[-1].number)
            self._write(replace(following[-1], worker=trial.worker), replace(outcome, attributes=attributes))
            self.publish()
        forget_outcome(self._home, self.name, trial.number)

    def _lose(self, trial: TrialRecord, cause: Cause) -> bool:
        """Take a trial from a worker that is gone; a score that it could not write any more counts."""
        why = f"worker {trial.worker} is gone" if cause is Cause.LOST else "its worker never heard of it"
        return self._write(trial, kept_outcome(self._home, self.name, trial) or Outcome(cause, message=why))

    def _rescue(self, number: int, trial: TrialRecord | None) -> bool:
        """Take over a trial whose worker died between asking Optuna and writing down that it holds it."""
        if trial is None:
            # No slot was taken yet: another proposal takes its place.
            self._mirror.discard(number, Cause.LOST.value, "its worker died before it had a slot")
            return False
        self._control.start_trial(self.name, number, NOBODY)
        outcome = Outcome(Cause.INTERRUPTED, message="its worker died before it began")
        return self._put_back(replace(trial, worker=NOBODY), outcome)

    def _rescue_told(self, records: Sequence[TrialRecord]) -> int:
        """Put back what waits here and was ended in Optuna, by a dashboard that may write; return how many."""
        waiting = [record for record in records if record.state is TrialState.WAITING]
        queue = {frozen.number for frozen in self._mirror.waiting()} if waiting else set()
        told = [record for record in waiting if record.number not in queue]
        return sum(self._rescue(record.number, record) for record in told)


def _is_open(record: TrialRecord) -> bool:
    return record.state in {TrialState.WAITING, TrialState.RUNNING}
