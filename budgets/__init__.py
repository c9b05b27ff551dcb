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
from budgets.supplementary import (
    PHASE2_RANGES,
    Corner,
    SupplementaryConfiguration,
    SupplementaryRanges,
    generate_corners,
)

__all__ = [
    "BUDGET_CONFIGS",
    "DEFAULT_REGULARIZATION",
    "PHASE2_RANGES",
    "STYLES",
    "Architecture",
    "BudgetError",
    "Corner",
    "ForcedConfiguration",
    "InputError",
    "Regularization",
    "SupplementaryConfiguration",
    "SupplementaryRanges",
    "compute_budget_aware_extremes",
    "estimate_parameters",
    "format_budget",
    "generate_corners",
    "generate_forced_configs",
    "parse_budget",
]
