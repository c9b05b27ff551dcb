"""Which parameters decided whether a trial was among the best: PED-ANOVA, against shuffled scores.

PED-ANOVA compares where the best trials lie in a parameter's range with where all trials lie, so that a range which
the sampler preferred is not taken for one that scores well. It gives a number for anything, noise included. So the
same trials are asked again with their scores shuffled, and only what lies above all shuffles is called important.

A sampler that has learnt which values are bad hardly tries them again: then little is left to tell by, and importances
below the noise don't mean that a parameter is without effect. The designs' effects are the better evidence.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from hpo.output import count
from hpo.report.additive import BUDGET, Configuration, Vector, configurations
from hpo.report.evidence import Evidence

# A throw-away study is nothing to tell people of.
optuna.logging.set_verbosity(optuna.logging.WARNING)

LEAST_CONFIGURATIONS: Final = 20
"""Ten among the best, and ten others; Optuna's documentation asks for five among the best at least."""

_BEST: Final = 0.5
"""The share of trials that count as the best. Of 70 random trials with one parameter that mattered by 4 to 5 standard
deviations, the better half told it in 20 of 24 studies, the best quarter in 18 of 30, and the best tenth in 2 of 40."""

_SHUFFLES: Final = 39
"""The real scores are one of 40 that are alike if nothing matters: a report claims too much in 1 of 40."""

_SEED: Final = 1


class Standing(StrEnum):
    """What an importance comes to."""

    IMPORTANT = "important"
    BELOW_THE_NOISE = "below_the_noise"
    """Shuffled scores give as much."""
    UNKNOWN = "unknown"
    """Too few trials."""


@dataclass(frozen=True)
class ParameterImportance:
    """One parameter.

    Attributes:
        importance: PED-ANOVA's; 0 for none, without an upper limit.
        share: of the sum over the parameters.
        baseline: what no shuffle of the report's scores exceeds, in the parameter's own spread between shuffles.
    """

    parameter: str
    importance: float
    share: float
    baseline: float
    standing: Standing


@dataclass(frozen=True)
class Importance:
    """The parameters of a study, or of one budget of it, the most important first.

    Attributes:
        budget: None over all.
        configurations: with a score, each averaged over its seeds; the trials of the evaluation.
        best: how many of them count as the best.
        parameters: empty where there are too few trials, or all scores are equal.
    """

    study: str
    budget: str | None
    configurations: int
    best: int
    parameters: tuple[ParameterImportance, ...]
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def importances(evidence: Evidence) -> tuple[Importance, ...]:
    """Return the importances over a study, within each of its budgets, and in each study that supplements it.

    Equal trials give equal importances: the shuffles have a fixed seed.
    """
    measured = [_measure(scope) for scope in _scopes(evidence)]
    highest = max((each.highest for each in measured), default=0.0)
    return tuple(_importance(each, highest) for each in measured)


@dataclass(frozen=True)
class _Scope:
    """A study or a budget of it; `frozen` are its configurations, whose values are scores."""

    study: str
    budget: str | None
    names: Sequence[str]
    frozen: Sequence[FrozenTrial]
    maximizes: bool

    @property
    def where(self) -> str:
        return self.study if self.budget is None else f"{self.study} at {self.budget}"

    @property
    def obstacle(self) -> str:
        """Why nothing can be said; empty where something can."""
        if self.frozen and not self.names:
            return "no parameter was searched"
        if len(self.frozen) < LEAST_CONFIGURATIONS:
            return f"{count(len(self.frozen), 'configuration')} with a score: importances need {LEAST_CONFIGURATIONS}"
        if len({trial.value for trial in self.frozen}) == 1:
            return "all scores are equal, no parameter decides anything"
        return ""


def _scopes(evidence: Evidence) -> Iterator[_Scope]:
    for each in (evidence, *evidence.supplements):
        space = {name: found for name, found in each.space.items() if not found.single()}
        # Seeds of one configuration are no evidence that its values are good: they count once.
        run = configurations(each.complete, 1.0)
        frozen = [(one.budget, made) for one in run if (made := _frozen(one, space)) is not None]
        yield _Scope(each.name, None, list(space), [made for _, made in frozen], each.maximizes)
        budgets = list(dict.fromkeys(at for at, _ in frozen))
        # Within a budget, the budget decides nothing.
        names = [name for name in space if name != BUDGET]
        for budget in budgets if BUDGET in space and len(budgets) > 1 else []:
            yield _Scope(each.name, budget, names, [made for at, made in frozen if at == budget], each.maximizes)


def _frozen(configuration: Configuration, space: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """Return it for Optuna; None where a value is outside of what the study searches now."""
    params = {name: value for name, value in configuration.params.items() if name in space}
    distributions = {name: space[name] for name in params}
    try:
        return optuna.trial.create_trial(value=configuration.score, params=params, distributions=distributions)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Measured:
    """Square roots of the importances, which are less skewed: a row for the scores, and one for every shuffle."""

    scope: _Scope
    roots: Vector

    @property
    def standardized(self) -> Vector:
        """Parameters of many values vary more by chance than those of two."""
        standardized: Vector = (self.roots - self._centre) / self._deviation
        return standardized

    @property
    def highest(self) -> float:
        """The highest standardised value of any shuffle."""
        return float(self.standardized[1:].max()) if self.roots.size else 0.0

    def baselines(self, highest: float) -> Vector:
        """Return the importance of every parameter that has this standardised value."""
        roots: Vector = np.maximum(self._centre + highest * self._deviation, 0.0)
        return roots**2

    @property
    def _centre(self) -> Vector:
        centre: Vector = self.roots.mean(axis=0)
        return centre

    @property
    def _deviation(self) -> Vector:
        deviation: Vector = np.maximum(self.roots.std(axis=0), 1e-12)
        return deviation


def _measure(scope: _Scope) -> _Measured:
    if scope.obstacle:
        return _Measured(scope, np.zeros((0, 0)))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=_SEED))
    study.add_trials(scope.frozen)
    # The evaluator looks for low values.
    losses = np.array([trial.value for trial in scope.frozen]) * (-1.0 if scope.maximizes else 1.0)
    random = np.random.default_rng(_SEED)
    shuffled = [random.permutation(losses) for _ in range(_SHUFFLES)]
    return _Measured(scope, np.sqrt([_evaluate(study, scope.names, each) for each in (losses, *shuffled)]))


def _evaluate(study: optuna.Study, names: Sequence[str], losses: Vector) -> list[float]:
    """Return how far the best trials lie from all trials, by parameter; 0 for not at all, without an upper limit."""
    with warnings.catch_warnings():
        # It warns that the target is looked for at its low end, as it is meant here, and of values that few trials
        # have, which the shuffles have as few of.
        warnings.simplefilter("ignore", UserWarning)
        # `normalize`: normalised, a shuffle's importances say nothing beside another's.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=_BEST),
            params=list(names),
            target=lambda trial: float(losses[trial.number]),
            normalize=False,
        )
    return [found[name] for name in names]


def _importance(measured: _Measured, highest: float) -> Importance:
    scope, trials = measured.scope, len(measured.scope.frozen)
    if scope.obstacle:
        return Importance(scope.study, scope.budget, trials, 0, (), f"{scope.where}: {scope.obstacle}")
    values, baselines = measured.roots[0] ** 2, measured.baselines(highest)
    rows = [
        ParameterImportance(
            parameter=name,
            importance=float(value),
            share=float(value / values.sum()) if values.any() else 0.0,
            baseline=float(baseline),
            standing=Standing.IMPORTANT if at > highest else Standing.BELOW_THE_NOISE,
        )
        for name, value, baseline, at in zip(scope.names, values, baselines, measured.standardized[0], strict=True)
    ]
    rows.sort(key=lambda row: -row.importance)
    return Importance(scope.study, scope.budget, trials, math.ceil(_BEST * trials), tuple(rows), _sentence(scope, rows))


def _sentence(scope: _Scope, rows: Sequence[ParameterImportance]) -> str:
    told = [row.parameter for row in rows if row.standing is Standing.IMPORTANT]
    if not told:
        return f"{scope.where}: no parameter is more important than with shuffled scores"
    return f"{scope.where}: {', '.join(told)} told the better half from the rest; nothing else did"
