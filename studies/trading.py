"""What acting on probabilities would have earned: a simple rule with costs. Pure functions; no broker.

The rule: at the close of a bar, hold a series until the close of the next bar where its probability is at or above the
threshold, and hold nothing otherwise; decided anew at every bar. The capital is divided equally among the series. Every
change of a position costs its share of what is traded, entering and leaving alike; what is held at the end is sold.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

_NANOSECONDS_A_YEAR = 365.25 * 24 * 3600 * 1e9


@dataclass(frozen=True)
class Performance:
    """What a sequence of positions earned.

    Attributes:
        total_return: compound, 0.1 for 10 %.
        sharpe: mean over standard deviation of the returns a bar, times the root of the bars a year, without a
            riskless rate; None where the returns don't vary.
        exposure: share of bars and series held.
        trades: how often a series was bought.
        bars: how many returns there are.
    """

    total_return: float
    sharpe: float | None
    exposure: float
    trades: int
    bars: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def performance(closes: Floats, held: Booleans, cost: float, bars_a_year: float) -> Performance:
    """Return what positions earned.

    Args:
        closes: [T, N], at which is bought and sold.
        held: [T-1, N]: whether a series is held from the close of bar t to that of t+1.
        cost: of buying and of selling, as a share of what is traded.
        bars_a_year: for the Sharpe ratio.
    """
    if len(closes) < 2:
        return Performance(0.0, None, 0.0, 0, 0)
    returns = closes[1:] / closes[:-1] - 1
    before = np.vstack([np.zeros((1, held.shape[1]), dtype=bool), held[:-1]])
    changed = (held != before).astype(np.float64)
    # What is held at the end is sold at the last close.
    changed[-1] += held[-1]
    net = (held * returns - cost * changed).mean(axis=1)
    deviation = float(net.std(ddof=1)) if len(net) > 1 else 0.0
    sharpe = float(net.mean()) / deviation * math.sqrt(bars_a_year) if deviation > 0 else None
    return Performance(
        total_return=float(np.prod(1 + net) - 1),
        sharpe=sharpe,
        exposure=float(held.mean()),
        trades=int((held & ~before).sum()),
        bars=len(net),
    )


def bars_in_a_year(dates: NDArray[np.datetime64]) -> float:
    """Return how many bars a year these dates have: some 252 for trading days."""
    if len(dates) < 2:
        return 252.0
    span = float((dates[-1] - dates[0]).astype("timedelta64[ns]").astype(np.int64))
    return (len(dates) - 1) / (span / _NANOSECONDS_A_YEAR)
