"""Selecting members: known truths, ties, and honesty about what selecting adds."""

import numpy as np
import pytest

from studies.ensembling import (
    HalfSplit,
    Predictions,
    better_method,
    combine,
    half_split,
    select_greedy,
    select_top,
    shares,
)
from studies.metrics import classification_scores


def make(probabilities: list[np.ndarray] | np.ndarray, labels: np.ndarray) -> Predictions:
    decisions = np.arange(len(labels))
    return Predictions(labels.astype(float), np.array(probabilities, dtype=float), decisions, decisions)


def noisy(labels: np.ndarray, strengths: list[float], seed: int = 0) -> Predictions:
    random = np.random.default_rng(seed)
    raw = [strength * labels + random.normal(size=len(labels)) for strength in strengths]
    return make([1 / (1 + np.exp(-each)) for each in raw], labels)


def coin(rows: int, seed: int = 9) -> np.ndarray:
    return (np.random.default_rng(seed).random(rows) < 0.3).astype(float)


def test_the_plain_top_is_the_first_n_and_no_more_than_there_are() -> None:
    predictions = noisy(coin(200), [1.0, 0.8, 0.6])
    assert select_top(predictions, 2) == (0, 1)
    assert select_top(predictions, 10) == (0, 1, 2)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_never_worse_than_the_best_single_model_where_it_selects(seed: int) -> None:
    predictions = noisy(coin(300, seed), [0.9, 0.7, 0.5, 0.3, 0.0], seed)
    best = max(predictions.auc([model]) for model in range(5))
    for size in (1, 2, 5, 10):
        picks = select_greedy(predictions, size)
        assert predictions.auc(picks) >= best
        assert 1 <= len(picks) <= size
        assert predictions.auc([picks[0]]) == best


def test_greedy_finds_models_that_mend_each_other() -> None:
    labels = coin(400)
    half = np.arange(400) < 200
    # Each knows one half of the days and nothing of the other; the third is better alone than either.
    left, right = np.where(half, labels, 0.5), np.where(half, 0.5, labels)
    third = noisy(labels, [1.1]).probabilities[0]
    picks = select_greedy(make([left, third, right], labels), 6)
    assert {0, 2} <= set(picks)
    assert make([left, third, right], labels).auc(picks) == 1.0


def test_of_equal_models_the_first_is_taken_and_one_member_does() -> None:
    labels = coin(100)
    one = noisy(labels, [1.0]).probabilities[0]
    assert select_greedy(make([one, one, one], labels), 5) == (0,)


def test_a_pick_that_is_repeated_counts_twice() -> None:
    assert shares((2, 0, 2, 2)) == {0: 0.25, 2: 0.75}
    together = combine(np.array([[0.0, 1.0], [9.0, 9.0], [1.0, 1.0]]), shares((2, 0, 2, 2)))
    assert together.tolist() == [0.75, 1.0]


def test_greedy_selection_among_pure_noise_is_no_better_than_chance_on_the_half_it_has_not_seen() -> None:
    seen, unseen = [], []
    for seed in range(25):
        predictions = noisy(coin(400, seed), [0.0] * 10, seed)
        seen.append(predictions.auc(select_greedy(predictions, 5)))
        split = half_split(predictions, 5)
        assert split is not None
        unseen.append(split.scores["greedy"].auc)
    assert np.mean(seen) > 0.55
    assert abs(np.mean(unseen) - 0.5) < 3 * np.std(unseen) / 5


def test_no_cluster_lies_on_both_sides_of_the_half_split() -> None:
    labels = coin(40)
    decisions = np.repeat(np.arange(20), 2)
    predictions = Predictions(labels, noisy(labels, [1.0, 0.5]).probabilities, decisions // 6, decisions)
    split = half_split(predictions, 2)
    assert split is not None
    # Decisions 0 to 9 are the earlier half; clusters are 0-5, 6-11, 12-17, 18-19, and the second is left out.
    assert split.scores["top"].n_observations == 16
    assert split.scores["top"].n_clusters == 2


def test_without_both_classes_in_both_halves_there_is_no_split_and_the_plain_top_is_used() -> None:
    labels = np.r_[np.zeros(20), 1.0, 0.0, np.ones(18)]
    assert half_split(noisy(labels, [1.0, 0.9]), 2) is None
    assert better_method(None) == "top"


def test_the_method_that_is_better_on_the_unseen_half_is_used_and_the_plain_top_where_they_tie() -> None:
    labels = coin(200)
    good, bad = (classification_scores(labels, noisy(labels, [s]).probabilities[0], np.arange(200)) for s in (2, 0.1))
    assert better_method(HalfSplit({"single": bad, "top": bad, "greedy": good})) == "greedy"
    assert better_method(HalfSplit({"single": bad, "top": good, "greedy": bad})) == "top"
    assert better_method(HalfSplit({"single": bad, "top": good, "greedy": good})) == "top"
