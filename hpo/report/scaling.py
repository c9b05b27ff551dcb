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
from hpo.report.size_findings import Gain, HoldOut, SizeFinding, SizeFindings, SizeScores, Verdict, curve_of, floats
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
    scores = [score for each in usable for score in each.scores]
    study, draws = _prepared(usable, natural_scale(scores, maximizes, best_possible), seed, repeats)
    findings = _concluded(study, _size_findings(usable, study), draws, noise, seed)
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
    if tests.trap <= LEVEL and tests.trap <= tests.peak:
        return Verdict.U_SHAPED if _lead(study.values, tests.trap_index) > (noise or 0.0) else Verdict.FLAT
    if tests.peak <= LEVEL:
        return Verdict.MIDDLE_BEST if _lead(-study.values, tests.peak_index) > (noise or 0.0) else Verdict.FLAT
    if tests.falling <= LEVEL and gain.value > 0:
        return Verdict.IMPROVES if gain.value > (noise or 0.0) else Verdict.FLAT
    if tests.rising <= LEVEL and gain.value < 0:
        return Verdict.WORSENS if -gain.value > (noise or 0.0) else Verdict.FLAT
    unseen = max(abs(gain.low), abs(gain.high))
    return Verdict.FLAT if unseen <= relevant_difference(study.losses, noise) else Verdict.NOT_IDENTIFIABLE


def _lead(values: FloatArray, index: int | None) -> float:
    """Return by how much a value in the middle exceeds both a value before and one after it."""
    assert index is not None
    return float(values[index] - max(values[:index].min(), values[index + 1 :].min()))


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


def _prepared(usable: Sequence[SizeScores], scale: LossScale, seed: int, repeats: int) -> tuple[_Study, int]:
    """Return the sizes with enough configurations, and the number at which they are compared."""
    compared = [each for each in usable if len(each.scores) >= LEAST_TRIALS]
    draws = common_draws([len(each.scores) for each in compared]) if compared else 0
    raw = [scale.losses(np.array(each.scores)) for each in compared]
    scale = remote_zero(scale, [float(expected_best(each, draws)) for each in raw])
    # Sorted, so that the same trials in another order are resampled alike.
    losses = [np.sort(scale.losses(np.array(each.scores))) for each in compared]
    generator = np.random.default_rng(seed)
    resampled = np.zeros((repeats, len(losses)))
    for place, each in enumerate(losses):
        resampled[:, place] = resampled_best(each, draws, repeats, generator)
    values = np.array([float(expected_best(each, draws)) for each in losses])
    return _Study(np.array([each.size for each in compared]), losses, values, resampled, scale), draws


def _size_findings(usable: Sequence[SizeScores], study: _Study) -> tuple[SizeFinding, ...]:
    places = {float(size): place for place, size in enumerate(study.sizes)}
    found = []
    for each in usable:
        best = min(each.scores) if study.scale.sign > 0 else max(each.scores)
        finding = SizeFinding(each.size, each.label, len(each.scores), best, float(np.median(each.scores)))
        if each.size in places:
            place = places[each.size]
            value = float(study.scale.scores(study.values)[place])
            low, high = sorted(floats(study.scale.scores(np.array(interval_of(study.resampled[:, place])))))
            finding = replace(finding, expected_best=value, low=low, high=high)
        found.append(finding)
    return tuple(found)


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
