"""Parameter budgets and the configurations that follow from them: pure arithmetic, standard library only."""

from budgets.architectures import (
    BUDGET_CONFIGS,
    STYLES,
    Architecture,
    compute_budget_aware_extremes,
    equal_parameter_shapes,
    largest_architecture_within,
    nearest_architecture,
    smallest_architecture_reaching,
    usual_heads,
)
from budgets.batch_rules import minimum_effective_batch, recommended_effective_batch
from budgets.batching import BatchPlan, MemoryLimit, PlannedBatch, largest_micro_batch, plan_batch
from budgets.errors import BudgetError, InputError
from budgets.forced import (
    DEFAULT_REGULARIZATION,
    ForcedConfiguration,
    Regularization,
    generate_forced_configs,
)
from budgets.metric_kinds import MetricKind, metric_kind
from budgets.parameters import ParameterGroups, estimate_parameters, format_budget, parse_budget
from budgets.rollouts import PpoChoices, PpoPlan
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
    "BatchPlan",
    "BudgetError",
    "Corner",
    "ForcedConfiguration",
    "InputError",
    "MemoryLimit",
    "MetricKind",
    "ParameterGroups",
    "PlannedBatch",
    "PpoChoices",
    "PpoPlan",
    "Regularization",
    "SupplementaryConfiguration",
    "SupplementaryRanges",
    "compute_budget_aware_extremes",
    "equal_parameter_shapes",
    "estimate_parameters",
    "format_budget",
    "generate_corners",
    "generate_forced_configs",
    "largest_architecture_within",
    "largest_micro_batch",
    "metric_kind",
    "minimum_effective_batch",
    "nearest_architecture",
    "parse_budget",
    "plan_batch",
    "recommended_effective_batch",
    "smallest_architecture_reaching",
    "usual_heads",
]
