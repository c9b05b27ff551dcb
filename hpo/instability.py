"""Trials whose metric swings from batch to batch far more than that of their peers. Pure rule on stored values."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

LEAST_PEERS: Final = 5
"""Fewer say nothing about what is usual."""

_TIMES: Final = 2.0
"""The spread of a mean over a batch falls with the square root of its size: twice is as if the batch were a quarter."""

_DEVIATIONS: Final = 5.0
# Of the median absolute deviation, for the standard deviation of a normal distribution: 1 / Φ⁻¹(3/4).
_NORMAL: Final = 1.4826


@dataclass(frozen=True)
class BatchSwing:
    """How a trial's metric differed from batch to batch.

    Attributes:
        number: of the trial.
        metric: its name, such as AUC.
        effective_batch: windows a batch; only trials with equal ones are peers.
        deviation: the standard deviation between batches.
    """

    number: int
    metric: str
    effective_batch: int
    deviation: float


@dataclass(frozen=True)
class Unstable:
    """A trial that swings, and what is usual."""

    swing: BatchSwing
    usual: float
    peers: int


def unstable(swings: Sequence[BatchSwing]) -> list[Unstable]:
    """Return the trials that swing more than twice as much as the median of their peers, and clearly so."""
    groups: dict[tuple[str, int], list[BatchSwing]] = {}
    for swing in swings:
        groups.setdefault((swing.metric, swing.effective_batch), []).append(swing)
    return sorted((found for group in groups.values() for found in _of(group)), key=lambda found: found.swing.number)


def _of(group: Sequence[BatchSwing]) -> list[Unstable]:
    if len(group) <= LEAST_PEERS:
        return []
    usual = median(swing.deviation for swing in group)
    around = _NORMAL * median(abs(swing.deviation - usual) for swing in group)
    limit = max(_TIMES * usual, usual + _DEVIATIONS * around)
    return [Unstable(swing, usual, len(group) - 1) for swing in group if swing.deviation > limit]
