"""Counts by arithmetic equal those of the built modules, group by group."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from budgets import BUDGET_CONFIGS, STYLES, Architecture, ParameterGroups
from studies.families import FAMILIES, WindowShape

# What the names of NeuralForecast's modules belong to, the first that is found in them.
_GROUPS = {
    "embed": "embedding",
    "norm": "norms",
    "attention": "attention",
    "conv": "feed_forward",
    "projector": "head",
}


def counted(family: str, architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    """Count the built module's parameters."""
    with torch.device("meta"):
        module = FAMILIES[family].build(architecture, shape, 0.0, 0)
    groups = dict.fromkeys(_GROUPS.values(), 0)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[next(group for part, group in _GROUPS.items() if part in name)] += parameter.numel()
    return ParameterGroups(**groups)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 24),
    st.integers(1, 6),
    st.integers(2, 120),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 30),
)
def test_the_count_is_that_of_the_built_module_over_the_whole_space(
    family: str, n_heads: int, width: int, n_layers: int, window: int, horizon: int, n_series: int, n_features: int
) -> None:
    architecture, shape = (
        Architecture(width * n_heads, n_layers, n_heads),
        WindowShape(window, horizon, n_series, n_features),
    )
    assert FAMILIES[family].count(architecture, shape) == counted(family, architecture, shape)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", BUDGET_CONFIGS)
@pytest.mark.parametrize("style", STYLES)
def test_the_count_is_that_of_the_module_at_every_row_of_the_table(family: str, budget: str, style: str) -> None:
    architecture, shape = BUDGET_CONFIGS[budget][style], WindowShape(80, 1, 2, 20)  # type: ignore[index]
    found = FAMILIES[family].count(architecture, shape)
    assert found == counted(family, architecture, shape)
    assert found.total == FAMILIES[family].exact_parameters(architecture, shape)
