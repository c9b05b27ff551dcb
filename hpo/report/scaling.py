"""What size brings: the best of equally many at each size, a law through them, and a verdict in words.

Sizes are parameters or FLOPs, whatever the caller passes. A verdict needs a pattern that chance hardly makes
(`hpo.report.size_tests`); a law (`hpo.report.power_law`) is fitted only where larger is better beyond doubt, for a
curve through noise would be believed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hpo.report.equal_n import LEAST_TRIALS, FloatArray, common_draws, expected_best, interval_of, resampled_best
from hpo.report.loss_scale import LossScale, natural_scale, remote_zero
from hpo.report.power_law import ScalingLaw, fit_resampled
from hpo.report.scaling_words import describe
from hpo.report.size_findings import Gain, HoldOut, SizeFinding, SizeFindings, SizeScores, Verdict, curve_of
from hpo.report.size_tests import LEVEL, PatternTests, pattern_tests

LEAST_SIZES: Final = 3
"""Sizes that a verdict needs: two differ or don't, which is no law."""

AHEAD: Final = 10.0
"""How many times beyond the largest size the curve goes on."""

_CURVE_POINTS: Final = 60
_ABSURD: Final = 1e100  # a score as large is left out like an infinite one: its square would be one


def analyse_sizes(
    observed: Sequence[SizeScores],
    *,
    maximizes: bool,
    noise: float | None,
    seed: int = 0,
    repeats: int = 500,
    best_possible: float | None = None,
    size_name: str = "parameters",
) -> SizeFindings:
    """Return what scores at several sizes say. It never raises: what is too thin is said to be.

    Args:
        observed: sizes in any order; equal ones are put together, and those that are not above zero are left out, as
            are scores that are not finite, or 1e100 and more.
        noise: the standard deviation of one configuration's score between seeds; None where it is unknown.
        repeats: of the bootstrap.
        best_possible: the best score that there can be; infinite where there is none. Default: 1 for maximized scores
            that all lie between 0 and 1, as an AUC does; 0 for minimized ones of which none is below; else infinite.
        size_name: what the sizes count, for the sentences.
    """
    noise = noise if noise is not None and 0 <= noise < math.inf else None
    usable = _usable(observed)
    scale = natural_scale([score for each in usable for score in each.scores], maximizes, best_possible)
    losses = [np.sort(scale.losses(np.array(each.scores))) for each in usable]
    compared = [index for index, each in enumerate(losses) if each.size >= LEAST_TRIALS]
    draws = common_draws([losses[index].size for index in compared]) if compared else 0
    values = np.array([float(expected_best(losses[index], draws)) for index in compared])
    scale, shift = remote_zero(scale, values)
    losses, values = [each + shift for each in losses], values + shift
    generator = np.random.default_rng(seed)
    drawn = [resampled_best(losses[index], draws, repeats, generator) for index in compared]
    resampled = np.stack(drawn, axis=1) if drawn else np.zeros((repeats, 0))
    places = {index: place for place, index in enumerate(compared)}
    sizes = tuple(
        _size_finding(
            each, found, scale, *((values[places[i]], resampled[:, places[i]]) if i in places else (None, None))
        )
        for i, (each, found) in enumerate(zip(usable, losses, strict=True))
    )
    points = np.array([usable[index].size for index in compared])
    study = _Study(points, [losses[index] for index in compared], values, resampled, scale)
    findings = _concluded(study, sizes, draws, noise, seed)
    return replace(findings, sentences=describe(findings, size_name))


@dataclass(frozen=True)
class _Study:
    """The compared sizes: k sizes, their losses, their k expected bests and those resampled, shape (repeats, k)."""

    sizes: FloatArray
    losses: list[FloatArray]
    values: FloatArray
    resampled: FloatArray
    scale: LossScale

    def fit(self, count: int) -> ScalingLaw:
        """Return the law of the first `count` sizes."""
        kept = slice(0, count)
        errors = self.resampled[:, kept].std(axis=0)
        return fit_resampled(self.sizes[kept], self.values[kept], errors, self.resampled[:, kept])


def _concluded(
    study: _Study, sizes: tuple[SizeFinding, ...], draws: int, noise: float | None, seed: int
) -> SizeFindings:
    if study.sizes.size < 2:
        return SizeFindings(Verdict.NOT_IDENTIFIABLE, sizes, draws, noise, study.scale)
    tests = pattern_tests(study.sizes, study.losses, draws, seed)
    gained = study.resampled[:, 0] - study.resampled[:, -1]
    gain = Gain(float(study.values[0] - study.values[-1]), *interval_of(gained))
    verdict = _verdict(study, tests, gain, noise)
    law = study.fit(study.sizes.size) if verdict is Verdict.IMPROVES else None
    grid = np.geomspace(study.sizes[0], AHEAD * study.sizes[-1], _CURVE_POINTS)
    return SizeFindings(
        verdict,
        sizes,
        draws,
        noise,
        study.scale,
        tests,
        gain,
        law,
        curve_of(law, study.scale, grid) if law else None,
        _hold_out(study, sizes) if law else None,
    )


def _verdict(study: _Study, tests: PatternTests, gain: Gain, noise: float | None) -> Verdict:
    if study.sizes.size < LEAST_SIZES:
        return Verdict.NOT_IDENTIFIABLE
    largest = float(np.ptp(study.values))
    if min(tests.trap, tests.peak) <= LEVEL:
        shape = Verdict.U_SHAPED if tests.trap <= tests.peak else Verdict.MIDDLE_BEST
        return shape if largest > (noise or 0.0) else Verdict.FLAT
    if min(tests.falling, tests.rising) <= LEVEL:
        trend = Verdict.IMPROVES if tests.falling <= tests.rising else Verdict.WORSENS
        return trend if abs(gain.value) > (noise or 0.0) else Verdict.FLAT
    unseen = max(abs(gain.low), abs(gain.high))
    return Verdict.FLAT if unseen <= relevant_difference(study.losses, noise) else Verdict.NOT_IDENTIFIABLE


def relevant_difference(losses: Sequence[FloatArray], noise: float | None) -> float:
    """Return the difference between sizes that a study must be able to see before it may say that there is none.

    Twice the noise between seeds; where that is unknown, the spread of the scores within a size (the median over the
    sizes of the interquartile range, as a standard deviation): size then matters less than the rest of the choice.
    """
    if noise:
        return 2 * noise
    return float(np.median([np.subtract(*np.quantile(each, [0.75, 0.25])) / 1.349 for each in losses]))


def _hold_out(study: _Study, sizes: tuple[SizeFinding, ...]) -> HoldOut:
    law, last = study.fit(study.sizes.size - 1), study.sizes[-1:]
    band, observed = law.at(last), study.values[-1:]
    curve = curve_of(law, study.scale, last)
    truth = float(study.scale.scores(observed)[0])
    relative = float(band.central[0] / observed[0] - 1) if study.scale.natural and observed[0] > 0 else None
    return HoldOut(
        size=float(last[0]),
        label=[each for each in sizes if each.compared][-1].label,
        predicted=curve.central[0],
        low=curve.low[0],
        high=curve.high[0],
        observed=truth,
        error=curve.central[0] - truth,
        relative=relative,
        inside=curve.low[0] <= truth <= curve.high[0],
        fitted=study.sizes.size - 1,
    )


def _size_finding(
    each: SizeScores, losses: FloatArray, scale: LossScale, value: float | None, resampled: FloatArray | None
) -> SizeFinding:
    best, median = (float(scale.scores(np.array(found))) for found in (losses[0], np.median(losses)))
    if value is None or resampled is None:
        return SizeFinding(each.size, each.label, losses.size, best, median)
    low, high = sorted(map(float, scale.scores(np.array(interval_of(resampled)))))
    expected = float(scale.scores(np.array(value)))
    return SizeFinding(each.size, each.label, losses.size, best, median, expected, low, high)


def _usable(observed: Sequence[SizeScores]) -> list[SizeScores]:
    """Return sizes that have a score, the smallest first, equal ones put together."""
    found: dict[float, SizeScores] = {}
    for each in observed:
        scores = tuple(float(score) for score in each.scores if abs(score) < _ABSURD)
        if scores and math.isfinite(each.size) and each.size > 0:
            known = found.get(float(each.size))
            merged = (*known.scores, *scores) if known else scores
            found[float(each.size)] = SizeScores(float(each.size), known.label if known else each.label, merged)
    return [found[size] for size in sorted(found)]
