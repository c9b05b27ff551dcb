"""From a size and an aspect to a shape, and back."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from budgets import BUDGET_CONFIGS, STYLES, Architecture, BudgetError, parse_budget
from budgets.architectures import (
    equal_parameter_shapes,
    largest_architecture_within,
    nearest_architecture,
    smallest_architecture_reaching,
    usual_heads,
)

TABLE = [(budget, BUDGET_CONFIGS[budget][style]) for budget in BUDGET_CONFIGS for style in STYLES]


@pytest.mark.parametrize(("budget", "shape"), TABLE)
def test_the_rows_of_the_table_come_back_from_their_own_size_and_aspect(budget: str, shape: Architecture) -> None:
    for solve in (largest_architecture_within, smallest_architecture_reaching, nearest_architecture):
        assert solve(shape.estimated_params, shape.aspect, shape.n_heads) == shape
    assert usual_heads(parse_budget(budget)) == shape.n_heads


def test_seven_rows_come_back_from_their_nominal_budget_in_steps_of_64() -> None:
    differing = {
        (budget, shape.d_model): nearest_architecture(parse_budget(budget), shape.aspect, shape.n_heads, 64).d_model
        for budget, shape in TABLE
        if nearest_architecture(parse_budget(budget), shape.aspect, shape.n_heads, 64) != shape
    }
    # The table's wide 200M has 226 M parameters, 13 % above its budget.
    assert differing == {("200M", 1536): 1472}


sizes = st.integers(10_000, 1_000_000_000)


@given(sizes, st.floats(1, 500), st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([1, 8, 64]))
def test_the_error_is_less_than_one_step_of_the_width_in_the_direction_of_the_name(
    parameters: int, aspect: float, n_heads: int, multiple: int
) -> None:
    step = math.lcm(n_heads, multiple)
    try:
        below = largest_architecture_within(parameters, aspect, n_heads, multiple)
    except BudgetError:
        assume(False)
    above = smallest_architecture_reaching(parameters, aspect, n_heads, multiple)
    assert below.estimated_params <= parameters <= above.estimated_params
    assert above.d_model - below.d_model in {0, step}
    assert below.n_layers == above.n_layers == round((parameters / 12 / aspect**2) ** (1 / 3))
    assert nearest_architecture(parameters, aspect, n_heads, multiple) in {below, above}


@given(st.integers(1, 64), st.integers(1, 120), st.sampled_from([1, 2, 4, 8, 16]))
def test_solver_and_estimate_are_inverse(width_a_head: int, n_layers: int, n_heads: int) -> None:
    shape = Architecture(width_a_head * n_heads, n_layers, n_heads)
    assert nearest_architecture(shape.estimated_params, shape.aspect, n_heads) == shape


@given(st.integers(100_000, 1_000_000_000))
def test_the_curve_goes_from_one_wide_layer_to_the_deepest_near_the_size(parameters: int) -> None:
    shapes = equal_parameter_shapes(parameters, 4, 32)
    assert shapes[0].n_layers == 1
    assert shapes[-1].d_model == 32
    for wider, deeper in itertools.pairwise(shapes):
        assert wider.n_layers < deeper.n_layers
        assert wider.d_model > deeper.d_model
    for shape in shapes:
        # The nearest depth of its width, or the nearest width of its depth.
        depth = abs(parameters / (12 * shape.d_model**2) - shape.n_layers) <= 0.5
        assert depth or shape.n_layers == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((2_000_000, 0.01, 16), ["0.0246", "651 layers", "1.15e+03", "0.01"]),
        ((2_000_000, 1200, 16), ["1.15e+03", "one layer", "1200"]),
        ((1_000, 10, 16), ["3,072", "1,000", "fewer heads"]),
        ((2_000_000, 0, 4), ["positive"]),
        ((2_000_000, math.inf, 4), ["positive"]),
        ((2_000_000, 100, 0), ["positive"]),
    ],
)
def test_what_cannot_be_is_refused_with_the_smallest_and_largest_that_can(
    arguments: tuple[int, float, int], said: list[str]
) -> None:
    with pytest.raises(BudgetError) as refused:
        largest_architecture_within(*arguments)
    assert all(part in str(refused.value) for part in said), refused.value
