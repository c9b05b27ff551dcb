"""A study as Optuna's tables hold it: what the dashboard, and any user of Optuna, sees.

The control schema decides; this mirror is told. It also holds the queue, because trials that a user enqueues with
Optuna wait there.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import Trial
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Connection

from hpo.errors import StudyGoneError
from hpo.pruning import BEST_SO_FAR
from hpo.records import INFEASIBLE, TrialRecord, TrialState
from hpo.sql import statement
from hpo.storage import Storage, reading_of

LEARNT = "learnt"
"""The user attribute of a study that holds the summary of its last report, in Markdown."""

_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.REPLACED: OptunaState.FAIL,
}


class Mirror:
    """One study in Optuna's tables."""

    def __init__(self, storage: Storage, name: str, seed: int) -> None:
        self._storage, self._name = storage.optuna, name
        self._reading = reading_of(storage.engine)
        # Parameters are never Optuna's to choose: every trial is enqueued with all of them.
        sampler = optuna.samplers.RandomSampler(seed)
        try:
            self._study = optuna.load_study(study_name=name, storage=storage.optuna, sampler=sampler)
            self._study_id = storage.optuna.get_study_id_from_name(name)
        except KeyError:
            raise StudyGoneError(
                f"study {name} must be in Optuna's tables and is not, it was deleted or renamed there: "
                f"`hpo stop {name}` ends it here, or restore a backup"
            ) from None

    def waiting(self) -> list[int]:
        """Return the numbers of the trials in the queue, the one that has waited longest first."""
        return self._numbers("waiting")

    def strays(self) -> list[int]:
        """Return the numbers of what Optuna has running, and no worker holds: it waits here or was never heard of."""
        # One statement, whatever runs: each of 64 workers looked at 64 trials, every minute under the study's lock.
        return self._numbers("strays", name=self._name)

    def _numbers(self, query: str, **values: object) -> list[int]:
        with self._reading.connect() as connection:
            return list(connection.execute(statement(query), {"study": self._study_id, **values}).scalars())

    def waiting_number(self, trial: TrialRecord) -> int | None:
        """Return the number of the waiting trial of this slot and turn, if it is there already."""
        # Of the storage itself: a study reads every trial that it has not seen yet, 5 s for 10,000, and keeps it.
        waiting = self._storage.get_all_trials(self._study_id, deepcopy=False, states=(OptunaState.WAITING,))
        for frozen in waiting:
            if (frozen.user_attrs.get("slot"), frozen.user_attrs.get("turn")) == (trial.slot, trial.turn):
                return frozen.number
        return None

    def enqueue(self, trial: TrialRecord) -> None:
        """Put a trial into the queue."""
        enqueue(self._study, trial)

    def begin(
        self, connection: Connection, trial: TrialRecord, space: Mapping[str, BaseDistribution], worker: str
    ) -> int:
        """Make a trial that runs already, and return its number.

        Optuna itself takes two statements and more for every parameter and attribute, and a transaction of its own.
        Here its rows are written in the caller's: both sides know the trial or neither does; see docs/adr/0024.

        Args:
            connection: inside a transaction.
            trial: with everything about it that is known before it runs.
            space: the distributions of its parameters, equal for all trials.
            worker: that will run it.
        """
        if connection.execute(statement("lock_optuna_study"), {"study": self._study_id}).first() is None:
            raise KeyError(f"study {self._study_id} is not in Optuna's tables any more")
        attributes = {**_attributes(trial), "worker": worker}
        values = {
            "study": self._study_id,
            "names": list(space),
            "values": [each.to_internal_repr(trial.params[name]) for name, each in space.items()],
            "distributions": [distribution_to_json(each) for each in space.values()],
            "keys": list(attributes),
            "contents": [json.dumps(each) for each in attributes.values()],
        }
        number: int = connection.execute(statement("insert_optuna_trial"), values).scalar_one()
        return number

    def take(self, trial: TrialRecord, space: Mapping[str, BaseDistribution], worker: str) -> bool:
        """Let a trial run that waits in the queue and whose parameters are known; False if it does not wait."""
        trial_id = self._trial_id(trial.number)
        try:
            if not self._storage.set_trial_state_values(trial_id, OptunaState.RUNNING):
                return False
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        for name, distribution in space.items():
            internal = distribution.to_internal_repr(trial.params[name])
            self._storage.set_trial_param(trial_id, name, internal, distribution)
        self._storage.set_trial_user_attr(trial_id, "worker", worker)
        return True

    def ask(self, space: Mapping[str, BaseDistribution]) -> Trial:
        """Take the trial that has waited longest, and let Optuna draw what it was not given."""
        return self._study.ask(fixed_distributions=dict(space))

    def discard(self, number: int, cause: str, message: str) -> None:
        """End a trial that has no slot; one that has ended already stays as it is."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            for key, value in (("cause", cause), ("message", message)):
                self._storage.set_trial_user_attr(self._trial_id(number), key, value)
            self._study.tell(number, state=OptunaState.FAIL, skip_if_finished=True)

    def report(self, number: int, value: float, step: int) -> None:
        """Pass an intermediate value on."""
        self._storage.set_trial_intermediate_value(self._trial_id(number), step, value)

    def tell(self, connection: Connection, trial: TrialRecord) -> None:
        """Say how a trial ended; saying it again changes nothing.

        Args:
            connection: inside a transaction.
            trial: that has ended.

        Raises:
            KeyError: Optuna has no such trial any more.
        """
        attributes = ended_attributes(trial)
        # Told as failed, no sampler of Optuna would ever see it.
        state = OptunaState.PRUNED if trial.is_infeasible else _STATES[trial.state]
        values = {
            "study": self._study_id,
            "number": trial.number,
            "state": state.name,
            "score": trial.score,
            "keys": list(attributes),
            "contents": [json.dumps(each) for each in attributes.values()],
        }
        if not connection.execute(statement("end_optuna_trial"), values).scalar_one():
            raise KeyError(f"trial {trial.number} of {self._name} is not in Optuna's tables any more")

    def set_infeasible(self, number: int) -> None:
        """Let Optuna's own samplers keep away from what does not fit, for whoever goes on with the study by them."""
        trial = Trial(self._study, self._trial_id(number))
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            if not trial.constraints:
                trial.set_constraint(*INFEASIBLE)

    def note(self, text: str) -> None:
        """Put a text in Markdown on the study's page of the dashboard."""
        from optuna_dashboard import save_note

        save_note(self._study, text)

    @property
    def learnt(self) -> str:
        """What a report has said of the study, in Markdown; see `hpo.report.publish`."""
        return str(self._study.user_attrs.get(LEARNT, ""))

    def forget_learnt(self) -> str:
        """Remove it; return nothing."""
        if self.learnt:
            self._study.set_user_attr(LEARNT, "")
        return ""

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def enqueue(study: optuna.Study, trial: TrialRecord) -> None:
    """Put a trial into Optuna's queue, with everything about it that is known before it runs."""
    study.enqueue_trial(dict(trial.params), user_attrs=_attributes(trial))


def _attributes(trial: TrialRecord) -> dict[str, Any]:
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
    return attributes


def import_history(
    study: optuna.Study, history: Sequence[Mapping[str, Any]], space: Mapping[str, BaseDistribution]
) -> None:
    """Show trials of another study as complete ones, each once."""
    present = {trial.user_attrs.get("imported_from") for trial in study.get_trials(deepcopy=False)}
    for entry in history:
        if entry["imported_from"] not in present:
            attributes = {"origin": "imported", "imported_from": entry["imported_from"], "seed": entry["seed"]}
            study.add_trial(
                optuna.trial.create_trial(
                    value=entry["score"],
                    params=dict(entry["params"]),
                    distributions=dict(space),
                    user_attrs=attributes,
                )
            )


def ended_attributes(trial: TrialRecord) -> dict[str, Any]:
    """Return what Optuna is told about an ended trial, beside its score."""
    # Its curve Optuna has as intermediate values.
    attributes = {key: value for key, value in trial.attributes.items() if key != BEST_SO_FAR}
    if trial.seconds is not None:
        attributes["seconds"] = round(trial.seconds, 3)
    if trial.cause is not None:
        attributes |= {"cause": trial.cause.value, "message": trial.message[-2000:]}
    return attributes
