"""Panels of random numbers, for tests that need no prices."""

import numpy as np

from studies.data.panel import Panel
from studies.data.splits import purged_splits

WINDOW, HORIZON, ROWS = 7, 3, 400


def panel_of(n_series: int, n_features: int) -> Panel:
    random = np.random.default_rng(1)
    return Panel(
        series=tuple(f"S{number}" for number in range(n_series)),
        dates=np.arange(ROWS).astype("datetime64[D]").astype("datetime64[ns]"),
        feature_names=tuple(f"f{number}" for number in range(n_features)),
        features=random.standard_normal((ROWS, n_series, n_features)).astype(np.float32),
        labels=random.integers(0, 2, (ROWS, n_series)).astype(np.float32),
        horizon=HORIZON,
        window=WINDOW,
        splits=purged_splits(ROWS - WINDOW + 1 - HORIZON, HORIZON, 0.15, 0.15).shifted(WINDOW - 1),
        base_rates={"train": 0.5, "validation": 0.5, "test": 0.5},
    )
