"""The area under the curve, its clustered interval, and the figures beside it."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from studies.metrics import (
    COLLAPSED_RANGE,
    Interval,
    area_under_curve,
    classification_scores,
    clustered_auc_interval,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def area_by_pairs(labels: Integers, scores: Floats) -> float:
    return float(np.mean(kernel(labels, scores)))


def kernel(labels: Integers, scores: Floats) -> Floats:
    """Return (positives, negatives): 1 where the positive is above, one half where they tie."""
    above = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    in_order: Floats = (np.sign(above) + 1) / 2
    return in_order


def delong_error_by_pairs(labels: Integers, scores: Floats) -> float:
    pairs = kernel(labels, scores)
    return math.sqrt(pairs.mean(1).var(ddof=1) / pairs.shape[0] + pairs.mean(0).var(ddof=1) / pairs.shape[1])


def obuchowski_error_by_pairs(labels: Integers, scores: Floats, clusters: Integers) -> float:
    """Return the standard error by the formulas of the paper, loop by loop."""
    pairs, keys = kernel(labels, scores), np.unique(clusters)
    (m, n), area = pairs.shape, pairs.mean()
    of_positive, of_negative = clusters[labels == 1], clusters[labels == 0]
    a = [float((pairs.mean(1)[of_positive == k] - area).sum()) for k in keys]
    b = [float((pairs.mean(0)[of_negative == k] - area).sum()) for k in keys]
    i10, i01, i = np.unique(of_positive).size, np.unique(of_negative).size, keys.size
    s10 = i10 / ((i10 - 1) * m) * sum(x * x for x in a)
    s01 = i01 / ((i01 - 1) * n) * sum(y * y for y in b)
    s11 = i / (i - 1) * sum(x * y for x, y in zip(a, b, strict=True))
    return math.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))


def clustered_sample(rng: np.random.Generator, clusters: int, size: int) -> tuple[Integers, Floats, Integers]:
    """Draw whole clusters of one label that share half of their variance; the true area is 0.761."""
    ids = np.repeat(np.arange(clusters), size)
    labels = (rng.random(clusters) < 0.4).astype(np.int64)[ids]
    shared, own = rng.standard_normal(clusters)[ids], rng.standard_normal(clusters * size)
    return labels, labels * TRUE_SHIFT + math.sqrt(0.5) * (shared + own), ids


TRUE_SHIFT = 1.0
TRUE_AREA = NormalDist().cdf(TRUE_SHIFT / math.sqrt(2))


@st.composite
def samples(draw: st.DrawFn) -> tuple[Integers, Floats, Integers]:
    """Draw labels of both classes, scores with ties on a grid where 1 − p is exact, and clusters."""
    rows = st.tuples(st.integers(0, 1), st.integers(0, 16), st.integers(0, 5))
    labels, scores, clusters = np.array(draw(st.lists(rows, min_size=4, max_size=40))).T
    assume(0 < labels.sum() < labels.size)
    return labels, scores / 16, clusters


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    assert area_under_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75


def test_a_tie_counts_one_half() -> None:
    assert area_under_curve([0, 1, 1], [0.5, 0.5, 0.9]) == 0.75
    assert area_under_curve([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]) == 0.5


def test_perfect_order_is_one_and_reversed_order_is_zero() -> None:
    assert area_under_curve([False, False, True], [1, 2, 3]) == 1.0
    assert area_under_curve([True, False, False], [1, 2, 3]) == 0.0


def test_infinite_scores_are_ranked_like_others() -> None:
    assert area_under_curve([0, 1, 1], [-math.inf, 0.0, math.inf]) == 1.0


@given(samples())
def test_the_area_by_ranks_equals_the_area_by_pairs(sample: tuple[Integers, Floats, Integers]) -> None:
    labels, scores, _ = sample
    assert area_under_curve(labels, scores) == pytest.approx(area_by_pairs(labels, scores), abs=1e-12)


@given(samples())
def test_a_monotone_transform_leaves_area_and_interval_as_they_are(
    sample: tuple[Integers, Floats, Integers],
) -> None:
    labels, scores, clusters = sample
    for transformed in (np.exp(scores), 3 * scores - 7, (scores * 16) ** 3):
        assert area_under_curve(labels, transformed) == area_under_curve(labels, scores)
        assert clustered_auc_interval(labels, transformed, clusters) == clustered_auc_interval(labels, scores, clusters)


@given(samples())
def test_turning_the_probabilities_round_turns_area_and_interval_round(
    sample: tuple[Integers, Floats, Integers],
) -> None:
    labels, scores, clusters = sample
    assert area_under_curve(labels, 1 - scores) == pytest.approx(1 - area_under_curve(labels, scores), abs=1e-12)
    one, other = (clustered_auc_interval(labels, p, clusters) for p in (scores, 1 - scores))
    assert (other.low, other.high) == pytest.approx((1 - one.high, 1 - one.low), abs=1e-9)
    assert other.standard_error == pytest.approx(one.standard_error, abs=1e-9)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "2 of 2"),
        ([0, 0], [0.1, 0.2], "0 of 2"),
        ([], [], "0 of 0"),
        ([0, 1], [0.1, math.nan], "NaN"),
        ([0, math.nan], [0.1, 0.2], "NaN"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1, 1], [0.1, 0.2], "one length"),
        ([[0, 1]], [[0.1, 0.2]], "one length"),
    ],
)
def test_arrays_without_an_area_are_refused(labels: ArrayLike, scores: ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        area_under_curve(labels, scores)


@pytest.mark.parametrize("ties", [False, True])
def test_with_every_observation_a_cluster_the_interval_is_delongs(ties: bool) -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random(150) < 0.3).astype(np.int64)
    scores = rng.standard_normal(150) + labels
    scores = np.round(scores) if ties else scores
    area, error = area_by_pairs(labels, scores), delong_error_by_pairs(labels, scores)
    interval = clustered_auc_interval(labels, scores, np.arange(150))
    assert interval.standard_error == pytest.approx(error, rel=1e-10)
    reach = 1.959963984540054 * error / (area * (1 - area))
    logits = [math.log(bound / (1 - bound)) for bound in (interval.low, interval.high)]
    assert logits == pytest.approx([math.log(area / (1 - area)) + sign * reach for sign in (-1, 1)])


@given(samples())
def test_the_clustered_error_is_that_of_the_papers_formulas(
    sample: tuple[Integers, Floats, Integers],
) -> None:
    labels, scores, clusters = sample
    interval = clustered_auc_interval(labels, scores, clusters)
    assume(0 < interval.standard_error < math.inf)
    expected = obuchowski_error_by_pairs(labels, scores, clusters)
    assert interval.standard_error == pytest.approx(expected, abs=1e-7)


@given(samples())
def test_the_interval_holds_the_area_and_stays_between_zero_and_one(
    sample: tuple[Integers, Floats, Integers],
) -> None:
    labels, scores, clusters = sample
    interval, area = clustered_auc_interval(labels, scores, clusters), area_under_curve(labels, scores)
    assert 0 <= interval.low <= area + 1e-12
    assert area - 1e-12 <= interval.high <= 1


def test_observations_doubled_inside_their_clusters_add_no_certainty() -> None:
    labels, scores, ids = clustered_sample(np.random.default_rng(1), 60, 2)
    once = clustered_auc_interval(labels, scores, ids)
    twice = clustered_auc_interval(np.tile(labels, 2), np.tile(scores, 2), np.tile(ids, 2))
    assert area_under_curve(np.tile(labels, 2), np.tile(scores, 2)) == area_under_curve(labels, scores)
    assert (twice.low, twice.high, twice.standard_error) == pytest.approx(
        (once.low, once.high, once.standard_error), rel=1e-9
    )


def test_doubled_observations_taken_for_independent_would_narrow_the_interval() -> None:
    labels, scores, _ = clustered_sample(np.random.default_rng(1), 60, 2)
    once = clustered_auc_interval(labels, scores, np.arange(120)).standard_error
    naive = clustered_auc_interval(np.tile(labels, 2), np.tile(scores, 2), np.arange(240)).standard_error
    assert naive == pytest.approx(once / math.sqrt(2), rel=0.02)


def test_clusters_may_be_dates_strings_or_numbers_in_any_order() -> None:
    labels, scores, ids = clustered_sample(np.random.default_rng(2), 40, 2)
    days = np.datetime64("2018-01-01") + ids
    names = np.array([f"day {i}" for i in ids])
    expected = clustered_auc_interval(labels, scores, ids)
    assert clustered_auc_interval(labels, scores, days) == expected
    order = np.random.default_rng(3).permutation(ids.size)
    renamed = clustered_auc_interval(labels[order], scores[order], names[order])
    assert renamed.standard_error == pytest.approx(expected.standard_error)


def test_the_interval_covers_the_truth_about_as_often_as_it_says_and_without_clusters_far_too_rarely() -> None:
    rng = np.random.default_rng(11)
    clustered: list[bool] = []
    naive: list[bool] = []
    for _ in range(200):
        labels, scores, ids = clustered_sample(rng, 120, 4)
        for hits, keys in ((clustered, ids), (naive, np.arange(ids.size))):
            interval = clustered_auc_interval(labels, scores, keys)
            hits.append(interval.low <= TRUE_AREA <= interval.high)
    assert 0.90 <= np.mean(clustered) <= 0.99
    assert np.mean(naive) < 0.88


def test_shuffled_labels_give_an_interval_that_holds_one_half() -> None:
    rng, hits = np.random.default_rng(7), []
    for _ in range(200):
        labels = rng.permutation(np.repeat([0, 1], [346, 76]))
        interval = clustered_auc_interval(labels, rng.random(422), np.arange(422))
        hits.append(interval.low <= 0.5 <= interval.high)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_a_higher_confidence_widens_the_interval() -> None:
    labels, scores, ids = clustered_sample(np.random.default_rng(1), 60, 2)
    narrow = clustered_auc_interval(labels, scores, ids, confidence=0.8)
    wide = clustered_auc_interval(labels, scores, ids, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.standard_error == narrow.standard_error


def test_perfect_separation_leaves_the_low_bound_open_as_far_as_the_clusters_allow() -> None:
    labels, scores = [0] * 10 + [1] * 5, np.arange(15)
    interval = clustered_auc_interval(labels, scores, np.arange(15))
    assert (interval.low, interval.high) == pytest.approx((0.025 ** (1 / 5), 1.0))
    reversed_order = clustered_auc_interval(labels, -scores, np.arange(15))
    assert (reversed_order.low, reversed_order.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 5)))
    assert interval.standard_error == reversed_order.standard_error == 0.0


def test_clusters_of_both_classes_make_half_as_many_independent_pairs() -> None:
    labels, scores = np.repeat([0, 1], 8), np.arange(16)
    interval = clustered_auc_interval(labels, scores, np.tile(np.arange(8), 2))
    assert interval.low == pytest.approx(0.025 ** (1 / 4))


def test_constant_scores_have_the_area_one_half_for_certain() -> None:
    assert clustered_auc_interval([0, 1, 1], [0.2] * 3, [1, 2, 3]) == Interval(0.5, 0.5, 0.0)


@pytest.mark.parametrize("clusters", [[1, 1, 1, 1], [1, 2, 3, 3], [1, 1, 2, 3]])
def test_a_class_inside_one_cluster_tells_nothing(clusters: list[int]) -> None:
    assert clustered_auc_interval([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.8], clusters) == Interval(0.0, 1.0, math.inf)


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [([0, 0, 1], [1, 9, 5], 0.5), ([1, 1, 0, 0, 0, 0, 0], [1, 4, 3, 5, 3, 3, 5], 0.3)],
    ids=["variance exactly zero", "variance left over from rounding"],
)
def test_clusters_that_are_all_alike_tell_nothing(labels: list[int], scores: list[int], area: float) -> None:
    clusters = np.repeat(np.arange(7), len(labels))
    labels, scores = labels * 7, scores * 7
    assert area_under_curve(labels, scores) == area
    assert clustered_auc_interval(labels, scores, clusters) == Interval(0.0, 1.0, math.inf)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 95.0, math.nan])
def test_a_confidence_outside_zero_and_one_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        clustered_auc_interval([0, 1], [0.1, 0.2], [1, 2], confidence)


@pytest.mark.parametrize(
    "clusters",
    [[1, 2, 3], [1.0, math.nan], np.array(["2018-01-01", "NaT"], dtype="datetime64[D]"), [[1, 2]]],
)
def test_clusters_that_do_not_match_or_are_missing_are_refused(clusters: ArrayLike) -> None:
    with pytest.raises(ValueError, match="cluster"):
        clustered_auc_interval([0, 1], [0.1, 0.2], clusters)


def test_the_figures_of_four_predictions_by_hand() -> None:
    scores = classification_scores([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [1, 1, 2, 3])
    assert scores.auc == 0.75
    assert scores.log_loss == pytest.approx(-math.log(0.9 * 0.6 * 0.35 * 0.8) / 4)
    assert scores.brier == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)
    assert scores.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert scores.base_rate == 0.5
    assert (scores.recall_at_base_rate, scores.precision_at_base_rate) == (0.5, 0.5)
    assert (scores.prediction_min, scores.prediction_max) == (0.1, 0.8)
    assert scores.prediction_std == pytest.approx(math.sqrt(0.9325 / 4 - 0.4125**2))
    assert (scores.n_observations, scores.n_clusters) == (4, 3)
    assert scores.collapsed is False


def test_the_interval_among_the_figures_is_the_clustered_one() -> None:
    rng = np.random.default_rng(4)
    labels, ids = (rng.random(200) < 0.3).astype(np.int64), np.repeat(np.arange(100), 2)
    probabilities = np.clip(0.3 + 0.2 * labels + 0.2 * rng.standard_normal(200), 0, 1)
    scores = classification_scores(labels, probabilities, ids)
    interval = clustered_auc_interval(labels, probabilities, ids)
    assert (scores.auc_low, scores.auc_high) == (interval.low, interval.high)
    assert scores.auc_low < scores.auc < scores.auc_high


def test_a_certain_mistake_costs_the_clipped_log_loss_and_not_infinity() -> None:
    scores = classification_scores([0, 1], [1.0, 0.0], [1, 2])
    assert scores.log_loss == pytest.approx(-math.log(1e-7))


def test_a_certain_truth_costs_almost_nothing() -> None:
    scores = classification_scores([0, 1], [0.0, 1.0], [1, 2])
    assert scores.log_loss == pytest.approx(1e-7, rel=1e-3)
    assert (scores.brier, scores.average_precision, scores.recall_at_base_rate, scores.precision_at_base_rate) == (
        0.0,
        1.0,
        1.0,
        1.0,
    )


def test_as_many_are_predicted_positive_as_there_are_so_recall_and_precision_agree() -> None:
    scores = classification_scores([1, 0, 1, 0, 0, 1], [0.9, 0.8, 0.3, 0.2, 0.1, 0.7], range(6))
    assert scores.recall_at_base_rate == scores.precision_at_base_rate == pytest.approx(2 / 3)


def test_ties_with_the_threshold_are_all_predicted_positive() -> None:
    scores = classification_scores([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.5], range(4))
    assert (scores.recall_at_base_rate, scores.precision_at_base_rate) == (1.0, 0.5)


def test_a_constant_prediction_is_worth_the_base_rate_and_is_flagged() -> None:
    scores = classification_scores([1, 0, 0, 0], [0.25] * 4, range(4))
    assert scores.collapsed is True
    assert (scores.auc, scores.auc_low, scores.auc_high) == (0.5, 0.5, 0.5)
    assert (scores.average_precision, scores.recall_at_base_rate, scores.precision_at_base_rate) == (0.25, 1.0, 0.25)
    assert scores.prediction_std == 0.0


@given(samples())
def test_the_average_precision_is_that_of_the_distinct_thresholds(
    sample: tuple[Integers, Floats, Integers],
) -> None:
    labels, scores, clusters = sample
    area, recall = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        predicted = scores >= threshold
        reached = labels[predicted].sum() / labels.sum()
        area, recall = area + (reached - recall) * labels[predicted].mean(), reached
    assert classification_scores(labels, scores, clusters).average_precision == pytest.approx(area)


def test_a_perfect_order_inside_a_hundredth_has_collapsed_all_the_same() -> None:
    labels = np.repeat([0, 1], 50)
    scores = classification_scores(labels, 0.18 + np.linspace(0, 0.009, 100), np.arange(100))
    assert scores.auc == 1.0
    assert scores.collapsed


def test_a_few_outliers_do_not_hide_a_collapse() -> None:
    probabilities = np.full(422, 0.18)
    probabilities[:4] = 1.0
    scores = classification_scores(np.repeat([1, 0], [76, 346]), probabilities, np.arange(422))
    assert scores.prediction_std > 0.05
    assert scores.collapsed


@pytest.mark.parametrize(("width", "collapsed"), [(0.99, True), (1.01, False)])
def test_the_middle_ninety_eight_percent_decide_on_a_collapse(width: float, collapsed: bool) -> None:
    probabilities = 0.2 + np.linspace(0, width * COLLAPSED_RANGE / 0.98, 1001)
    assert classification_scores(np.arange(1001) % 2, probabilities, np.arange(1001)).collapsed is collapsed


@pytest.mark.parametrize("probability", [-0.01, 1.01, math.inf])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        classification_scores([0, 1], [0.5, probability], [1, 2])


@given(samples())
def test_the_attributes_are_finite_plain_numbers_for_json(sample: tuple[Integers, Floats, Integers]) -> None:
    labels, scores, clusters = sample
    attributes = classification_scores(labels, scores.astype(np.float32), clusters).as_attributes()
    assert json.loads(json.dumps(attributes, allow_nan=False)) == attributes
    assert {type(value) for value in attributes.values()} == {float, bool, int}


def test_a_million_observations_take_seconds_and_not_a_matrix_of_pairs() -> None:
    rng = np.random.default_rng(9)
    labels = (rng.random(1_000_000) < 0.2).astype(np.int64)
    interval = clustered_auc_interval(labels, rng.standard_normal(labels.size) + labels, np.arange(labels.size))
    assert interval.low < TRUE_AREA < interval.high
