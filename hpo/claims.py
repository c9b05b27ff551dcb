"""Giving out trials and taking their ends: the one place where Optuna and the control schema meet.

Everything that takes a slot happens under the study's advisory lock, so that the cap is exact and a forced
configuration runs once, however many workers ask. A process may die between any two statements:

- A trial that Optuna has running, and that no worker holds, was asked for by a worker that died at once. The next
  claim finds it and replaces it.
- The end of a trial is written to the control schema first, guarded by the worker that holds it, and then told to
  Optuna. Whoever comes next tells what a dead worker could not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from hpo.control import Control
from hpo.convergence import Convergence, check_early_stopping_convergence
from hpo.records import Cause, Origin, Outcome, StudyRecord, StudyState, TrialRecord, TrialState, WorkerRecord
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

    def __init__(self, storage: Storage, study: StudyRecord, is_dead: Callable[[WorkerRecord], bool]) -> None:
        self._storage = storage
        self._control = Control(storage.engine)
        self.name = study.name
        self.spec = Spec.model_validate(study.spec)
        self.declaration: Declaration = declare(self.spec)
        self._prepared = study.prepared
        self._derived = tuple(Derived(**rule) for rule in study.prepared.get("derived", ()))
        self._is_dead = is_dead
        self._optuna = optuna.load_study(
            study_name=study.name,
            storage=storage.optuna,
            sampler=optuna.samplers.RandomSampler(self.spec.seed),
        )

    def take(self, worker: str) -> Claim | None:
        """Give a trial to the worker, or return None when the study has none to give now.

        Idempotent in the large: if the worker dies anywhere in here, the next call of any worker puts right what
        was left, and neither a slot nor a forced configuration is lost or used twice. Decides, with evidence,
        that the study has converged or finished.
        """
        with self._locked():
            study = self._control.study(self.name)
            if study is None or study.state is not StudyState.RUNNING:
                return None
            self.reap()
            records = self._control.trials(self.name)
            if self._ended(study, records) or not self._something_to_run(study, records):
                return None
            trial = self._start(worker, study.cap)
            params = {**trial.params, **derive(trial.params, self._derived)}
            return Claim(self.name, self.spec, trial, params, self._prepared)

    def end(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Write down how a trial ended; return False when the worker does not hold it any more.

        A cause that is worth another attempt puts the same parameters back into the queue, until `max_attempts`
        are spent.
        """
        if outcome.cause is not None and outcome.cause.retried and self._attempts_left(trial, outcome.cause):
            with self._locked():
                held = self._put_back(trial, outcome.cause, outcome.message)
        else:
            held = self._control.end_trial(
                self.name,
                trial,
                _final_state(outcome.cause),
                cause=outcome.cause,
                message=outcome.message,
                score=outcome.score if outcome.cause is None else None,
                attributes=outcome.attributes,
            )
        if held:
            self.publish()
        return held

    def report(self, number: int, value: float, step: int) -> None:
        """Pass an intermediate value on to Optuna, where the dashboard draws it."""
        self._storage.optuna.set_trial_intermediate_value(self._trial_id(number), step, value)

    def settle(self) -> int:
        """Reap, publish, and decide whether the study has ended: what `take` does, without taking.

        Returns:
            How many trials of dead workers were put back.
        """
        with self._locked():
            lost = self.reap()
            study = self._control.study(self.name)
            if study is not None and study.state is StudyState.RUNNING:
                self._ended(study, self._control.trials(self.name))
        self.publish()
        return lost

    def reap(self) -> int:
        """Put back the trials of dead workers, and those that Optuna has running and nobody holds.

        Called under the study's lock, where nobody is between asking for a trial and writing down who holds it.
        """
        lost = 0
        for number, worker, has_left in self._control.holders(self.name):
            if has_left or self._is_dead(worker):
                trial = self._control.trial(self.name, number)
                lost += trial is not None and self._lose(trial)
        for frozen in self._optuna.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            trial = self._control.trial(self.name, frozen.number)
            if trial is None or trial.state is TrialState.WAITING:
                lost += self._rescue(frozen.number, trial)
        if lost:
            self.publish()
        return lost

    def publish(self) -> None:
        """Tell Optuna how trials ended that it believes to be running."""
        for number in self._control.unpublished(self.name):
            trial = self._control.trial(self.name, number)
            assert trial is not None
            self._tell(trial)
            self._control.mark_published(self.name, number)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (
            self._storage.engine.connect() as connection,
            advisory_lock(connection, f"hpo study {self.name}"),
        ):
            yield

    def _ended(self, study: StudyRecord, records: Sequence[TrialRecord]) -> bool:
        if not study.convergence_off and (decision := self.convergence(records)):
            self._control.decide(self.name, StudyState.CONVERGED, decision.reason, decision.evidence())
            return True
        used = [record for record in records if record.uses_slot]
        if len(used) < study.cap or any(_is_open(record) for record in used):
            return False
        complete = sum(record.state is TrialState.COMPLETE for record in used)
        failed = sum(record.state is TrialState.FAILED for record in used)
        reason = f"the cap of {study.cap} trials is used: {complete} complete"
        reason += f", {failed} failed for good" if failed else ""
        self._control.decide(
            self.name, StudyState.FINISHED, reason, {"complete": complete, "failed": failed, "cap": study.cap}
        )
        return True

    def convergence(self, records: Sequence[TrialRecord]) -> Convergence:
        """Apply the study's convergence rule to its trials."""
        complete = [record for record in records if record.state is TrialState.COMPLETE]
        rule = self.spec.early_stop
        return check_early_stopping_convergence(
            [record.score for record in complete],
            patience=rule.patience,
            threshold=rule.threshold,
            top_k=rule.top_k,
            configurations=[record.key for record in complete],
            open_forced=sum(record.origin is Origin.FORCED and _is_open(record) for record in records),
            direction=self.spec.direction,
            seed_noise=seed_noise(complete),
        )

    def _something_to_run(self, study: StudyRecord, records: Sequence[TrialRecord]) -> bool:
        """Make sure that a trial waits in Optuna, if the cap allows one more."""
        if any(record.state is TrialState.WAITING for record in records):
            return True
        used = sum(record.uses_slot for record in records)
        if used >= study.cap:
            return False
        if not self._optuna.get_trials(deepcopy=False, states=(OptunaState.WAITING,)):
            self._enqueue_proposal(records)
        return True

    def _enqueue_proposal(self, records: Sequence[TrialRecord]) -> None:
        slot = 1 + max((record.slot for record in records), default=0)
        params = self._fresh_proposal(records, slot)
        repeats = sum(record.params == params and record.uses_slot for record in records)
        proposal = TrialRecord(
            number=-1,
            slot=slot,
            turn=1,
            attempt=1,
            origin=Origin.SAMPLED,
            params=params,
            seed=self.spec.seed + repeats,
            state=TrialState.WAITING,
            attributes=derive(params, self._derived),
        )
        enqueue(self._optuna, proposal)

    def _fresh_proposal(self, records: Sequence[TrialRecord], slot: int) -> dict[str, Any]:
        seen = {record.key for record in records if record.state in {TrialState.COMPLETE, TrialState.PRUNED}}
        params: dict[str, Any] = {}
        for draw in range(_PROPOSALS):
            seed = (self.spec.seed * 1_000_003 + slot * _PROPOSALS + draw) % 2**32
            params = STRATEGIES["tpe"](records, self.declaration.space, self.spec.direction, seed)
            if tuple(sorted(params.items())) not in seen:
                return params
        return params

    def _start(self, worker: str, cap: int) -> TrialRecord:
        """Ask Optuna for the trial that has waited longest, and give it to the worker."""
        while True:
            asked = self._optuna.ask(fixed_distributions=dict(self.declaration.space))
            if self._control.trial(self.name, asked.number) is None:
                if self._control.counts(self.name).used >= cap:
                    # Enqueued by hand, in front of a trial of ours that waits, after the last slot was taken.
                    self._optuna.tell(asked, state=OptunaState.FAIL)
                    continue
                self._control.add_trial(self.name, self._adopted(asked.number, asked.params, asked.user_attrs))
            self._control.start_trial(self.name, asked.number, worker)
            asked.set_user_attr("worker", worker)
            trial = self._control.trial(self.name, asked.number)
            assert trial is not None
            return trial

    def _adopted(self, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any]) -> TrialRecord:
        """Return the record of a trial that waits in Optuna alone: just proposed, or enqueued by hand."""
        slot = attributes.get("slot") or 1 + max((t.slot for t in self._control.trials(self.name)), default=0)
        return TrialRecord(
            number=number,
            slot=slot,
            turn=attributes.get("turn", 1),
            attempt=attributes.get("attempt", 1),
            origin=Origin(attributes.get("origin", Origin.ENQUEUED)),
            params=params,
            seed=attributes.get("seed", self.spec.seed),
            state=TrialState.WAITING,
            attributes=derive(params, self._derived),
        )

    def _attempts_left(self, trial: TrialRecord, cause: Cause) -> bool:
        return cause is Cause.INTERRUPTED or trial.attempt < self.spec.max_attempts

    def _put_back(self, trial: TrialRecord, cause: Cause, message: str) -> bool:
        """Replace a running trial by one with the same parameters that waits; False when it is not held."""
        successor = replace(
            trial,
            turn=trial.turn + 1,
            attempt=trial.attempt + (cause is not Cause.INTERRUPTED),
            state=TrialState.WAITING,
            worker=None,
            attributes={**trial.attributes, "retry_of": trial.number, "retry_cause": cause.value},
        )
        number = self._waiting_number(successor)
        if number is None:
            enqueue(self._optuna, successor)
            number = self._waiting_number(successor)
        assert number is not None
        return self._control.replace_trial(self.name, trial, cause, message, replace(successor, number=number))

    def _waiting_number(self, trial: TrialRecord) -> int | None:
        """Return the number of Optuna's waiting trial of this slot and turn, if it is there already."""
        for frozen in self._optuna.get_trials(deepcopy=False, states=(OptunaState.WAITING,)):
            if (frozen.user_attrs.get("slot"), frozen.user_attrs.get("turn")) == (trial.slot, trial.turn):
                return frozen.number
        return None

    def _lose(self, trial: TrialRecord) -> bool:
        message = f"worker {trial.worker} is gone"
        if self._attempts_left(trial, Cause.LOST):
            return self._put_back(trial, Cause.LOST, message)
        return self._control.end_trial(self.name, trial, TrialState.FAILED, cause=Cause.LOST, message=message)

    def _rescue(self, number: int, trial: TrialRecord | None) -> bool:
        """Take over a trial whose worker died between asking Optuna and writing down that it holds it."""
        if trial is None:
            # No slot was taken yet: another proposal takes its place.
            self._storage.optuna.set_trial_user_attr(self._trial_id(number), "cause", Cause.LOST.value)
            self._optuna.tell(number, state=OptunaState.FAIL)
            return False
        self._control.start_trial(self.name, number, NOBODY)
        message = "its worker died before it began"
        return self._put_back(replace(trial, worker=NOBODY), Cause.INTERRUPTED, message)

    def _tell(self, trial: TrialRecord) -> None:
        trial_id = self._trial_id(trial.number)
        known = self._storage.optuna.get_trial(trial_id).user_attrs
        # Another worker may be telling the same: whoever comes first has set all attributes before it ends the trial.
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            for key, value in ended_attributes(trial).items():
                if known.get(key) != value:
                    self._storage.optuna.set_trial_user_attr(trial_id, key, value)
            self._optuna.tell(trial.number, trial.score, _OPTUNA_STATES[trial.state], skip_if_finished=True)

    def _trial_id(self, number: int) -> int:
        study_id = self._storage.optuna.get_study_id_from_name(self.name)
        return self._storage.optuna.get_trial_id_from_study_id_trial_number(study_id, number)


_OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.REPLACED: OptunaState.FAIL,
}


def enqueue(study: optuna.Study, trial: TrialRecord) -> None:
    """Put a trial into Optuna's queue, with everything about it that is known before it runs."""
    attributes = {
        "origin": trial.origin.value,
        "slot": trial.slot,
        "turn": trial.turn,
        "attempt": trial.attempt,
        "seed": trial.seed,
        **trial.attributes,
    }
    if trial.design_id is not None:
        attributes["design_id"] = int(trial.design_id) if trial.design_id.isdigit() else trial.design_id
    study.enqueue_trial(dict(trial.params), user_attrs=attributes)


def ended_attributes(trial: TrialRecord) -> dict[str, Any]:
    """Return what Optuna is told about an ended trial, beside its score."""
    attributes = dict(trial.attributes)
    if trial.seconds is not None:
        attributes["seconds"] = round(trial.seconds, 3)
    if trial.cause is not None:
        attributes |= {"cause": trial.cause.value, "message": trial.message[-2000:]}
    return attributes


def seed_noise(complete: Sequence[TrialRecord]) -> float | None:
    """Return the standard deviation of the score between seeds, pooled over repeated configurations."""
    groups: dict[tuple[tuple[str, Any], ...], list[float]] = {}
    for record in complete:
        if record.score is not None:
            groups.setdefault(record.key, []).append(record.score)
    deviations = [stdev(scores) for scores in groups.values() if len(scores) > 1]
    return fmean(deviation**2 for deviation in deviations) ** 0.5 if deviations else None


def _is_open(record: TrialRecord) -> bool:
    return record.state in {TrialState.WAITING, TrialState.RUNNING}


def _final_state(cause: Cause | None) -> TrialState:
    if cause is None:
        return TrialState.COMPLETE
    return TrialState.PRUNED if cause is Cause.PRUNED else TrialState.FAILED
