"""Labels of a rise within a horizon, and the shift that stores a value when it is known."""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def touch_labels(high: Values, close: Values, horizon: int, threshold: float) -> Values:
    """Whether the high reaches a rise of `threshold` over the close within the next rows.

    Args:
        high: Highs [T].
        close: Closes [T].
        horizon: H, rows to look ahead, at least 1.
        threshold: The rise as a share of the close: 0.01 is one percent.

    Returns:
        [T]: 1.0 at t when max(high[t+1..t+H]) >= close[t] * (1 + threshold), else 0.0; NaN for the last H.
    """
    labels = np.full(len(close), np.nan)
    if len(close) > horizon:
        highest = np.lib.stride_tricks.sliding_window_view(high[1:], horizon).max(axis=1)
        labels[:-horizon] = highest >= close[:-horizon] * (1 + threshold)
    return labels


def close_labels(close: Values, horizon: int, threshold: float) -> Values:
    """Whether the close after `horizon` rows is higher by `threshold`.

    Args:
        close: Closes [T].
        horizon: H, rows to look ahead, at least 1.
        threshold: The rise as a share of the close: 0.01 is one percent.

    Returns:
        [T]: 1.0 at t when close[t+H] >= close[t] * (1 + threshold), else 0.0; NaN for the last H.
    """
    labels = np.full(len(close), np.nan)
    if len(close) > horizon:
        labels[:-horizon] = close[horizon:] >= close[:-horizon] * (1 + threshold)
    return labels


def rise_labels(high: Values, close: Values, horizon: int, threshold: float, kind: str) -> Values:
    """The labels [T] of one kind: touch or close."""
    if kind == "touch":
        return touch_labels(high, close, horizon, threshold)
    return close_labels(close, horizon, threshold)


def store_when_known(values: Values, horizon: int) -> Values:
    """Move each row H rows down, to the time at which the label of its decision is known.

    Args:
        values: [T] or [T, ...]; row t belongs to the decision made at t.
        horizon: H, at least 1.

    Returns:
        The same shape: row t+H holds `values[t]`; the first H rows are NaN and the last H values are gone.
    """
    stored = np.full(values.shape, np.nan)
    stored[horizon:] = values[:-horizon]
    return stored
