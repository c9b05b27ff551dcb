"""What a search has to beat: logistic regression on the features of the last row, or on the label history alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.data.panel import Panel
from studies.metrics import Scores, classification_scores

# Enough to tame collinear indicators without deciding anything: the features have unit variance on train.
_RIDGE = 1.0
_NEWTON_STEPS = 25


@dataclass(frozen=True)
class _Part:
    features: NDArray[np.float64]
    labels: NDArray[np.float64]


def validation_clusters(panel: Panel) -> NDArray[np.int64]:
    """Return the cluster of every validation score, decision by decision, series by series.

    Series on one date share a cluster. Beyond a horizon of one row so do the decisions of two horizons: labels
    overlap for one horizon, and blocks of one would still share labels with the next block.
    """
    return decision_clusters(panel, panel.splits.validation)


def decision_clusters(panel: Panel, decisions: range) -> NDArray[np.int64]:
    """Return the same of these decisions."""
    length = 1 if panel.horizon == 1 else 2 * panel.horizon
    return np.repeat(np.asarray(decisions, dtype=np.int64) // length, len(panel.series))


def baseline_name(panel: Panel) -> str:
    """Return what the baseline of a panel is."""
    seen = "features of the last row" if panel.feature_names else "label history of the window"
    return f"logistic regression on the {seen}"


def baseline_scores(panel: Panel) -> Scores:
    """Fit on train, score on validation.

    A window's history is not used, only the features that are known at its last row. Where a panel has no features, the
    labels that are known at the rows of the window take their place, for a constant would rank nothing.
    """
    labels, probabilities = baseline_predictions(panel, panel.splits.validation)
    return classification_scores(labels, probabilities, validation_clusters(panel))


def baseline_predictions(panel: Panel, decisions: range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit on train; return labels and probabilities of these decisions, decision by decision, series by series."""
    weights = _fit(_part(panel, panel.splits.train))
    asked = _part(panel, decisions)
    return asked.labels, _sigmoid(asked.features @ weights)


def _part(panel: Panel, decisions: range) -> _Part:
    rows = np.asarray(decisions) + panel.horizon
    known = panel.features[rows] if panel.feature_names else _label_history(panel, decisions)
    features = np.asarray(known, dtype=np.float64).reshape(-1, known.shape[-1])
    labels = np.asarray(panel.labels[rows], dtype=np.float64).reshape(-1)
    return _Part(np.hstack([np.ones((len(features), 1)), features]), labels)


def _label_history(panel: Panel, decisions: range) -> NDArray[np.float32]:
    """Return the labels that each decision sees, [decisions, series, window]."""
    rows = np.asarray(decisions)[:, None] + np.arange(1 - panel.window, 1)
    return np.swapaxes(panel.labels[rows], 1, 2)


def _fit(train: _Part) -> NDArray[np.float64]:
    """Return the weights, the intercept first, by Newton's method with a ridge on all but the intercept."""
    weights = np.zeros(train.features.shape[1])
    ridge = np.full(len(weights), _RIDGE)
    ridge[0] = 0.0
    for _ in range(_NEWTON_STEPS):
        expected = _sigmoid(train.features @ weights)
        gradient = train.features.T @ (expected - train.labels) + ridge * weights
        curvature = (train.features * (expected * (1 - expected))[:, None]).T @ train.features + np.diag(ridge)
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(values, -30, 30)
    return np.asarray(1 / (1 + np.exp(-clipped)), dtype=np.float64)
