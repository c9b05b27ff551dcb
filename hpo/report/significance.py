"""Whether a difference is more than noise: Student's t, many comparisons, and the verdict in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from scipy.special import fdtrc, stdtr, stdtrit

CONFIDENCE: Final = 0.95
_POWER: Final = 0.8
"""How often the smallest difference that could have been seen would have been."""

_MISFIT: Final = 0.01
"""How often a model that misses nothing is taken for one that does."""

LEAST_DEGREES: Final = 3.0
"""Of a spread around a model: with fewer, Student's t asks for differences that no search shows."""


class NoiseLevel(Protocol):
    """How far the score of one configuration spreads between seeds."""

    @property
    def standard_deviation(self) -> float: ...  # noqa: D102
    @property
    def degrees_of_freedom(self) -> float: ...  # noqa: D102


class Source(StrEnum):
    """Where a spread comes from."""

    SEEDS = "seeds"
    RESIDUALS = "residuals"
    """Of a model; they also hold what the model misses."""


@dataclass(frozen=True)
class Spread:
    """The standard deviation of one trial's score, and how well it is known."""

    standard_deviation: float
    degrees_of_freedom: float
    source: Source


class Verdict(StrEnum):
    """What an effect comes to."""

    BETTER = "better"
    """Higher by more than noise explains, all comparisons of the report considered."""
    WORSE = "worse"
    """Lower by more than noise explains."""
    BELOW_THE_NOISE = "below_the_noise"
    """Noise alone gives such a difference; it is not shown that there is none."""
    UNKNOWN = "unknown"
    """No score, or nothing to judge it by."""


def known_noise(noise: NoiseLevel | None) -> Spread | None:
    """Return the noise between seeds, where it is known at all."""
    if noise is None or noise.degrees_of_freedom < 1 or not math.isfinite(noise.standard_deviation):
        return None
    return Spread(max(noise.standard_deviation, 0.0), float(noise.degrees_of_freedom), Source.SEEDS)


@dataclass(frozen=True)
class Estimate:
    """A difference, positive for better.

    Attributes:
        standard_error: for a spread of 1.
        spread: what it is judged by; None where nothing is known.
        estimator: `pair` or `model`.
        configurations: that it rests on.
    """

    difference: float
    standard_error: float
    spread: Spread | None
    estimator: str
    configurations: int

    @property
    def standardized(self) -> float | None:
        """The difference in standard errors; None where there is no spread, or where it is 0."""
        if self.spread is None or self.spread.standard_deviation == 0.0:
            return None
        return self.difference / (self.standard_error * self.spread.standard_deviation)

    @property
    def p_value(self) -> float | None:
        """How often noise alone gives at least such a difference, of either sign."""
        if self.spread is None:
            return None
        error = self.standard_error * self.spread.standard_deviation
        if error == 0.0:
            return float(self.difference == 0.0)
        return float(2.0 * stdtr(self.spread.degrees_of_freedom, -abs(self.difference) / error))

    def half_width(self, error: float) -> float | None:
        """Return half the width of the interval that leaves the truth out that often."""
        if self.spread is None:
            return None
        quantile = float(stdtrit(self.spread.degrees_of_freedom, 1.0 - error / 2.0))
        return quantile * self.standard_error * self.spread.standard_deviation

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """The ends of the 95 % interval, of this difference alone; None where there is no spread."""
        half = self.half_width(1.0 - CONFIDENCE)
        return (None, None) if half is None else (self.difference - half, self.difference + half)

    def detectable(self, error: float) -> float | None:
        """Return the difference that would have been told from noise in four of five such studies."""
        half = self.half_width(error)
        if half is None or self.spread is None:
            return None
        power = float(stdtrit(self.spread.degrees_of_freedom, _POWER))
        return half + power * self.standard_error * self.spread.standard_deviation


def narrowest(estimates: Sequence[Estimate], error: float) -> Estimate | None:
    """Return the estimate that would see most at that error if their spreads were equal; without a spread, the last.

    The choice looks neither at the differences nor at how large a spread came out, so it favours no verdict: of two
    spreads the smaller one would be too small more often than not.
    """

    def width(estimate: Estimate) -> float:
        if estimate.spread is None:
            return math.inf
        return float(stdtrit(estimate.spread.degrees_of_freedom, 1.0 - error / 2.0)) * estimate.standard_error

    return min(estimates, key=width, default=None)


def exceeds(spread: Spread, noise: Spread) -> bool:
    """Whether a spread is more than that noise explains, by Fisher's F."""
    if spread.standard_deviation == 0.0:
        return False
    if noise.standard_deviation == 0.0:
        return True
    ratio = (spread.standard_deviation / noise.standard_deviation) ** 2
    return float(fdtrc(spread.degrees_of_freedom, noise.degrees_of_freedom, ratio)) < _MISFIT


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values that hold for all of them together, by Holm's method; None stays None and counts for nothing."""
    ranked = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(ranked):
        highest = max(highest, min(1.0, p * (len(ranked) - rank)))
        adjusted[index] = highest
    return adjusted


def judge(estimate: Estimate | None, adjusted: float | None, error: float) -> Verdict:
    """Return the verdict of an effect whose p-value, all comparisons considered, is `adjusted`."""
    if estimate is None or adjusted is None:
        return Verdict.UNKNOWN
    if adjusted > error:
        return Verdict.BELOW_THE_NOISE
    return Verdict.BETTER if estimate.difference > 0 else Verdict.WORSE


def around(difference: float, half: float | None) -> str:
    """Return a difference with its half-width, in as many decimals as the half-width has two digits of."""
    if half is None or half == 0.0:
        return f"{difference:+.3g}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{difference:+.{decimals}f} ± {half:.{decimals}f}"
