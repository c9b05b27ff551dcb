"""Scores as losses of at least zero, which a scaling law is about, and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hpo.report.equal_n import FloatArray

_REMOTE_ZERO: Final = 10.0
"""Ranges of the expected bests below the least loss: where zero is put if a score has no best possible value."""


@dataclass(frozen=True)
class LossScale:
    """How scores become losses of at least zero, and back: loss = offset − score, or offset + score.

    A score with a best possible value has a loss with a natural zero, such as 1 − AUC. Another one's zero is put ten
    ranges of the expected bests below the least loss: a law with E = 0 is then nearly straight in log N, and a limit
    is unknown in both directions, as it is.
    """

    sign: float
    offset: float
    natural: bool

    def losses(self, scores: FloatArray) -> FloatArray:
        """Return scores as losses."""
        return np.asarray(self.offset + self.sign * scores, dtype=np.float64)

    def scores(self, losses: FloatArray) -> FloatArray:
        """Return losses as scores."""
        return np.asarray((losses - self.offset) * self.sign, dtype=np.float64)


def natural_scale(scores: Sequence[float], maximizes: bool, best_possible: float | None) -> LossScale:
    """Return the scale of these scores; without a best possible one it has no natural zero, and no offset yet."""
    sign = -1.0 if maximizes else 1.0
    if best_possible is None:
        bounded = all(0 <= score <= 1 for score in scores) if maximizes else all(score >= 0 for score in scores)
        best_possible = (1.0 if maximizes else 0.0) if bounded else math.inf
    beyond = any(sign * score < sign * best_possible for score in scores)
    if not math.isfinite(best_possible) or beyond:
        return LossScale(sign, 0.0, natural=False)
    return LossScale(sign, -sign * best_possible, natural=True)


def remote_zero(scale: LossScale, expected_bests: Sequence[float]) -> LossScale:
    """Return the scale itself if it has a natural zero, else with one far below these losses on it."""
    if scale.natural or not expected_bests:
        return scale
    least, largest = min(expected_bests), max(expected_bests)
    return LossScale(scale.sign, scale.offset + _REMOTE_ZERO * (largest - least) - least, natural=False)
