"""What a report rests on: the trials of a study, as frozen values, however the study came about.

Trials are read from Optuna's tables by its public interface, so a study that something else has made is read the
same way; what this service knows beyond that stands in the trials' user attributes and in the study's record.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from hpo.records import StudyRecord
from hpo.report.sizes import chosen_size, size_in

_STATES: Final = {
    OptunaState.COMPLETE: "complete",
    OptunaState.PRUNED: "pruned",
    OptunaState.FAIL: "failed",
    OptunaState.RUNNING: "running",
    OptunaState.WAITING: "waiting",
}
# What people call a seed that they search, or write down: it is no part of a configuration.
_SEED_NAMES: Final = ("seed", "random_seed", "random_state")


class Kind(StrEnum):
    """Why a trial was run."""

    FORCED = "forced"
    SAMPLED = "sampled"
    ENQUEUED = "enqueued"
    REPEAT = "repeat"
    """A configuration again, with another seed: it measures the noise."""
    SUPPLEMENTARY = "supplementary"
    """Of Phase 2, corner or sampled."""
    UNKNOWN = "unknown"
    """Of a study that something else has made."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        study: the study that it is stored in.
        number: Optuna's.
        state: `complete`, `pruned`, `failed`, `running` or `waiting`; `replaced` where another one has its slot.
        score: finite, in the study's direction; None unless complete. A complete trial of another tool may have
            reported infinity or NaN: it has none, and counts as failed.
        size: parameters, exact where they are known; None where nothing says.
        curve: step and intermediate score, by step.
        params: as they were searched.
        attributes: Optuna's user attributes of the trial.
        no_score: what a complete trial reported in place of a finite score.
    """

    study: str
    number: int
    kind: Kind
    state: str
    score: float | None
    params: Mapping[str, Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    size: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    began: datetime | None = None
    ended: datetime | None = None
    no_score: float | None = None

    def value(self, name: str) -> Any:  # noqa: ANN401  any JSON value
        """Return a parameter, or else a user attribute of that name; None where there is neither."""
        return self.params.get(name, self.attributes.get(name))

    def number_of(self, name: str) -> float | None:
        """Return a parameter or an attribute that is a finite number; None for everything else."""
        found = self.value(name)
        usable = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
        return float(found) if usable else None

    @property
    def configuration(self) -> tuple[tuple[str, Any], ...]:
        """Equal for equal parameters, a seed among them aside; hashable."""
        return tuple((name, hashable(self.params[name])) for name in sorted(self.params) if name not in _SEED_NAMES)

    @property
    def seconds(self) -> float | None:
        """How long it ran: as the service measured it, or by Optuna's clock."""
        measured = self.number_of("seconds")
        if measured is None and self.began and self.ended:
            measured = (self.ended - self.began).total_seconds()
        # Clocks are set back: less than nothing is no duration.
        return measured if measured is not None and measured >= 0 else None

    @property
    def budget(self) -> str | None:
        """The parameter budget, such as 2M."""
        found = self.value("budget")
        return None if found is None else str(found)

    @property
    def seed(self) -> int | None:
        """The seed of the training, where it is known: an attribute, or a parameter of a study that searches seeds."""
        found = next((value for name in _SEED_NAMES if (value := self.value(name)) is not None), None)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    @property
    def label(self) -> str:
        """What a person calls it: its forced configuration, or budget and style, or its number."""
        found = self.attributes.get("design") or self.attributes.get("shape")
        return str(found) if found else f"trial {self.number}"


@dataclass(frozen=True)
class Evidence:
    """A study with its trials, and the studies that supplement it.

    Attributes:
        name: of the study.
        score_name: what the score is called, such as `validation AUC`.
        trials: of the study alone, in the order of their numbers; imported ones are left out.
        record: what the service has stored of it; None for a study that something else has made.
        supplements: its studies of Phase 2.
        size_name: what `Trial.size` holds, such as `exact_params`; empty where no size is known.
        space: the distributions of the parameters, by name.
    """

    name: str
    direction: str
    score_name: str
    trials: tuple[Trial, ...]
    record: StudyRecord | None = None
    supplements: tuple["Evidence", ...] = ()
    size_name: str = ""
    space: Mapping[str, optuna.distributions.BaseDistribution] = field(default_factory=dict)

    @property
    def maximizes(self) -> bool:
        """Whether a higher score is better."""
        return self.direction == "maximize"

    @property
    def is_own(self) -> bool:
        """Whether this service has made it."""
        return self.record is not None

    @property
    def complete(self) -> tuple[Trial, ...]:
        """Trials of the study alone that have a score."""
        return tuple(trial for trial in self.trials if trial.score is not None)

    @property
    def all_trials(self) -> tuple[Trial, ...]:
        """Trials of the study and of those that supplement it."""
        return (*self.trials, *(trial for each in self.supplements for trial in each.trials))

    def ranked(self, trials: Iterable[Trial] | None = None) -> list[Trial]:
        """Return these trials, or all, the best first; those without a score are left out."""
        sign = -1.0 if self.maximizes else 1.0
        chosen = self.all_trials if trials is None else trials
        scored = [(sign * trial.score, trial) for trial in chosen if trial.score is not None]
        return [trial for _, trial in sorted(scored, key=lambda pair: pair[0])]


def evidence_of(
    study: optuna.Study,
    record: StudyRecord | None = None,
    supplements: Sequence[Evidence] = (),
    size_name: str | None = None,
) -> Evidence:
    """Return what a study says.

    Args:
        study: loaded, of one objective.
        record: of the service, where it has made the study.
        supplements: of Phase 2.
        size_name: the parameter or user attribute that is the size; default: the exact parameters of the service's own
            studies, or their estimate. Its values are numbers, or budgets such as 2M; a trial without one has no size.

    Raises:
        InputError: no trial has a value of that name, or none of its values is a size.
    """
    frozen = [trial for trial in study.get_trials(deepcopy=False) if not _is_history(trial)]
    supplementary = record is not None and record.phase == 2
    size = chosen_size(size_name, [{**trial.user_attrs, **trial.params} for trial in frozen], study.study_name)
    trials = tuple(_trial(study.study_name, each, size, supplementary=supplementary) for each in frozen)
    return Evidence(
        name=study.study_name,
        direction=study.direction.name.lower(),
        score_name=(study.metric_names or ["score"])[0],
        trials=trials,
        record=record,
        supplements=tuple(supplements),
        size_name=size,
        space={name: found for trial in frozen for name, found in trial.distributions.items()},
    )


def _is_history(frozen: FrozenTrial) -> bool:
    """Whether it is a trial of Phase 1 that is shown to the sampler of Phase 2."""
    return frozen.user_attrs.get("origin") == "imported" and "imported_from" in frozen.user_attrs


def hashable(value: Any) -> Any:  # noqa: ANN401  any choice of a parameter
    """Return a value that can be a key: the choices of other tools may be lists."""
    if isinstance(value, Mapping):
        return tuple((key, hashable(value[key])) for key in sorted(value, key=str))
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value


def _trial(study: str, frozen: FrozenTrial, size_name: str, *, supplementary: bool) -> Trial:
    state, score = _STATES[frozen.state], None
    if frozen.state is OptunaState.COMPLETE:
        score = frozen.value if frozen.value is not None and math.isfinite(frozen.value) else None
        state = state if score is not None else "failed"
    elif frozen.state is OptunaState.FAIL and "retried_as" in frozen.user_attrs:
        state = "replaced"
    trial = Trial(
        study=study,
        number=frozen.number,
        kind=_kind(frozen, supplementary=supplementary),
        state=state,
        score=score,
        params=frozen.params,
        attributes=frozen.user_attrs,
        no_score=frozen.value if frozen.state is OptunaState.COMPLETE and score is None else None,
        curve=tuple(sorted(frozen.intermediate_values.items())),
        began=frozen.datetime_start,
        ended=frozen.datetime_complete,
    )
    return replace(trial, size=size_in(trial.value(size_name))) if size_name else trial


def _kind(frozen: FrozenTrial, *, supplementary: bool) -> Kind:
    origin = frozen.user_attrs.get("origin")
    if origin not in tuple(Kind):
        # Optuna notes what a person has put into its queue; of all others, who chose them is in no record.
        return Kind.ENQUEUED if "fixed_params" in frozen.system_attrs else Kind.UNKNOWN
    return Kind.SUPPLEMENTARY if supplementary and origin in {Kind.FORCED, Kind.SAMPLED} else Kind(origin)
