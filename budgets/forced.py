"""The 18 forced configurations of Phase 1: both shapes of every budget, then one extreme at a time.

Forced means that they are trained whatever the sampler would propose, so that every budget, and every end of
every regularization range, has been seen before the search narrows down.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from budgets.architectures import BUDGET_CONFIGS, Architecture, Style, compute_budget_aware_extremes
from budgets.errors import BudgetError


@dataclass(frozen=True)
class Regularization:
    """What keeps a model from learning the noise, and how fast it learns."""

    dropout: float
    learning_rate: float
    weight_decay: float


DEFAULT_REGULARIZATION: Final = Regularization(dropout=0.5, learning_rate=1e-4, weight_decay=1e-3)


@dataclass(frozen=True)
class ForcedConfiguration:
    """One forced configuration; `id` (1 to 18) never changes, whichever budgets are searched."""

    id: int
    name: str
    group: str
    budget: str
    style: Style
    dropout: float
    learning_rate: float
    weight_decay: float

    @property
    def architecture(self) -> Architecture:
        """Width, depth and heads."""
        return compute_budget_aware_extremes(self.budget, self.style)

    @property
    def params(self) -> dict[str, str | float]:
        """The values in the search space's own words."""
        return {
            "budget": self.budget,
            "style": self.style,
            "dropout": self.dropout,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
        }


def _forced(
    number: int,
    group: str,
    budget: str,
    variant: str,
    style: Style = "shallow",
    *,
    dropout: float = DEFAULT_REGULARIZATION.dropout,
    learning_rate: float = DEFAULT_REGULARIZATION.learning_rate,
    weight_decay: float = DEFAULT_REGULARIZATION.weight_decay,
) -> ForcedConfiguration:
    name = f"{budget}_{variant}"
    return ForcedConfiguration(number, name, group, budget, style, dropout, learning_rate, weight_decay)


_FORCED: Final = (
    _forced(1, "budget_architecture", "750k", "shallow"),
    _forced(2, "budget_architecture", "750k", "deep", "deep"),
    _forced(3, "budget_architecture", "2M", "shallow"),
    _forced(4, "budget_architecture", "2M", "deep", "deep"),
    _forced(5, "budget_architecture", "20M", "shallow"),
    _forced(6, "budget_architecture", "20M", "deep", "deep"),
    _forced(7, "budget_architecture", "200M", "shallow"),
    _forced(8, "budget_architecture", "200M", "deep", "deep"),
    _forced(9, "dropout_extremes", "2M", "dropout_low", dropout=0.1),
    _forced(10, "dropout_extremes", "2M", "dropout_midlow", dropout=0.3),
    _forced(11, "dropout_extremes", "2M", "dropout_high", dropout=0.7),
    _forced(12, "dropout_extremes", "200M", "dropout_low", dropout=0.1),
    _forced(13, "lr_extremes", "2M", "lr_low", learning_rate=1e-5),
    _forced(14, "lr_extremes", "2M", "lr_high", learning_rate=1e-3),
    _forced(15, "lr_extremes", "20M", "lr_low", learning_rate=1e-5),
    _forced(16, "wd_extremes", "2M", "wd_none", weight_decay=0.0),
    _forced(17, "wd_extremes", "2M", "wd_high", weight_decay=1e-2),
    _forced(18, "wd_extremes", "200M", "wd_none", weight_decay=0.0),
)


def generate_forced_configs(budgets: Iterable[str] | None = None) -> tuple[ForcedConfiguration, ...]:
    """Return the forced configurations of these budgets (default: all 18), in the order of their ids.

    Raises:
        BudgetError: no budget is named, or one has no architecture.
    """
    wanted = tuple(BUDGET_CONFIGS) if budgets is None else tuple(budgets)
    if not wanted:
        raise BudgetError(f"the list of budgets is empty: name at least one of {', '.join(BUDGET_CONFIGS)}")
    for budget in wanted:
        compute_budget_aware_extremes(budget, "shallow")
    return tuple(configuration for configuration in _FORCED if configuration.budget in wanted)
