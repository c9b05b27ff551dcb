"""How much a metric differs from batch to batch in training: a batch that is too small shows here first.

A recorded failure had a batch-level Sharpe ratio between -0.202 and +0.178 with batches of 256, and between -0.093 and
+0.123 with 1,024. Source: the research note "Tier 2 Failure Analysis: Model Capacity Scaling" of 2025-10-21.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class BatchSpread:
    """Count, mean, standard deviation and extremes of a metric over batches, value by value (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        """Take the value of one more batch; NaN, as of a batch with one class, is left out."""
        if not math.isfinite(value):
            return
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)
        self.low, self.high = min(self.low, value), max(self.high, value)

    @property
    def deviation(self) -> float:
        """The standard deviation between batches; 0 for fewer than two."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0

    def as_attributes(self) -> dict[str, float | int]:
        """Return what is stored with a trial; nothing for fewer than two batches."""
        if self.count < 2:
            return {}
        found: dict[str, float | int] = {
            "batch_metric_count": self.count,
            "batch_metric_mean": self.mean,
            "batch_metric_std": self.deviation,
            "batch_metric_low": self.low,
            "batch_metric_high": self.high,
        }
        # Squares of values beyond 1e154 are no numbers any more, and JSON has no infinity.
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs to go on counting."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "BatchSpread":
        """Go on counting."""
        return cls(**state)
