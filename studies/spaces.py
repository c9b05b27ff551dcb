"""The search spaces of both phases.

Phase 1's is static: the same five distributions in every trial, forced ones included. Optuna's TPE models the
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

from budgets import STYLES, SupplementaryConfiguration
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


def phase2_space(spec: Spec) -> dict[str, BaseDistribution]:
    """Return the distributions of Phase 2: heads, learning rate, weight decay and effective batch.

    Heads and batch are ordered, and the sampler should know it: they are searched as their logarithms to base two.
    """
    ranges = spec.ranges
    return {
        "n_heads_log2": _powers_of_two(ranges.n_heads),
        "learning_rate": FloatDistribution(*ranges.learning_rate, log=True),
        "weight_decay": FloatDistribution(*ranges.weight_decay),
        "effective_batch_log2": _powers_of_two(ranges.effective_batch),
    }


def _powers_of_two(ends: tuple[int, int]) -> IntDistribution:
    return IntDistribution(low=ends[0].bit_length() - 1, high=ends[1].bit_length() - 1)


def phase2_params(configuration: SupplementaryConfiguration) -> dict[str, CategoricalChoiceType]:
    """Return a configuration in the names of the Phase 2 space."""
    return {
        "n_heads_log2": configuration.n_heads.bit_length() - 1,
        "learning_rate": configuration.learning_rate,
        "weight_decay": configuration.weight_decay,
        "effective_batch_log2": configuration.effective_batch.bit_length() - 1,
    }


def describe(distribution: BaseDistribution) -> dict[str, object]:
    """Return a distribution as JSON-ready values for people and for `--json`."""
    if isinstance(distribution, CategoricalDistribution):
        return {"choices": list(distribution.choices)}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return {"low": distribution.low, "high": distribution.high, "log": distribution.log}
