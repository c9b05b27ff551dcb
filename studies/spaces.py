"""The Phase 1 search space.

It is static: the same five distributions in every trial, forced ones included. Optuna's TPE models the
parameters jointly only over distributions that are exactly equal in all finished trials, so a range that varied
with the budget would silently drop that parameter from the joint model for good.
"""

from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from budgets import STYLES
from studies.spec import Spec

Params = Mapping[str, CategoricalChoiceType]


def phase1_space(spec: Spec) -> dict[str, BaseDistribution]:
    """Return the distributions of Phase 1: budget, style and three regularizers."""
    return {
        "budget": CategoricalDistribution(spec.budgets),
        "style": CategoricalDistribution(STYLES),
        "dropout": FloatDistribution(0.1, 0.7),
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "weight_decay": FloatDistribution(0.0, 1e-2),
    }


def describe(distribution: BaseDistribution) -> dict[str, object]:
    """Return a distribution as JSON-ready values for people and for `--json`."""
    if isinstance(distribution, CategoricalDistribution):
        return {"choices": list(distribution.choices)}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return {"low": distribution.low, "high": distribution.high, "log": distribution.log}
