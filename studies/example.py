"""An objective with a known truth, in milliseconds: what is said of it can be compared with what was planted.

With N parameters in millions, learning rate r, dropout p and effective batch b, the score is

    0.74 − 0.04·N^−0.3 − 0.015·log10(r / r*)² − 0.10·(p − 0.3)² − 0.001·(log2 b − 5)²     r* = 3·10⁻⁴·N^−0.2
         − 0.004 where the model is deep        + noise of standard deviation 0.002 between seeds

Weight decay and the number of heads do nothing. Everything is invented; the numbers are of the kind that searches on
daily prices give.
"""

import math
import random
from collections.abc import Mapping
from typing import Any, Final

from studies.objective import TrialContext

CEILING: Final = 0.74
EXPONENT: Final = 0.3
NOISE: Final = 0.002
_STEPS: Final = 8


def score(params: Mapping[str, Any], context: TrialContext) -> float:
    """Return the planted score with the noise of the trial's seed; its curve approaches it step by step."""
    reached = planted(params) + _noise(params, context.seed)
    for step in range(1, _STEPS + 1):
        context.report(0.5 + (reached - 0.5) * (1 - math.exp(-step / 2)), step)
    # Six operations a parameter and window, for the windows of a short training.
    context.record(flops=6 * params["estimated_params"] * params.get("effective_batch", 32) * 300)
    return reached


def planted(params: Mapping[str, Any]) -> float:
    """Return the score without noise."""
    millions = float(params["estimated_params"]) / 1e6
    rate, dropout = float(params["learning_rate"]), float(params["dropout"])
    best_rate = 3e-4 * math.pow(millions, -0.2)
    return (
        CEILING
        - 0.04 * math.pow(millions, -EXPONENT)
        - 0.015 * math.log10(rate / best_rate) ** 2
        - 0.10 * (dropout - 0.3) ** 2
        - 0.001 * (math.log2(params.get("effective_batch", 32)) - 5) ** 2
        - (0.004 if params["style"] == "deep" else 0.0)
    )


def _noise(params: Mapping[str, Any], seed: int) -> float:
    """Return the same for equal parameters and seed, in any process."""
    return random.Random(f"{seed} {sorted(params.items())}").gauss(0.0, NOISE)  # noqa: S311  not for secrets
