"""What kind of quantity a metric is, which decides how many windows it takes to estimate it."""

from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from budgets.errors import BudgetError


class MetricKind(StrEnum):
    """How a metric is made from its windows."""

    RATIO = "ratio"
    """A mean over a spread, or the like: of a small batch it is biased as well as noisy."""
    RANKING = "ranking"
    """The order of predictions; here it is read from the whole validation part, never from a batch."""
    LIKELIHOOD = "likelihood"
    """A mean over windows of how probable the labels were."""
    REGRESSION = "regression"
    """A mean over windows of how far the predictions were off."""
    OTHER = "other"
    """Nothing is known about it, as of what a callable objective returns."""


METRIC_KINDS: Final = MappingProxyType(
    {
        **dict.fromkeys(("sharpe", "sharpe_ratio", "sortino", "sortino_ratio"), MetricKind.RATIO),
        **dict.fromkeys(("calmar", "calmar_ratio", "information_ratio", "omega", "omega_ratio"), MetricKind.RATIO),
        **dict.fromkeys(("auc", "average_precision"), MetricKind.RANKING),
        **dict.fromkeys(("log_loss", "cross_entropy", "brier"), MetricKind.LIKELIHOOD),
        **dict.fromkeys(("mae", "mse", "rmse", "mape", "smape", "quantile_loss"), MetricKind.REGRESSION),
        "score": MetricKind.OTHER,
    }
)
"""Every metric that the rules on batches know, in lower case with underscores."""


def metric_kind(name: str) -> MetricKind:
    """Return what kind of metric this is; case, blanks and hyphens do not matter.

    Raises:
        BudgetError: nobody knows it; the message names the closest one that is known.
    """
    known = name.strip().lower().replace("-", "_").replace(" ", "_")
    if known in METRIC_KINDS:
        return METRIC_KINDS[known]
    close = get_close_matches(known, METRIC_KINDS, 1)
    remedy = f"did you mean {close[0]}?" if close else "`score` stands for any other"
    raise BudgetError(f"a metric is one of {', '.join(METRIC_KINDS)}, not {name!r}: {remedy}")
