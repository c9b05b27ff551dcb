"""What is said of size: recovered from known truths, held against brute force, and silent on noise."""

import json
import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.report.equal_n import best_of_weights, common_draws, expected_best, interval_of, resampled_best
from hpo.report.loss_scale import natural_scale
from hpo.report.power_law import fit_points, fit_resampled
from hpo.report.scaling import analyse_sizes, relevant_difference
from hpo.report.size_findings import SizeFindings, SizeScores, Verdict
from hpo.report.size_groups import format_size, group_points
from hpo.report.size_tests import LEVEL, pattern_tests

SIZES = np.array([750e3, 2e6, 20e6, 200e6])
LABELS = ["750k", "2M", "20M", "200M"]
Law = Callable[[float], float]


def law(size: float) -> float:
    """A planted law of AUC: 0.720, 0.734, 0.758, 0.774."""
    return 1 - (0.2 + 1.2 * size**-0.2)


def study(generator: np.random.Generator, counts: list[int], truth: Law, spread: float = 0.01) -> list[SizeScores]:
    """Scores below what the size allows, by a half-normal loss through bad hyperparameters."""
    return [
        SizeScores(size, label, tuple(truth(size) - spread * np.abs(generator.normal(size=count))))
        for size, label, count in zip(SIZES, LABELS, counts, strict=False)
    ]


def noise_of(generator: np.random.Generator, shape: str, count: int) -> tuple[float, ...]:
    drawn = generator.normal(size=count) if shape == "normal" else -2 * generator.exponential(size=count)
    return tuple(0.7 + 0.01 * drawn)


# ---- the best of equally many


@pytest.mark.parametrize(("count", "draws"), [(1, 1), (5, 1), (5, 3), (7, 6), (8, 8)])
def test_the_expected_best_is_the_mean_over_all_choices(count: int, draws: int) -> None:
    losses = np.random.default_rng(count).normal(size=count)
    by_force = np.mean([min(chosen) for chosen in combinations(losses, draws)])
    assert float(expected_best(losses, draws)) == pytest.approx(by_force)


@given(st.integers(1, 400), st.data())
def test_the_weights_are_probabilities(count: int, data: st.DataObject) -> None:
    weights = best_of_weights(count, data.draw(st.integers(1, count)))
    assert weights.sum() == pytest.approx(1)
    assert np.all(weights >= 0)


def test_the_common_number_is_a_third_of_the_smallest_and_three_at_least() -> None:
    assert [common_draws([n, 40]) for n in (1, 2, 3, 5, 9, 18, 40)] == [1, 2, 3, 3, 3, 6, 13]


def test_forty_trials_have_no_head_start_over_ten() -> None:
    generator = np.random.default_rng(0)
    few = np.mean([expected_best(generator.normal(size=10), 3) for _ in range(2000)])
    many = np.mean([expected_best(generator.normal(size=40), 3) for _ in range(2000)])
    assert few == pytest.approx(many, abs=0.04)
    assert few == pytest.approx(-0.846, abs=0.04)  # the least of three normal values: −1.5/√π


@pytest.mark.parametrize(("count", "draws"), [(5, 3), (10, 3), (18, 6)])
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_intervals_of_the_expected_best_cover_it_near_nominal(count: int, draws: int, shape: str) -> None:
    """Normal losses, and ones with the long tail on the bad side, as searches have."""
    generator = np.random.default_rng(1)
    draw = generator.normal if shape == "normal" else generator.exponential
    truth = draw(size=(100_000, draws)).min(axis=1).mean()
    hits = 0
    for _ in range(200):
        low, high = interval_of(resampled_best(draw(size=count), draws, 200, generator))
        hits += low <= truth <= high
    assert hits >= 180


# ---- the law


@pytest.mark.parametrize("exponent", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("floor", [0.0, 0.05, 0.2])
def test_exact_losses_give_back_their_law(exponent: float, floor: float) -> None:
    losses = floor + 0.3 * (SIZES / 1e6) ** -exponent
    found = fit_resampled(SIZES, losses, np.full(4, 1e-6), losses[None, :].repeat(2, axis=0))
    assert found.best.exponent == pytest.approx(exponent, rel=0.02)
    assert found.best.floor == pytest.approx(floor, abs=0.01)
    assert found.best.losses(SIZES) == pytest.approx(losses, abs=1e-3)
    assert found.allowed_floors[0] <= found.best.floor <= found.allowed_floors[1]


def test_known_errors_give_the_exponent_its_nominal_coverage_and_predictions_at_least_that() -> None:
    """What covers what, of 200 repeats with normal errors of known size.

    α by the bootstrap where E is free and α is what is asked; the prediction at ten times the largest size by the
    bracket joined with the bootstrap, which is wider than 95 % would need, as it holds E = 0 in any case.
    """
    generator, errors = np.random.default_rng(2), np.full(4, 0.002)
    truth, ahead = 0.2 + 3 * SIZES**-0.25, np.array([2e9])
    target = float(0.2 + 3 * ahead[0] ** -0.25)
    exponent = whole = predicted = 0
    for _ in range(200):
        seen = truth + errors * generator.normal(size=4)
        found = fit_resampled(SIZES, seen, errors, seen + errors * generator.normal(size=(200, 4)))
        exponent += found.exponent_bootstrap[0] <= 0.25 <= found.exponent_bootstrap[1]
        whole += found.exponent_interval[0] <= 0.25 <= found.exponent_interval[1]
        band = found.at(ahead)
        predicted += bool(band.low[0] <= target <= band.high[0])
    assert 180 <= exponent <= 198
    assert whole >= 190
    assert predicted >= 190


def test_a_law_without_a_floor_is_covered_near_nominal_by_the_refits_without_one() -> None:
    """With E fixed at its true value, 0, nothing is left open, and 95 % means 95 %."""
    generator, errors = np.random.default_rng(3), np.full(4, 0.004)
    truth, ahead = 0.9 * SIZES**-0.07, np.array([2e9])
    exponent = predicted = 0
    for _ in range(200):
        seen = truth + errors * generator.normal(size=4)
        found = fit_resampled(SIZES, seen, errors, seen + errors * generator.normal(size=(200, 4)))
        low, high = interval_of(found.floorless_refits.exponent)
        exponent += low <= 0.07 <= high
        low, high = interval_of(found.floorless_refits.losses(ahead))
        predicted += low <= 0.9 * 2e9**-0.07 <= high
    assert 180 <= exponent <= 198
    assert 180 <= predicted <= 198


def test_predictions_from_trials_cover_the_expected_best_ahead() -> None:
    """From scores to prediction: 18 trials a size, the best of 6 at 2B; the intervals hold more than 95 %."""
    generator = np.random.default_rng(4)
    best = 0.01 * np.abs(generator.normal(size=(100_000, 6))).min(axis=1).mean()
    hits = laws = 0
    for _ in range(200):
        found = analyse_sizes(study(generator, [18] * 4, law), maximizes=True, noise=None, repeats=100)
        curve = found.expects([2e9])
        laws += curve is not None
        hits += curve is not None and curve.low[0] <= law(2e9) - best <= curve.high[0]
    assert laws == 200
    assert hits >= 190


def test_the_bracket_reaches_from_no_floor_to_the_largest_that_fits_and_widens_ahead() -> None:
    found = analyse_sizes(study(np.random.default_rng(5), [18] * 4, law), maximizes=True, noise=0.003)
    assert found.law is not None
    assert found.law.floorless.floor == 0
    smallest, largest = found.law.allowed_floors
    assert smallest <= found.law.best.floor <= largest
    curve = found.curve
    assert curve is not None
    widths = np.array(curve.high) - np.array(curve.low)
    assert widths[-1] > 2 * widths[len(widths) // 2]
    assert np.all(np.array(curve.low) <= np.array(curve.bracket_low))
    assert np.all(np.array(curve.bracket_high) <= np.array(curve.high))
    assert any("floor is not identifiable" in sentence for sentence in found.sentences)


def test_single_runs_are_fitted_as_they_are() -> None:
    generator = np.random.default_rng(6)
    sizes = 10 ** generator.uniform(6, 9, size=300)
    losses = 3 * sizes**-0.1 + 0.005 * generator.normal(size=300)
    found = fit_points(sizes, losses)
    low, high = found.exponent_interval
    assert low <= 0.1 <= high
    assert found.misfit == pytest.approx(0.005, rel=0.15)
    band = found.at(np.array([1e10]))
    assert band.low[0] <= 3 * 1e10**-0.1 <= band.high[0]


def test_the_largest_size_is_predicted_from_the_others() -> None:
    found = analyse_sizes(study(np.random.default_rng(7), [18] * 4, law), maximizes=True, noise=None)
    check = found.hold_out
    assert check is not None
    assert (check.label, check.fitted) == ("200M", 3)
    assert check.inside
    assert check.error == pytest.approx(check.predicted - check.observed)
    assert check.relative == pytest.approx((1 - check.predicted) / (1 - check.observed) - 1)
    assert abs(check.relative) < 0.05


def test_a_law_that_breaks_at_the_top_fails_its_check() -> None:
    broken: Law = lambda size: law(size) + (0.06 if size > 1e8 else 0.0)  # noqa: E731
    found = analyse_sizes(study(np.random.default_rng(8), [18] * 4, broken), maximizes=True, noise=None)
    assert found.hold_out is not None
    assert not found.hold_out.inside
    assert any("outside the interval" in sentence for sentence in found.sentences)


# ---- verdicts


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_noise_gets_no_verdict_in_95_of_100_studies(count: int, shape: str) -> None:
    generator = np.random.default_rng(100 * count + len(shape))
    silent = 0
    for run in range(100):
        counts = generator.integers(5, 21, size=count)
        scores = [noise_of(generator, shape, each) for each in counts]
        observed = [SizeScores(*each) for each in zip(SIZES, LABELS, scores, strict=False)]
        found = analyse_sizes(observed, maximizes=True, noise=0.01 if run % 2 else None, seed=run, repeats=50)
        silent += found.verdict in {Verdict.FLAT, Verdict.NOT_IDENTIFIABLE} and found.law is None
    assert silent >= 95


def verdicts(truth: Law, counts: list[int], noise: float | None = 0.003) -> set[str]:
    generator = np.random.default_rng(9)
    found = [analyse_sizes(study(generator, counts, truth), maximizes=True, noise=noise, repeats=50) for _ in range(10)]
    return {each.verdict.value for each in found}


@pytest.mark.parametrize("counts", [[5, 5, 5], [5, 5, 5, 5], [18, 18, 18, 16], [6, 25, 20, 19]])
def test_a_planted_law_is_found(counts: list[int]) -> None:
    assert verdicts(law, counts) == {"improves"}


@pytest.mark.parametrize("counts", [[5, 5, 5], [18, 18, 18, 16], [6, 25, 20, 19]])
def test_the_middle_trap_is_found_and_told_from_a_middle_that_is_best(counts: list[int]) -> None:
    assert verdicts(lambda size: 0.67 if size == 2e6 else 0.7, counts) == {"u_shaped"}
    assert verdicts(lambda size: 0.73 if size == 2e6 else 0.7, counts) == {"middle_best"}


def test_a_trap_names_its_size_and_gets_no_law() -> None:
    found = analyse_sizes(
        study(np.random.default_rng(0), [18] * 4, lambda size: 0.67 if size == 20e6 else 0.7),
        maximizes=True,
        noise=0.003,
    )
    assert found.sentences[0] == "Middle trap: 20M is worse than a smaller and a larger size."
    assert found.law is None
    assert found.curve is None


def test_larger_that_is_worse_is_said_to_be() -> None:
    falling: Law = lambda size: 0.7 - 0.01 * math.log10(size / 1e6)  # noqa: E731
    assert verdicts(falling, [18, 18, 18, 16]) == {"worsens"}
    found = analyse_sizes(study(np.random.default_rng(0), [18] * 4, falling), maximizes=True, noise=0.003)
    assert found.sentences[0].startswith(
        "Larger is worse from 750k to 200M: the best of 6 at 200M is worse than at 750k by 0.02"
    )
    assert found.law is None


def test_bad_hyperparameters_at_one_size_are_no_trap() -> None:
    """Forced extremes run at 2M alone: half of its scores are bad, the best are as good as elsewhere."""
    generator = np.random.default_rng(10)
    observed = study(generator, [18] * 4, lambda _: 0.7)
    spoilt = tuple(score - 0.1 * (index % 2) for index, score in enumerate(observed[1].scores))
    observed[1] = SizeScores(2e6, "2M", spoilt)
    assert analyse_sizes(observed, maximizes=True, noise=0.01).verdict in {Verdict.FLAT, Verdict.NOT_IDENTIFIABLE}


def test_a_difference_below_the_noise_between_seeds_is_called_so() -> None:
    found = analyse_sizes(study(np.random.default_rng(11), [18] * 4, law), maximizes=True, noise=0.2)
    assert found.verdict is Verdict.FLAT
    assert "by less than the noise of 0.2 between seeds" in found.sentences[0]


def test_a_trap_shallower_than_the_noise_between_seeds_is_called_so() -> None:
    trap: Law = lambda size: 0.67 if size == 20e6 else 0.7  # noqa: E731
    found = analyse_sizes(study(np.random.default_rng(11), [18] * 4, trap), maximizes=True, noise=0.04)
    assert found.verdict is Verdict.FLAT
    assert "by less than the noise of 0.04 between seeds" in found.sentences[0]


def test_no_difference_seen_by_few_trials_is_not_called_flat() -> None:
    few = analyse_sizes(study(np.random.default_rng(12), [5] * 4, lambda _: 0.7), maximizes=True, noise=0.001)
    many = analyse_sizes(study(np.random.default_rng(12), [60] * 4, lambda _: 0.7), maximizes=True, noise=0.01)
    assert (few.verdict, many.verdict) == (Verdict.NOT_IDENTIFIABLE, Verdict.FLAT)


def test_two_sizes_make_no_law_but_their_difference_is_told() -> None:
    found = analyse_sizes(study(np.random.default_rng(13), [18, 18], law), maximizes=True, noise=None)
    assert found.verdict is Verdict.NOT_IDENTIFIABLE
    assert found.sentences[0].startswith("Two sizes make no law: the best of 6 at 2M is better than at 750k by 0.01")
    assert found.tests is not None
    assert found.tests.falling <= LEVEL


def test_the_tests_are_the_same_for_any_scale_of_the_loss() -> None:
    losses = [np.array([3.0, 4, 5, 9]), np.array([1.0, 2, 6, 7]), np.array([0.0, 1, 2, 3])]
    once = pattern_tests(SIZES[:3], losses, 3)
    assert once == pattern_tests(SIZES[:3], [1e-3 * each for each in losses], 3)


# ---- what a loss is


def test_an_auc_becomes_its_distance_from_one_and_a_ratio_has_no_limit() -> None:
    auc = natural_scale([0.6, 0.7], maximizes=True, best_possible=None)
    assert auc.losses(np.array([0.7])) == pytest.approx([0.3])
    assert auc.scores(np.array([0.3])) == pytest.approx([0.7])
    assert auc.natural
    assert not natural_scale([0.6, 1.7], maximizes=True, best_possible=None).natural
    assert not natural_scale([0.6, 0.7], maximizes=True, best_possible=math.inf).natural
    assert natural_scale([0.6, 1.7], maximizes=False, best_possible=None).natural
    assert not natural_scale([-0.6, 1.7], maximizes=False, best_possible=None).natural
    assert natural_scale([2.0, 3.0], maximizes=True, best_possible=4.0).losses(np.array([3.0])) == pytest.approx([1.0])


@pytest.mark.parametrize("maximizes", [True, False])
def test_scores_without_a_limit_are_found_to_improve_too(maximizes: bool) -> None:
    sign = 1 if maximizes else -1
    sharpe = [
        SizeScores(each.size, each.label, tuple(sign * (20 * score - 15) for score in each.scores))
        for each in study(np.random.default_rng(14), [18] * 4, law)
    ]
    found = analyse_sizes(sharpe, maximizes=maximizes, noise=None)
    assert found.verdict is Verdict.IMPROVES
    assert found.gain is not None
    assert found.gain.value > 0
    assert any("no best possible value" in sentence for sentence in found.sentences)
    curve = found.curve
    assert curve is not None
    top = np.array([each.expected_best for each in found.sizes])
    at_sizes = found.expects(SIZES.tolist())
    assert at_sizes is not None
    assert np.array(at_sizes.central) == pytest.approx(top, abs=0.1)
    assert found.hold_out is not None
    assert found.hold_out.relative is None


# ---- many sizes


def test_few_distinct_sizes_stay_and_many_are_put_together() -> None:
    kept = group_points([2e6, 2e6, 750e3, math.nan, -1], [0.7, math.nan, 0.6, 0.5, 0.5])
    assert [(each.label, each.scores) for each in kept] == [("750k", (0.6,)), ("2M", (0.7,))]
    generator = np.random.default_rng(15)
    sizes = 10 ** generator.uniform(6, 9, size=200)
    groups = group_points(sizes.tolist(), (5 * sizes**-0.1).tolist())
    assert len(groups) == 12
    assert sum(len(each.scores) for each in groups) == 200
    # Moved along the slope, the runs of a group differ no more than the law bends within it.
    assert max(np.ptp(each.scores) / np.mean(each.scores) for each in groups) < 0.02
    found = analyse_sizes(groups, maximizes=False, noise=None)
    assert found.verdict is Verdict.IMPROVES


def test_a_handful_of_runs_makes_three_groups_of_as_many_each() -> None:
    groups = group_points([float(size) for size in range(1, 12)], [1.0] * 11)
    assert [len(each.scores) for each in groups] == [4, 3, 4]
    lumped = group_points([1e6 + index for index in range(20)] + [1e12], [1.0] * 21)
    assert [len(each.scores) for each in lumped] == [7, 7, 7]


def test_sizes_are_written_short() -> None:
    assert [format_size(each) for each in (12, 750e3, 2e6, 1.5e9, 1e19)] == ["12", "750k", "2M", "1.5B", "1e19"]


# ---- what is too thin


THIN: list[list[SizeScores]] = [
    [],
    [SizeScores(1e6, "1M", ())],
    [SizeScores(1e6, "1M", (0.5,))],
    [SizeScores(1e6, "1M", (math.nan, math.inf))],
    [SizeScores(1e6, "1M", tuple(np.linspace(0.5, 0.6, 20)))],
    [SizeScores(size, label, (0.7,)) for size, label in zip(SIZES, LABELS, strict=True)],
    [SizeScores(size, label, (0.7, 0.71)) for size, label in zip(SIZES, LABELS, strict=True)],
    [SizeScores(0, "none", (0.7,) * 5), SizeScores(-1, "less", (0.7,) * 5), SizeScores(math.nan, "?", (0.7,) * 5)],
    [SizeScores(1e6, "1M", (0.7,) * 5), SizeScores(1e6, "1M again", (0.8,) * 5)],
]


@pytest.mark.parametrize("maximizes", [True, False])
@pytest.mark.parametrize("observed", THIN)
def test_what_is_too_thin_is_said_to_be(observed: list[SizeScores], maximizes: bool) -> None:
    found = analyse_sizes(observed, maximizes=maximizes, noise=None)
    assert found.verdict is Verdict.NOT_IDENTIFIABLE
    assert found.law is None
    assert found.sentences[0].startswith("Nothing can be said of size")
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize("score", [0.0, 0.7, 1.0, -3.0, 1e9])
@pytest.mark.parametrize("noise", [None, 0.0, 0.1])
def test_equal_scores_are_flat(score: float, noise: float | None) -> None:
    observed = [SizeScores(size, label, (score,) * 5) for size, label in zip(SIZES, LABELS, strict=True)]
    found = analyse_sizes(observed, maximizes=True, noise=noise)
    assert found.verdict is Verdict.FLAT
    json.dumps(found.as_json(), allow_nan=False)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 750e3, 2e6, 20e6, 1e19]),
            st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=6),
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_nothing_raises(studied: list[tuple[float, list[float]]], maximizes: bool) -> None:
    observed = [SizeScores(size, str(size), tuple(scores)) for size, scores in studied]
    found = analyse_sizes(observed, maximizes=maximizes, noise=None, repeats=20)
    json.dumps(found.as_json(), allow_nan=False)


def test_a_size_with_too_few_trials_is_set_aside_and_named() -> None:
    observed = study(np.random.default_rng(16), [2, 18, 18, 18], law)
    found = analyse_sizes(observed, maximizes=True, noise=None)
    assert found.verdict is Verdict.IMPROVES
    assert [each.label for each in found.compared] == ["2M", "20M", "200M"]
    assert "Not compared, with fewer than 3 trials: 750k (n = 2)." in found.sentences
    assert found.hold_out is not None
    assert found.hold_out.fitted == 2
    assert "Two sizes leave the floor open" in found.sentences[-1]


def test_the_same_seed_gives_the_same_findings() -> None:
    observed = study(np.random.default_rng(17), [8, 9, 10, 11], law)
    turned = [SizeScores(each.size, each.label, each.scores[::-1]) for each in reversed(observed)]
    once = analyse_sizes(observed, maximizes=True, noise=0.004)
    assert once.as_json() == analyse_sizes(turned, maximizes=True, noise=0.004).as_json()


def test_the_findings_say_what_they_rest_on() -> None:
    found: SizeFindings = analyse_sizes(
        study(np.random.default_rng(18), [10, 20, 18, 16], law), maximizes=True, noise=0.01
    )
    written = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert written["verdict"] == "improves"
    assert written["common_draws"] == 3
    assert [each["n"] for each in written["sizes"]] == [10, 20, 18, 16]
    for each in found.sizes:
        assert each.low is not None
        assert each.high is not None
        assert each.expected_best is not None
        assert each.low < each.expected_best < each.high
        assert each.expected_best <= each.best
    assert found.sentences[0].startswith(
        "Larger is better from 750k to 200M: the best of 3 at 200M is better than at 750k"
    )
    assert written["law"]["best"]["E"] >= 0
    assert written["law"]["alpha_interval"][0] <= written["law"]["best"]["alpha"]


def test_the_relevant_difference_is_twice_the_noise_or_the_spread_within_a_size() -> None:
    losses = [np.random.default_rng(19).normal(size=500) for _ in range(3)]
    assert relevant_difference(losses, 0.01) == 0.02
    assert relevant_difference(losses, None) == pytest.approx(1, abs=0.1)
