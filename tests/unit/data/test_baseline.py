"""The baseline that stands beside every search."""

from dataclasses import replace

import numpy as np
import pytest

from studies.baseline import _label_history, baseline_name, baseline_scores, validation_clusters
from studies.data.examples import load_example
from studies.data.panel import Panel, build_panel
from studies.metrics import area_under_curve


@pytest.fixture(scope="module")
def panel() -> Panel:
    return build_panel(load_example("indices"), tier="a20")


def test_real_indicators_rank_real_touches_better_than_chance(panel: Panel) -> None:
    scores = baseline_scores(panel)
    assert 0.5 < scores.auc_low < scores.auc < 0.85


def test_without_features_the_label_history_ranks_touches_better_than_chance() -> None:
    panel = build_panel(load_example("indices"), tier="none")
    scores = baseline_scores(panel)
    assert 0.5 < scores.auc_low < scores.auc < 0.85
    assert baseline_name(panel) == "logistic regression on the label history of the window"
    # It sees what is known at the decision, and nothing after it.
    first = panel.splits.validation.start
    later = np.array(panel.labels)
    later[first + 1 :] = 1 - later[first + 1 :]
    for decision in (first, first - 50):
        seen = _label_history(panel, range(decision, decision + 1))
        assert seen.shape == (1, 2, 80)
        np.testing.assert_array_equal(seen, _label_history(replace(panel, labels=later), range(decision, decision + 1)))
        np.testing.assert_array_equal(seen[0, :, -1], panel.labels[decision])


def test_shuffled_labels_leave_nothing_to_find(panel: Panel) -> None:
    shuffled = np.random.default_rng(2).permuted(np.asarray(panel.labels), axis=0)
    scores = baseline_scores(replace(panel, labels=shuffled))
    assert scores.auc_low < 0.5 < scores.auc_high


def test_a_planted_linear_signal_is_recovered(panel: Panel) -> None:
    random = np.random.default_rng(3)
    odds = 3.0 * np.asarray(panel.features[:, :, 4])
    labels = (random.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    rows = np.asarray(panel.splits.validation) + panel.horizon
    # Even the true odds rank these labels imperfectly: they are drawn. Nothing can do better.
    best_possible = area_under_curve(labels[rows].ravel(), odds[rows].ravel())
    assert baseline_scores(replace(panel, labels=labels)).auc == pytest.approx(best_possible, abs=0.01)


def test_overlapping_horizons_share_clusters_of_two_horizons() -> None:
    daily, weekly = (build_panel(load_example("indices"), tier="a20", horizon=h) for h in (1, 5))
    assert (np.bincount(validation_clusters(daily) - validation_clusters(daily)[0]) == 2).all()
    sizes = np.bincount(validation_clusters(weekly) - validation_clusters(weekly)[0])
    assert (sizes[1:-1] == 2 * 5 * 2).all()
