"""Who is read on the test part: the best configurations of a study and its Phase 2, and seeds that they have not had.

Pure deciders on records.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Final

from hpo.attempts import Attempts
from hpo.records import StudyRecord, TrialRecord, TrialState
from studies.declaration import Derived, declare, derive
from studies.spec import Spec

DEFAULT_TOP_K: Final = 3
DEFAULT_SEEDS: Final = 3

# Two trials with these equal train one model, whichever phase they are of.
_DECISIVE = ("d_model", "n_layers", "n_heads", "dropout", "learning_rate", "weight_decay", "effective_batch")


@dataclass(frozen=True)
class Searched:
    """A study with its trials."""

    record: StudyRecord
    trials: tuple[TrialRecord, ...]

    @cached_property
    def spec(self) -> Spec:
        """Its specification."""
        return Spec.model_validate(self.record.spec)

    def values(self, trial: TrialRecord) -> dict[str, Any]:
        """Return what the objective was called with."""
        return self._attempts.values(trial)

    def attributes(self, trial: TrialRecord) -> dict[str, Any]:
        """Return what a trial with these parameters begins with: nothing that another one has measured."""
        smaller = trial.attributes.get("made_lighter", {})
        lighter = {**smaller, "made_lighter": smaller} if smaller else {}
        return {**derive(trial.params, self._derived), **lighter}

    @cached_property
    def _derived(self) -> tuple[Derived, ...]:
        return tuple(Derived(**rule) for rule in self.record.prepared.get("derived", ()))

    @cached_property
    def _attempts(self) -> Attempts:
        return Attempts(declare(self.spec), self.spec.max_attempts, self._derived)


@dataclass(frozen=True)
class Finalist:
    """A configuration that is trained again and read.

    Attributes:
        rank: by the validation score, from 1.
        study: that its best trial is of.
        trial: the number of that.
        name: what a person calls it.
        params: as they were searched.
        values: that the objective is called with.
        attributes: that its trainings begin with.
        chosen_by: the mean validation score of its complete trials.
        times: how many these were.
        key: names the configuration in paths.
    """

    rank: int
    study: str
    trial: int
    name: str
    params: Mapping[str, Any]
    values: Mapping[str, Any]
    attributes: Mapping[str, Any]
    chosen_by: float
    times: int
    key: str

    @property
    def label(self) -> str:
        """Return such as `2M_shallow #12`."""
        return f"{self.name} #{self.trial}"

    @property
    def size(self) -> int | None:
        """Its parameters, exact where they are known."""
        found = self.values.get("exact_params") or self.values.get("estimated_params")
        return None if found is None else int(found)


@dataclass(frozen=True)
class Retrained:
    """One training of a finalist.

    Attributes:
        rank: of the finalist.
        score: on the validation part; None where it failed.
        failure: why, in one line.
    """

    rank: int
    seed: int
    score: float | None
    failure: str = ""


@dataclass(frozen=True)
class FinalPlan:
    """What is read, exactly: written down before the test part is.

    Attributes:
        top_k: that was asked for; there may be fewer configurations.
        seeds: the same for every finalist.
        finalists: in the order of their validation scores.
        retrained: every finalist with every seed; empty until they have been trained.
        complete: trials that they were chosen among.
    """

    top_k: int
    seeds: tuple[int, ...]
    finalists: tuple[Finalist, ...]
    complete: int
    retrained: tuple[Retrained, ...] = ()

    @property
    def read(self) -> tuple[Retrained, ...]:
        """Those that are read: all but the failed ones."""
        return tuple(each for each in self.retrained if each.score is not None)

    def of(self, rank: int) -> list[Retrained]:
        """Return the trainings of one finalist that are read, in the order of the seeds."""
        return [each for each in self.read if each.rank == rank]


def study_version(study: StudyRecord, supplements: Sequence[StudyRecord] = ()) -> str:
    """Return what the finalists are chosen from, as a fingerprint: the study's own, and with Phase 2 one of all."""
    if not supplements:
        return study.fingerprint
    parts = sorted(each.fingerprint for each in (study, *supplements))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def choose(searched: Sequence[Searched], top_k: int, seeds: int) -> FinalPlan:
    """Return the best distinct configurations by their mean validation score, and fresh seeds.

    Fresh are those above every seed that any trial has had: of the seeds that were searched with, the best one was
    looked for. All finalists get the same, so that they are compared on equal draws of windows.
    """
    complete = [
        (each, trial)
        for each in searched
        for trial in each.trials
        if trial.state is TrialState.COMPLETE and trial.score is not None
    ]
    groups: dict[str, list[tuple[Searched, TrialRecord]]] = {}
    for each, trial in complete:
        groups.setdefault(_key(each.values(trial)), []).append((each, trial))
    ranked = sorted(groups.items(), key=lambda group: -_mean(group[1]))
    finalists = tuple(_finalist(rank, key, group) for rank, (key, group) in enumerate(ranked[:top_k], 1))
    first = 1 + max((trial.seed for each in searched for trial in each.trials), default=0)
    return FinalPlan(top_k, tuple(range(first, first + seeds)), finalists, len(complete))


def _finalist(rank: int, key: str, group: Sequence[tuple[Searched, TrialRecord]]) -> Finalist:
    best, trial = max(group, key=lambda pair: pair[1].score or 0.0)
    values = best.values(trial)
    return Finalist(
        rank=rank,
        study=best.record.name,
        trial=trial.number,
        name=str(trial.attributes.get("design") or values.get("shape") or "trial"),
        params=trial.params,
        values=values,
        attributes=best.attributes(trial),
        chosen_by=_mean(group),
        times=len(group),
        key=key,
    )


def _mean(group: Sequence[tuple[Searched, TrialRecord]]) -> float:
    return fmean(trial.score or 0.0 for _, trial in group)


def _key(values: Mapping[str, Any]) -> str:
    decisive = [values.get(name) for name in _DECISIVE]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12]
