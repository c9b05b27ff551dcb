"""How many windows an optimizer step takes, by the metric that is estimated from them.

A mean over windows (a likelihood, a regression loss) has a gradient that is right on average for a batch of any size;
noise averages out over steps, so there is no minimum. A ranking metric is read from the whole validation part and
trained through a likelihood. A ratio such as Sharpe is a mean over a spread: of few windows it is noisy and biased,
and more steps do not mend the bias.

Source of the table, of the square-root rule and of the spreads: the research note "Tier 2 Failure Analysis: Model
Capacity Scaling Experiment" of 2025-10-21. A "safe mode" there set the batch from 1024 to 256 unasked, while the
hidden size went from 64 to 256, and Sharpe fell from 0.779 to 0.095. It is one pair of runs, in which the data workers
changed as well (8 to 0) and the larger batch was not tried again: rules of thumb, and the best there are.

The note contradicts itself twice, and what stands is this:

- It writes its rule as batch >= sqrt(parameters) * 10, and computes 2,366 for 5.6M and 4,472 for 20M parameters, which
  is sqrt(parameters). Times ten it would ask 23,664 of the run that it calls its best, which had 1024, and at 20M
  eleven times the upper end of its table's optimum. The worked examples stand; the rule as written is shown, and asks
  for nothing.
- The examples ask for more than the table's minimum (2,366 against 1024 at 5.6M). The table's minimum is a minimum:
  below it a plan is an error. Below the square root is a warning. The recommendation satisfies both: the next power of
  two, which is the upper end of what the note itself advises: 4096 at 5.6M ("2048-4096"), 8192 at 20M.
"""

import math
from dataclasses import dataclass
from typing import Final

from budgets.divisors import check_parameters
from budgets.metric_kinds import MetricKind, metric_kind

PLAIN_EFFECTIVE_BATCH: Final = 64
"""Where no statistics ask for more: what `training.effective_batch` of a study is by default."""

TABLE_SOURCE: Final = 'note "Tier 2 Failure Analysis", 2025-10-21: table of batch sizes'
ROOT_SOURCE: Final = 'note "Tier 2 Failure Analysis", 2025-10-21: its worked examples'
WRITTEN_SOURCE: Final = 'note "Tier 2 Failure Analysis", 2025-10-21: its rule of thumb'

_NO_MINIMUM: Final = {
    MetricKind.RANKING: "it is read from the whole validation part, and trained through a likelihood",
    MetricKind.LIKELIHOOD: "the gradient of a mean is right on average for any batch",
    MetricKind.REGRESSION: "the gradient of a mean is right on average for any batch",
    MetricKind.OTHER: "nothing is known about how this score is estimated",
}


@dataclass(frozen=True)
class RatioRow:
    """One size of the source's table for ratio metrics.

    Attributes:
        below: parameters that are too many for this row; None in the last.
        minimum: windows an optimizer step.
        optimum: from how many to how many are good.
    """

    below: int | None
    minimum: int
    optimum: tuple[int, int]


RATIO_TABLE: Final = (
    RatioRow(10_000_000, 1024, (1024, 2048)),
    RatioRow(50_000_000, 2048, (2048, 4096)),
    RatioRow(None, 4096, (4096, 8192)),
)
"""For ratio metrics, the smallest models first."""


@dataclass(frozen=True)
class Spread:
    """Batch-level Sharpe of the source's last phase: lowest and highest of the logged batches."""

    batch: int
    low: float
    high: float


SHARPE_SPREADS: Final = (Spread(256, -0.202, 0.178), Spread(1024, -0.093, 0.123))
"""What the two runs of the source logged; the sampling error of a small ratio, 1/sqrt(batch), is 0.063 and 0.031."""


def minimum_effective_batch(parameters: int, metric: str) -> int:
    """Return the fewest windows an optimizer step for this metric; 1 where there is no minimum.

    Raises:
        BudgetError: the metric is unknown, or the number of parameters is not positive.
    """
    check_parameters(parameters)
    if metric_kind(metric) is not MetricKind.RATIO:
        return 1
    return next(row.minimum for row in RATIO_TABLE if row.below is None or parameters < row.below)


def square_root_batch(parameters: int) -> int:
    """Return sqrt(parameters), rounded down, as the source's worked examples have it: 4,472 for 20M."""
    check_parameters(parameters)
    return math.isqrt(parameters)


def square_root_batch_as_written(parameters: int) -> int:
    """Return 10 * sqrt(parameters), rounded down, as the source writes its rule: 44,721 for 20M."""
    check_parameters(parameters)
    return math.isqrt(100 * parameters)


def recommended_effective_batch(parameters: int, metric: str) -> int:
    """Return how many windows an optimizer step should take.

    For a ratio the next power of two that is not below the minimum of the table nor the square root; for all others
    the plain default of 64.

    Raises:
        BudgetError: as `minimum_effective_batch`.
    """
    minimum = minimum_effective_batch(parameters, metric)
    if metric_kind(metric) is not MetricKind.RATIO:
        return PLAIN_EFFECTIVE_BATCH
    return next_power_of_two(max(minimum, square_root_batch(parameters)))


def next_power_of_two(number: int) -> int:
    """Return the smallest power of two that is not below a positive number."""
    return 1 << (number - 1).bit_length()


def why_no_minimum(kind: MetricKind) -> str:
    """Return the reason why a kind of metric other than a ratio has no minimum."""
    return _NO_MINIMUM[kind]
