"""Which learning rate a size suggests."""

import math
from typing import Final

FAR: Final = 30.0
"""Further off than by this factor is a finding; the default of the forced configurations, 1e-4, is 6 to 14 too low."""

OUT_OF_REACH: Final = 3.0
"""A searched range that ends further from the suggestion than by this factor does not reach it."""

# Below, the fitted line means nothing; it is 0 at about 12 billion parameters.
_LEAST = 1e-5


def suggested_learning_rate(parameters: int) -> float:
    """Return 0.003239 - 0.0001395 ln(N) for N parameters, with Adam.

    Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", equation D.1.
    """
    return max(_LEAST, 0.003239 - 0.0001395 * math.log(parameters))


def how_far(rate: float, parameters: int) -> float:
    """Return by what factor a rate is off, up or down; 1 is the suggested one."""
    return math.exp(abs(math.log(rate / suggested_learning_rate(parameters)))) if rate > 0 else math.inf
