"""An additive model of the score: every parameter adds its own part, whatever the others are.

A parameter of few levels has a part for each of them, at every budget another. A number has a broken line: straight
between the values that the study's designs have put there (on the logarithm where it was searched so), and equal over
the budgets. It is fitted by least squares to configurations, each averaged over its seeds.

What the trials can't tell is never guessed: `Fit.estimate` gives None for a difference that no combination of them
holds. A difference of two configurations that are both there is always told, and where nothing else adds to it the
model's answer is just that difference.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.report.evidence import Trial

Vector = NDArray[np.float64]

BUDGET: Final = "budget"
"""The parameter that every other part may depend on."""

_LEAST_SINGULAR: Final = 1e-9
"""Of the largest singular value: columns are between 0 and 1, so anything less is rounding."""


@dataclass(frozen=True)
class Configuration:
    """Trials of equal parameters.

    Attributes:
        score: the mean over their seeds; a seed that was run twice counts once.
        seeds: how many different ones.
    """

    params: Mapping[str, Any]
    budget: str | None
    score: float
    seeds: int
    trials: tuple[Trial, ...]


def configurations(trials: Iterable[Trial], sign: float) -> tuple[Configuration, ...]:
    """Return what was run, with scores times `sign`, so that more is better; trials without a score are left out."""
    groups: dict[tuple[tuple[str, Any], ...], list[Trial]] = {}
    for trial in trials:
        if trial.score is not None:
            groups.setdefault(trial.configuration, []).append(trial)
    return tuple(_configuration(group, sign) for group in groups.values())


def _configuration(group: Sequence[Trial], sign: float) -> Configuration:
    seeds: dict[object, list[float]] = {}
    for trial in group:
        # A trial of unknown seed counts as one of its own.
        key = ("trial", trial.number) if trial.seed is None else trial.seed
        seeds.setdefault(key, []).append(sign * (trial.score or 0.0))
    score = fmean(fmean(scores) for scores in seeds.values())
    return Configuration(group[0].params, group[0].budget, score, len(seeds), tuple(group))


@dataclass(frozen=True)
class Part:
    """What one parameter adds.

    Attributes:
        levels: of a parameter of few; None for a number.
        knots: of a number, on the scale that it was searched on; the line is level outside of them.
    """

    name: str
    levels: tuple[Any, ...] | None
    knots: tuple[float, ...] = ()
    is_log: bool = False

    def columns(self, value: Any) -> list[float]:  # noqa: ANN401  any value of a parameter
        """Return the part's row for a value: how much of each level, or of each knot, it is; their sum is 1."""
        if self.levels is not None:
            return [float(value == level) for level in self.levels]
        at = min(max(_scaled(float(value), is_log=self.is_log), self.knots[0]), self.knots[-1])
        hats = np.eye(len(self.knots))
        return [float(np.interp(at, self.knots, hat)) for hat in hats]


def parts(
    space: Mapping[str, BaseDistribution], designed: Sequence[Mapping[str, Any]], seen: Sequence[Mapping[str, Any]]
) -> tuple[Part, ...]:
    """Return the parts of a model.

    Args:
        space: the distributions of the parameters.
        designed: the parameters of the designs; their values are the knots.
        seen: the parameters of all trials; their values are the levels.
    """
    found = []
    for name, distribution in space.items():
        if name == BUDGET:
            continue
        if isinstance(distribution, FloatDistribution | IntDistribution):
            found.append(_line(name, distribution, designed))
        elif isinstance(distribution, CategoricalDistribution):
            present = [*designed, *seen]
            levels = [level for level in distribution.choices if any(each.get(name) == level for each in present)]
            found.append(Part(name, tuple(levels)))
    return tuple(found)


def _line(name: str, distribution: FloatDistribution | IntDistribution, designed: Sequence[Mapping[str, Any]]) -> Part:
    values = {float(each[name]) for each in designed if name in each}
    if len(values) < 2:
        # The designs leave it alone, and the sampler does not.
        values |= {float(distribution.low), float(distribution.high)}
    knots = sorted(_scaled(value, is_log=distribution.log) for value in values)
    return Part(name, None, tuple(knots), distribution.log)


def _scaled(value: float, *, is_log: bool) -> float:
    return math.log(value) if is_log else value


class Model:
    """Rows of numbers for configurations: one part a parameter, and what every budget adds."""

    def __init__(self, found: Sequence[Part], budgets: Sequence[str | None]) -> None:
        self._parts, self._budgets = found, budgets

    def row(self, params: Mapping[str, Any], budget: str | None) -> Vector:
        """Return the row of a configuration."""
        here = [float(budget == each) for each in self._budgets]
        row = list(here)
        for part in self._parts:
            columns = part.columns(params[part.name])
            if part.levels is None:
                row += columns
            else:
                row += [column * at for column in columns for at in here]
        return np.array(row)

    def fit(self, fitted: Sequence[Configuration]) -> "Fit":
        """Return the fit to these configurations; none are fine."""
        rows = [self.row(each.params, each.budget) for each in fitted]
        return Fit(np.array(rows), np.array([each.score for each in fitted]))


class Fit:
    """Least squares; of many equally good answers, the one of least coefficients.

    Attributes:
        degrees_of_freedom: how many more configurations there are than the model could follow exactly.
        spread: the standard deviation of one configuration around the model; None without a degree of freedom.
    """

    def __init__(self, rows: Vector, scores: Vector) -> None:
        self._rows, self._scores = rows, scores
        self._inverse = np.linalg.pinv(rows, rcond=_LEAST_SINGULAR) if len(rows) else np.zeros((0, 0))
        hat = rows @ self._inverse if len(rows) else np.zeros((0, 0))
        self.leverage: Vector = np.diag(hat)
        self.residuals: Vector = scores - hat @ scores
        self.degrees_of_freedom = len(rows) - round(float(self.leverage.sum()))
        self.spread = self._spread()

    def _spread(self) -> float | None:
        if self.degrees_of_freedom < 1:
            return None
        spread = math.sqrt(float(self.residuals @ self.residuals) / self.degrees_of_freedom)
        # Scores that the model follows exactly leave nothing but rounding.
        return spread if spread > 1e-12 * float(np.abs(self._scores).max()) else 0.0

    def estimate(self, contrast: Vector) -> tuple[float, float] | None:
        """Return a combination of the coefficients, and its standard error for a spread of 1; None if it isn't told."""
        if not len(self._rows):
            return None
        weights = contrast @ self._inverse
        if float(np.abs(weights @ self._rows - contrast).max()) > 1e-7:
            return None
        return float(weights @ self._scores), float(np.linalg.norm(weights))

    def left_out(self, index: int) -> tuple[float, float, float] | None:
        """Return what the others predict for a configuration.

        Returns:
            The prediction; the standard error of its difference from the score for a spread of 1; and the spread of the
            others. None where the others don't tell, or have no degree of freedom.
        """
        remaining, others = 1.0 - float(self.leverage[index]), self.degrees_of_freedom - 1
        if remaining < 1e-7 or others < 1:
            return None
        missed = float(self.residuals[index]) / remaining
        squares = float(self.residuals @ self.residuals) - missed**2 * remaining
        spread = math.sqrt(max(squares, 0.0) / others)
        return float(self._scores[index]) - missed, math.sqrt(1.0 / remaining), spread
