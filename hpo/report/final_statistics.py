"""What a test part says of models that were trained over seeds: mean areas, their differences, and their intervals.

Two things would be otherwise another time: the dates of the test part, and the seeds. The variance of a mean over
seeds is the sum of both. That of the dates, given the models, is DeLong's by clusters of dates, of the influence
averaged over the seeds. That of the seeds is the variance between their areas over the number of seeds. Three seeds say
little of a variance, so it is pooled over all finalists; a configuration whose own is larger has its own. The interval
is Student's with the degrees of freedom of Satterthwaite. The dates make seeds differ too, and that part is counted
twice: simulated at 95 %, over 500 samples each of ten worlds, the intervals held the truth in 93 to 98 of 100 for means
and 93 to 99 for differences, the lowest where the noise between seeds is all there is. With one seed nothing is known
of that, and `seeds_known` is false.

Pure functions of arrays.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from studies.metrics import area_influence, area_under_curve

Floats = NDArray[np.float64]
Keys = NDArray[np.int64]

# A variance of this size is rounding: see `studies.metrics`.
_NO_VARIANCE = 1e-24


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        value: an area, or the difference of two.
        each: of every seed.
        standard_error: of the mean, over other dates and other seeds.
        of_dates: the part of the standard error that the dates make.
        of_seeds: the part that the seeds make; 0 where nothing is known of it.
        degrees: of freedom, of the interval.
        seeds_known: whether there were seeds to compare; otherwise the interval is over other dates alone.
    """

    value: float
    low: float
    high: float
    each: tuple[float, ...]
    standard_error: float
    of_dates: float
    of_seeds: float
    degrees: float
    seeds_known: bool

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is told from none."""
        return not self.low <= 0.0 <= self.high


@dataclass(frozen=True, slots=True)
class SeedNoise:
    """The variance between the areas of the seeds of one configuration, pooled over all.

    Attributes:
        variance: 0 where no configuration has two seeds.
        degrees: of freedom that it is known to; 0 where it is not.
    """

    variance: float
    degrees: int

    def at_least(self, areas: Floats) -> float:
        """Return the variance of a configuration with these areas."""
        return max(self.variance, float(areas.var(ddof=1))) if areas.size > 1 else self.variance


def seed_noise(areas: Sequence[Sequence[float]]) -> SeedNoise:
    """Return the noise between seeds from the areas of every configuration, one a seed."""
    degrees = sum(len(each) - 1 for each in areas if each)
    squares = sum(float(np.var(each)) * len(each) for each in areas if each)
    return SeedNoise(squares / degrees if degrees else 0.0, degrees)


def mean_area(
    labels: Floats, probabilities: Floats, clusters: Keys, noise: SeedNoise, confidence: float = 0.95
) -> Estimate:
    """Return the mean area under the curve of one configuration over its seeds.

    The interval is symmetric on the logit scale, so it stays inside [0, 1].

    Args:
        labels: (n,) zeros and ones.
        probabilities: (seeds, n).
        clusters: (n,) keys, equal within a cluster of dates.
        noise: between seeds.
        confidence: of the interval.

    Raises:
        ValueError: as `studies.metrics.area_under_curve`.
    """
    areas, influence = areas_of(labels, probabilities), _influence(labels, probabilities, clusters)
    of_seeds = noise.at_least(areas) / areas.size
    return _estimate(areas, influence.mean(axis=0), of_seeds, noise.degrees, confidence, _within_unit)


def mean_difference(
    labels: Floats, first: Floats, second: Floats, clusters: Keys, noise: SeedNoise, confidence: float = 0.95
) -> Estimate:
    """Return by how much the mean area of one configuration is above that of another on the same dates.

    Args:
        labels: (n,) zeros and ones.
        first: (seeds, n) probabilities.
        second: likewise, with the same seeds in the same order.
        clusters: (n,) keys, equal within a cluster of dates.
        noise: between seeds.
        confidence: of the interval.

    Raises:
        ValueError: as `studies.metrics.area_under_curve`.
    """
    areas = [areas_of(labels, each) for each in (first, second)]
    influence = _influence(labels, first, clusters) - _influence(labels, second, clusters)
    of_seeds = sum(noise.at_least(each) for each in areas) / areas[0].size
    return _estimate(areas[0] - areas[1], influence.mean(axis=0), of_seeds, noise.degrees, confidence, _symmetric)


def difference_from_fixed(
    labels: Floats, first: Floats, fixed: Floats, clusters: Keys, noise: SeedNoise, confidence: float = 0.95
) -> Estimate:
    """Return by how much the mean area of a configuration is above that of a model that has no seed, (n,)."""
    areas = areas_of(labels, first)
    influence = _influence(labels, first, clusters) - _influence(labels, fixed[None], clusters)
    of_seeds = noise.at_least(areas) / areas.size
    differences = areas - area_under_curve(labels, fixed)
    return _estimate(differences, influence.mean(axis=0), of_seeds, noise.degrees, confidence, _symmetric)


def areas_of(labels: Floats, probabilities: Floats) -> Floats:
    """Return the area of every seed."""
    return np.array([area_under_curve(labels, each) for each in probabilities])


def _influence(labels: Floats, probabilities: Floats, clusters: Keys) -> Floats:
    """Return (seeds, clusters)."""
    return np.stack([area_influence(labels, each, clusters) for each in probabilities])


def _estimate(
    areas: Floats,
    influence: Floats,
    of_seeds: float,
    seed_degrees: int,
    confidence: float,
    bounds: Callable[[float, float], tuple[float, float]],
) -> Estimate:
    date_degrees = max(1, influence.size - 1)
    of_dates = float(influence @ influence) * influence.size / date_degrees
    variance = of_dates + of_seeds
    degrees = _degrees((of_dates, date_degrees), (of_seeds, seed_degrees))
    reach = 0.0 if variance < _NO_VARIANCE else math.sqrt(variance) * float(stdtrit(degrees, (1 + confidence) / 2))
    value = float(areas.mean())
    low, high = bounds(value, reach)
    return Estimate(
        value=value,
        low=low,
        high=high,
        each=tuple(map(float, areas)),
        standard_error=math.sqrt(variance),
        of_dates=math.sqrt(of_dates),
        of_seeds=math.sqrt(of_seeds),
        degrees=degrees,
        seeds_known=seed_degrees > 0,
    )


def _degrees(*parts: tuple[float, int]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of variances, each with its own."""
    known = sum(variance**2 / degrees for variance, degrees in parts if degrees)
    return sum(variance for variance, _ in parts) ** 2 / known if known > 0 else 1.0


def _symmetric(value: float, reach: float) -> tuple[float, float]:
    return value - reach, value + reach


def _within_unit(value: float, reach: float) -> tuple[float, float]:
    """Return the bounds on the logit scale; an area of 0 or 1 has no variance, and its interval says nothing."""
    if not 0.0 < value < 1.0:
        return 0.0, 1.0
    centre, on_logit = math.log(value / (1 - value)), reach / (value * (1 - value))
    return _expit(centre - on_logit), _expit(centre + on_logit)


def _expit(logit: float) -> float:
    return (1 + math.tanh(logit / 2)) / 2
