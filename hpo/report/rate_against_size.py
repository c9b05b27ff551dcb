"""How the best learning rate moves with size: lr ∝ N^−β, from the best few configurations at each size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from hpo.report.equal_n import FloatArray, interval_of, student_ratio
from hpo.report.size_findings import floats, plain
from hpo.report.size_tests import LEVEL, SHUFFLES

LEAST_TRIALS: Final = 5
"""Configurations that a size needs: the best three of fewer are hardly the best."""

LEAST_SIZES: Final = 3

RELEVANT_FACTOR: Final = 3.0
"""A change of the learning rate over all sizes that a study must be able to see before it says that there is none."""

EDGE: Final = 0.1
"""The best few lie at the edge of what was tried where their mean is within this share of the range in log rate."""


class RateVerdict(StrEnum):
    """What a study says of learning rate and size."""

    FALLS = "falls"
    RISES = "rises"
    FLAT = "flat"
    NOT_IDENTIFIABLE = "not_identifiable"


@dataclass(frozen=True)
class SizeRates:
    """The configurations of one size: a learning rate and a mean score for each."""

    size: float
    label: str
    rates: tuple[float, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class BestRate:
    """One size: the geometric mean of the learning rates of its best few, with its 95 % interval.

    `edge` is `low` or `high` where that mean is at the edge of what was tried at any size, else empty.
    """

    size: float
    label: str
    n: int
    rate: float
    low: float
    high: float
    edge: str = ""


@dataclass(frozen=True)
class RateLine:
    """The fitted learning rate, up to ten times the largest size, with its 95 % interval."""

    sizes: tuple[float, ...]
    central: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class RateFindings:
    """What a study says of learning rate and size.

    Attributes:
        best_few: how many configurations of each size are looked at.
        exponent: β of lr ∝ N^−β, with its 95 % interval; None with fewer than two sizes.
        chance: the probability of a slope as steep if the best learning rate has nothing to do with size.
        line: None unless the learning rate falls or rises.
    """

    verdict: RateVerdict
    sizes: tuple[BestRate, ...]
    best_few: int
    exponent: float | None = None
    exponent_low: float | None = None
    exponent_high: float | None = None
    chance: float | None = None
    line: RateLine | None = None
    sentences: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        sizes, line = [plain(each) for each in self.sizes], self.line and plain(self.line)
        return {**plain(self), "verdict": self.verdict.value, "sizes": sizes, "line": line}


def analyse_rates(observed: Sequence[SizeRates], *, maximizes: bool, seed: int = 0, repeats: int = 500) -> RateFindings:
    """Return how the best learning rate moves with size. It never raises: what is too thin is said to be.

    At each size the best few count, as many everywhere: three, or a fifth of the fewest. Their mean log rate is
    regressed on log size; configurations are resampled for the intervals, and the best few change places between sizes
    for the test. A learning rate that does not matter gives best few at random, and so no verdict.

    Args:
        observed: sizes in any order; configurations without a finite score and a rate above zero are left out, and
            sizes with fewer than five of them.
    """
    usable = [each for each in map(_finite, sorted(observed, key=lambda each: each.size)) if each]
    few = max(3, min((len(each.rates) for each in usable), default=0) // 5)
    if len(usable) < 2:
        nothing = ("Nothing can be said of learning rate and size: two sizes need five configurations each.",)
        return RateFindings(RateVerdict.NOT_IDENTIFIABLE, (), few, sentences=nothing)
    tried = {rate for each in usable for rate in each.rates}
    if len(tried) == 1:
        nothing = (f"Nothing can be said of learning rate and size: only {tried.pop():.3g} was tried.",)
        return RateFindings(RateVerdict.NOT_IDENTIFIABLE, (), few, sentences=nothing)
    generator = np.random.default_rng(seed)
    best = np.array([_best_rates(each, few, maximizes) for each in usable])
    resampled = np.stack([_resampled(each, few, maximizes, repeats, generator) for each in usable], axis=1)
    position = np.log([each.size for each in usable])
    weights = _slope_weights(position)
    slopes, slope = resampled @ weights, float(best.mean(axis=1) @ weights)
    low, high = interval_of(-slopes)
    chance = _chance(best, weights, generator)
    span = float(np.ptp(position))
    verdict = _verdict(len(usable), chance, slope, max(abs(low), abs(high)) * span)
    sizes = _best_by_size(usable, best, resampled)
    clear = verdict in {RateVerdict.FALLS, RateVerdict.RISES}
    line = _line(position, best.mean(axis=1), resampled) if clear else None
    said = _describe(verdict, sizes, few, (-slope, low, high), chance)
    return RateFindings(verdict, sizes, few, -slope, low, high, chance, line, said)


def _finite(observed: SizeRates) -> SizeRates | None:
    pairs = [
        (float(rate), float(score))
        for rate, score in zip(observed.rates, observed.scores, strict=False)
        if math.isfinite(rate) and rate > 0 and math.isfinite(score)
    ]
    if len(pairs) < LEAST_TRIALS or not (math.isfinite(observed.size) and observed.size > 0):
        return None
    rates, scores = zip(*pairs, strict=True)
    return SizeRates(float(observed.size), observed.label, rates, scores)


def _best_rates(observed: SizeRates, few: int, maximizes: bool) -> FloatArray:
    """Return the log rates of the best few."""
    losses = np.array(observed.scores) * (-1 if maximizes else 1)
    best = np.argsort(losses, kind="stable")[:few]
    return np.asarray(np.log(np.array(observed.rates)[best]), dtype=np.float64)


def _resampled(
    observed: SizeRates, few: int, maximizes: bool, repeats: int, generator: np.random.Generator
) -> FloatArray:
    """Return the mean log rate of the best few, `repeats` times, of resampled configurations."""
    losses, rates = np.array(observed.scores) * (-1 if maximizes else 1), np.log(observed.rates)
    count = losses.size
    chosen = generator.integers(0, count, (repeats, count))
    best = np.take_along_axis(chosen, np.argsort(losses[chosen], axis=1, kind="stable")[:, :few], axis=1)
    found = rates[best].mean(axis=1)
    exact = float(_best_rates(observed, few, maximizes).mean())
    widening = math.sqrt(count / (count - 1)) * student_ratio(count - 1)
    return np.asarray(exact + widening * (found - found.mean()), dtype=np.float64)


def _slope_weights(position: FloatArray) -> FloatArray:
    """Return what the least-squares slope multiplies each size's value with; zero for all where sizes are equal."""
    centred = position - position.mean()
    square = float(centred @ centred)
    return centred / square if square > 0 else np.zeros_like(centred)


def _chance(best: FloatArray, weights: FloatArray, generator: np.random.Generator) -> float:
    """Return how often the best few, shuffled between sizes, have a slope as steep in either direction."""
    shuffled = generator.permuted(np.tile(best.ravel(), (SHUFFLES, 1)), axis=1).reshape(SHUFFLES, *best.shape)
    slopes = np.abs(shuffled.mean(axis=2) @ weights)
    own = abs(float(best.mean(axis=1) @ weights))
    return float((1 + np.sum(slopes >= own - 1e-12)) / (SHUFFLES + 1))


def _verdict(count: int, chance: float, slope: float, largest_change: float) -> RateVerdict:
    if count < LEAST_SIZES:
        return RateVerdict.NOT_IDENTIFIABLE
    if chance <= LEVEL:
        return RateVerdict.FALLS if slope < 0 else RateVerdict.RISES
    return RateVerdict.FLAT if largest_change <= math.log(RELEVANT_FACTOR) else RateVerdict.NOT_IDENTIFIABLE


def _best_by_size(usable: Sequence[SizeRates], best: FloatArray, resampled: FloatArray) -> tuple[BestRate, ...]:
    tried = np.log([rate for each in usable for rate in each.rates])
    margin = EDGE * float(np.ptp(tried))
    found = []
    for index, each in enumerate(usable):
        mean = float(best[index].mean())
        edge = "low" if mean <= tried.min() + margin else "high" if mean >= tried.max() - margin else ""
        low, high = interval_of(resampled[:, index])
        ends = math.exp(mean), math.exp(low), math.exp(high)
        found.append(BestRate(each.size, each.label, len(each.rates), *ends, edge if margin > 0 else ""))
    return tuple(found)


def _line(position: FloatArray, means: FloatArray, resampled: FloatArray) -> RateLine:
    grid = np.linspace(position[0], position[-1] + math.log(10), 40)
    weights, centred = _slope_weights(position), grid - position.mean()
    central = means.mean() + centred * (means @ weights)
    drawn = resampled.mean(axis=1)[:, None] + np.outer(resampled @ weights, centred)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return RateLine(*(floats(np.exp(each)) for each in (grid, central, low, high)))


def _describe(
    verdict: RateVerdict, sizes: Sequence[BestRate], few: int, exponent: tuple[float, float, float], chance: float
) -> tuple[str, ...]:
    value, low, high = (f"{each:.2f}".replace("-", "−") for each in exponent)
    slope = f"N^−β with β = {value} (95 % interval {low} to {high})"
    by_chance = f"a slope as steep comes about by chance in {100 * chance:.2g} % of studies where size means nothing"
    first = {
        RateVerdict.FALLS: f"The best learning rate falls with size: {slope}; {by_chance}.",
        RateVerdict.RISES: f"The best learning rate rises with size: {slope}; {by_chance}.",
        RateVerdict.FLAT: f"The best learning rate does not move with size, by a factor of 3 or more: {slope}.",
        RateVerdict.NOT_IDENTIFIABLE: f"How the best learning rate moves with size is unclear: {slope}; {by_chance}.",
    }[verdict]
    if verdict is RateVerdict.NOT_IDENTIFIABLE and len(sizes) < LEAST_SIZES:
        first = f"Two sizes say little of learning rate and size: {slope}."
    each = ", ".join(f"{size.label} {size.rate:.2g} (n = {size.n})" for size in sizes)
    lines = [first, f"Mean of the best {few} at each size: {each}."]
    at_edge = ", ".join(f"{size.label} ({size.edge})" for size in sizes if size.edge)
    if at_edge:
        lines.append(
            f"At the edge of the learning rates tried: {at_edge}. The best may lie beyond, and β is then too small."
        )
    return tuple(lines)
