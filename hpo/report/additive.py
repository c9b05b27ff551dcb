"""An additive model of the score: every parameter adds its own part, whatever the others are.

A parameter of few levels has a part for each of them, at every budget another. A number has a broken line: straight
between the values that the study's designs have put there (on the logarithm where it was searched so), and equal over
the budgets. It is fitted by least squares to configurations, each averaged over its seeds.

What the trials can't tell is never guessed: `Fit.estimate` gives None for a difference that no combination of them
holds. A difference of two configurations that are both there is always told, and where nothing else adds to it the
model's answer is just that difference.
"""

import math
from bisect import bisect_right
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


_LEAST_REMAINING: Final = 0.1
"""Of a residual's variance; where the model follows a configuration that closely, its residual says nothing."""


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
        columns = [0.0] * len(self.knots)
        above = min(bisect_right(self.knots, at), len(self.knots) - 1)
        if above == 0:
            return [1.0]
        low, high = self.knots[above - 1], self.knots[above]
        columns[above] = (at - low) / (high - low)
        columns[above - 1] = 1.0 - columns[above]
        return columns


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
        configurations: that it was fitted to.
        degrees_of_freedom: how many more configurations there are than the model could follow exactly.
        spread: the standard deviation of one configuration around the model, and by how many degrees of freedom its
            Student's t is to be read; None without any.
    """

    def __init__(self, rows: Vector, scores: Vector) -> None:
        self._rows, self._scores, self.configurations = rows, scores, len(scores)
        # What a difference of scores may be off by through rounding alone.
        self._rounding = 1e-11 * float(np.abs(scores).max(initial=0.0))
        self._inverse = np.linalg.pinv(rows, rcond=_LEAST_SINGULAR) if len(rows) else np.zeros((0, 0))
        self._hat = rows @ self._inverse if len(rows) else np.zeros((0, 0))
        self._remaining: Vector = 1.0 - np.diag(self._hat)
        self._residuals: Vector = scores - self._hat @ scores
        self.degrees_of_freedom = round(float(self._remaining.sum()))
        self.spread = self._spread(self._residuals, self._remaining, self.degrees_of_freedom)

    def _spread(self, residuals: Vector, remaining: Vector, degrees: int) -> tuple[float, float] | None:
        if degrees < 1:
            return None
        deviation = self._rounded(math.sqrt(float(residuals @ residuals) / degrees))
        if deviation == 0.0:
            return deviation, degrees
        told = remaining > _LEAST_REMAINING
        return deviation, min(degrees, _tail(residuals[told] / np.sqrt(remaining[told])))

    def _rounded(self, value: float) -> float:
        return value if abs(value) > self._rounding else 0.0

    def estimate(self, contrast: Vector) -> tuple[float, float] | None:
        """Return a combination of the coefficients, and its standard error for a spread of 1; None if it isn't told."""
        if not len(self._rows):
            return None
        weights = contrast @ self._inverse
        if float(np.abs(weights @ self._rows - contrast).max()) > 1e-7:
            return None
        return self._rounded(float(weights @ self._scores)), float(np.linalg.norm(weights))

    def left_out(self, index: int) -> tuple[float, float, tuple[float, float]] | None:
        """Return how a configuration differs from what the others predict for it.

        Returns:
            The difference; its standard error for a spread of 1; and the spread of the others. None where the others
            don't tell, or have no degree of freedom.
        """
        remaining = float(self._remaining[index])
        if remaining < 1e-7 or self.degrees_of_freedom < 2:
            return None
        missed = self._rounded(float(self._residuals[index]) / remaining)
        others = np.arange(len(self._scores)) != index
        pull = self._hat[others, index]
        residuals = self._residuals[others] + pull * missed
        spread = self._spread(residuals, self._remaining[others] - pull**2 / remaining, self.degrees_of_freedom - 1)
        assert spread is not None
        return missed, math.sqrt(1.0 / remaining), spread


def _tail(residuals: Vector) -> float:
    """Return the degrees of freedom of the Student's t that has tails as heavy as these.

    Noise of heavy tails throws single trials further off than its standard deviation says. The excess kurtosis of a
    Student's t is 6 / (degrees - 4); what normal noise shows by chance, one standard error, is left out.
    """
    if len(residuals) < 4:
        return math.inf
    squares = (residuals - residuals.mean()) ** 2
    excess = float(np.mean(squares**2) / np.mean(squares) ** 2) - 3.0 - math.sqrt(24.0 / len(residuals))
    return 4.0 + 6.0 / excess if excess > 0.0 else math.inf
