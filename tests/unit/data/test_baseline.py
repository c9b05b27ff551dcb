"""The baseline that stands beside every search."""

from dataclasses import replace

import numpy as np
import pytest

from studies.baseline import baseline_scores, validation_clusters
from studies.data.examples import load_example
from studies.data.panel import Panel, build_panel
from studies.metrics import area_under_curve


@pytest.fixture(scope="module")
def panel() -> Panel:
    return build_panel(load_example("indices"), tier="a20")


def test_real_indicators_rank_real_touches_better_than_chance(panel: Panel) -> None:
    scores = baseline_scores(panel)
    assert 0.5 < scores.auc_low < scores.auc < 0.85


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
