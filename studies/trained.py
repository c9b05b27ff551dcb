"""Models that have been trained and what they say of a test part, as values: nothing here loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.spec import Spec


@dataclass(frozen=True)
class TrainedModel:
    """One training of a configuration.

    Attributes:
        spec: of the study that the configuration is from.
        params: sampled and derived values, as the training was called with them.
        seed: of the training.
        weights: the file with the weights of its best look.
    """

    spec: Spec
    params: Mapping[str, Any]
    seed: int
    weights: Path


@dataclass(frozen=True, eq=False)
class ReadPart:
    """The test part as the models see it: n decisions of all series, decision by decision, series by series.

    Attributes:
        labels: (n,) zeros and ones.
        clusters: (n,) keys of what is not independent; see `studies.baseline`.
        probabilities: (models, n), in the order of the models.
        baseline: (n,) of the baseline, fitted on train.
        baseline_name: what that is.
        first: the day of the first decision.
        last: that of the last one.
        series: how many there are.
    """

    labels: NDArray[np.float64]
    clusters: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    baseline: NDArray[np.float64]
    baseline_name: str
    first: str
    last: str
    series: int
