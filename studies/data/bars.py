"""The bars of one series as arrays, and the few rolling operations that indicators are made of.

Everything here is causal: row t of a result depends on rows up to t alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Values = npt.NDArray[np.float64]

#: A spread this small beside the price is rounding, not movement.
FLAT = 1e-9

#: Windows reduced at once: NumPy copies them, and a million intraday rows must fit in memory.
_BLOCK = 10_000


@dataclass(frozen=True)
class Bars:
    """Bars of one series in time order, each array [T]; `week` counts calendar weeks, from Monday."""

    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values
    week: npt.NDArray[np.int64]

    @classmethod
    def from_frame(cls, prices: pd.DataFrame) -> "Bars":
        """Read the price columns of one series, indexed by ds."""
        days = np.asarray(prices.index.to_numpy(), dtype="datetime64[D]").astype(np.int64)
        # Day 0 is Thursday, 1970-01-01; three days later the count of weeks starts on a Monday.
        return cls(
            open=prices["open"].to_numpy(dtype=np.float64),
            high=prices["high"].to_numpy(dtype=np.float64),
            low=prices["low"].to_numpy(dtype=np.float64),
            close=prices["close"].to_numpy(dtype=np.float64),
            volume=prices["volume"].to_numpy(dtype=np.float64),
            week=(days + 3) // 7,
        )

    @property
    def returns(self) -> Values:
        """Log returns from close to close [T]; NaN first."""
        return change(np.log(self.close), 1)

    @property
    def typical(self) -> Values:
        """Mean of high, low and close [T]."""
        return (self.high + self.low + self.close) / 3


def ratio(numerator: Values, denominator: Values, otherwise: float = 0.0) -> Values:
    """Quotient, with `otherwise` where the denominator is 0 (a flat bar, no volume); NaN stays NaN."""
    zero = denominator == 0
    quotient = numerator / np.where(zero, 1.0, denominator)
    return np.where(zero & ~np.isnan(numerator), otherwise, quotient)


def change(values: Values, rows: int) -> Values:
    """values[t] - values[t-rows]; NaN for the first `rows`."""
    result = np.full(len(values), np.nan)
    result[rows:] = values[rows:] - values[:-rows]
    return result


def lag(values: Values, rows: int) -> Values:
    """values[t-rows]; NaN for the first `rows`."""
    result = np.full(len(values), np.nan)
    result[rows:] = values[:-rows]
    return result


def rolling(statistic: Callable[..., Any], values: Values, window: int) -> Values:
    """A statistic of the last `window` rows, computed afresh at each row.

    Running sums would be faster, but carry rounding from the whole past into a window of flat prices.

    Args:
        statistic: Reduces the last axis: np.mean, np.std, np.max, …
        values: [T].
        window: Rows, the current one included.
    """
    result = np.full(len(values), np.nan)
    if len(values) >= window:
        windows = np.lib.stride_tricks.sliding_window_view(values, window)
        for start in range(0, len(windows), _BLOCK):
            block = windows[start : start + _BLOCK]
            result[window - 1 + start :][: len(block)] = statistic(block, axis=-1)
    return result


def skewness(windows: Values, axis: int) -> Values:
    """Third standardized moment; 0 where nothing moves."""
    deviation = windows - windows.mean(axis=axis, keepdims=True)
    return ratio((deviation**3).mean(axis=axis), (deviation**2).mean(axis=axis) ** 1.5)


def kurtosis(windows: Values, axis: int) -> Values:
    """Fourth standardized moment, 3 for a normal distribution; 0 where nothing moves."""
    deviation = windows - windows.mean(axis=axis, keepdims=True)
    return ratio((deviation**4).mean(axis=axis), (deviation**2).mean(axis=axis) ** 2)


def persistence(windows: Values, axis: int) -> Values:
    """Autocorrelation at lag 1; 0 where nothing moves."""
    deviation = windows - windows.mean(axis=axis, keepdims=True)
    products = (deviation[..., 1:] * deviation[..., :-1]).sum(axis=axis)
    return ratio(products, (deviation**2).sum(axis=axis))
