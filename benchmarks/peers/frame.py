"""A study's panel as the long table that NeuralForecast reads: one row a series and day.

Row s of a panel holds the label of the decision at s - horizon and the features that this decision saw, so a model of
horizon 1 that forecasts `y` one row ahead, with the features as covariates that are known ahead, sees and predicts what
our trials do.
"""

import numpy as np
import pandas as pd

from studies.data.panel import Panel


def long_frame(panel: Panel) -> pd.DataFrame:
    """Return `unique_id, ds, y` and the features, series by series; the panel ends with its validation part."""
    parts = [_series(panel, place) for place in range(len(panel.series))]
    return pd.concat(parts, ignore_index=True)


def _series(panel: Panel, place: int) -> pd.DataFrame:
    head = {"unique_id": panel.series[place], "ds": np.asarray(panel.dates), "y": np.asarray(panel.labels[:, place])}
    features = pd.DataFrame(np.asarray(panel.features[:, place]), columns=list(panel.feature_names))
    return pd.concat([pd.DataFrame(head), features], axis=1)
