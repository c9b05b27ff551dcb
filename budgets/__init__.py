"""Parameter budgets and the configurations that follow from them: pure arithmetic, standard library only."""

from budgets.architectures import BUDGET_CONFIGS, STYLES, Architecture, compute_budget_aware_extremes
from budgets.errors import BudgetError, InputError
from budgets.forced import (
    DEFAULT_REGULARIZATION,
    ForcedConfiguration,
    Regularization,
    generate_forced_configs,
)
from budgets.parameters import estimate_parameters, format_budget, parse_budget

__all__ = [
    "BUDGET_CONFIGS",
    "DEFAULT_REGULARIZATION",
    "STYLES",
    "Architecture",
    "BudgetError",
    "ForcedConfiguration",
    "InputError",
    "Regularization",
    "compute_budget_aware_extremes",
    "estimate_parameters",
    "format_budget",
    "generate_forced_configs",
    "parse_budget",
]
