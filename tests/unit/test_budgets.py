"""Budgets, architectures and the forced configurations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets import (
    BUDGET_CONFIGS,
    DEFAULT_REGULARIZATION,
    Architecture,
    BudgetError,
    compute_budget_aware_extremes,
    estimate_parameters,
    format_budget,
    generate_forced_configs,
    parse_budget,
)

TABLE = [
    (1, "750k_shallow", "budget_architecture", "750k", 192, 2, 4, 0.5, 1e-4, 1e-3, 884_736),
    (2, "750k_deep", "budget_architecture", "750k", 128, 4, 4, 0.5, 1e-4, 1e-3, 786_432),
    (3, "2M_shallow", "budget_architecture", "2M", 320, 2, 4, 0.5, 1e-4, 1e-3, 2_457_600),
    (4, "2M_deep", "budget_architecture", "2M", 192, 5, 4, 0.5, 1e-4, 1e-3, 2_211_840),
    (5, "20M_shallow", "budget_architecture", "20M", 768, 3, 8, 0.5, 1e-4, 1e-3, 21_233_664),
    (6, "20M_deep", "budget_architecture", "20M", 384, 12, 8, 0.5, 1e-4, 1e-3, 21_233_664),
    (7, "200M_shallow", "budget_architecture", "200M", 1536, 8, 16, 0.5, 1e-4, 1e-3, 226_492_416),
    (8, "200M_deep", "budget_architecture", "200M", 768, 28, 16, 0.5, 1e-4, 1e-3, 198_180_864),
    (9, "2M_dropout_low", "dropout_extremes", "2M", 320, 2, 4, 0.1, 1e-4, 1e-3, 2_457_600),
    (10, "2M_dropout_midlow", "dropout_extremes", "2M", 320, 2, 4, 0.3, 1e-4, 1e-3, 2_457_600),
    (11, "2M_dropout_high", "dropout_extremes", "2M", 320, 2, 4, 0.7, 1e-4, 1e-3, 2_457_600),
    (12, "200M_dropout_low", "dropout_extremes", "200M", 1536, 8, 16, 0.1, 1e-4, 1e-3, 226_492_416),
    (13, "2M_lr_low", "lr_extremes", "2M", 320, 2, 4, 0.5, 1e-5, 1e-3, 2_457_600),
    (14, "2M_lr_high", "lr_extremes", "2M", 320, 2, 4, 0.5, 1e-3, 1e-3, 2_457_600),
    (15, "20M_lr_low", "lr_extremes", "20M", 768, 3, 8, 0.5, 1e-5, 1e-3, 21_233_664),
    (16, "2M_wd_none", "wd_extremes", "2M", 320, 2, 4, 0.5, 1e-4, 0.0, 2_457_600),
    (17, "2M_wd_high", "wd_extremes", "2M", 320, 2, 4, 0.5, 1e-4, 1e-2, 2_457_600),
    (18, "200M_wd_none", "wd_extremes", "200M", 1536, 8, 16, 0.5, 1e-4, 0.0, 226_492_416),
]


def test_the_forced_configurations_are_the_eighteen_of_the_table() -> None:
    rows = [
        (
            c.id,
            c.name,
            c.group,
            c.budget,
            c.architecture.d_model,
            c.architecture.n_layers,
            c.architecture.n_heads,
            c.dropout,
            c.learning_rate,
            c.weight_decay,
            c.architecture.estimated_params,
        )
        for c in generate_forced_configs()
    ]
    assert rows == TABLE


@pytest.mark.parametrize(
    ("budgets", "ids"),
    [
        (["2M", "20M"], [3, 4, 5, 6, 9, 10, 11, 13, 14, 15, 16, 17]),
        (["750k"], [1, 2]),
        (["200M"], [7, 8, 12, 18]),
        (["20M", "2M"], [3, 4, 5, 6, 9, 10, 11, 13, 14, 15, 16, 17]),
    ],
)
def test_a_subset_of_budgets_keeps_its_configurations_and_their_ids(budgets: list[str], ids: list[int]) -> None:
    assert [configuration.id for configuration in generate_forced_configs(budgets)] == ids


def test_everything_that_an_extreme_does_not_name_has_the_default() -> None:
    for configuration in generate_forced_configs():
        changed = [
            key
            for key in ("dropout", "learning_rate", "weight_decay")
            if getattr(configuration, key) != getattr(DEFAULT_REGULARIZATION, key)
        ]
        assert len(changed) == (0 if configuration.id <= 8 else 1)


@pytest.mark.parametrize("budgets", [[], ["3M"], ["2M", "nonsense"]])
def test_an_empty_list_or_an_unknown_budget_is_refused(budgets: list[str]) -> None:
    with pytest.raises(BudgetError, match="750k, 2M, 20M, 200M"):
        generate_forced_configs(budgets)


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(BudgetError, match="shallow"):
        compute_budget_aware_extremes("2M", "wide")


@pytest.mark.parametrize(
    ("text", "count"),
    [("750k", 750_000), ("2M", 2_000_000), ("2m", 2_000_000), ("1.5B", 1_500_000_000), ("921600", 921_600)],
)
def test_a_budget_is_read_with_its_unit(text: str, count: int) -> None:
    assert parse_budget(text) == count


@pytest.mark.parametrize("text", ["", "M", "-2M", "0", "0.0k", "2MM", "two", "1e6", "2 000"])
def test_what_is_no_budget_is_refused_with_the_value(text: str) -> None:
    with pytest.raises(BudgetError) as refused:
        parse_budget(text)
    assert repr(text) in str(refused.value)


@given(st.integers(min_value=1, max_value=10**12))
def test_formatting_and_parsing_are_inverse(count: int) -> None:
    assert parse_budget(format_budget(count)) == count


@given(st.integers(1, 64), st.integers(1, 4096))
def test_the_estimate_is_attention_plus_feed_forward(layers: int, width: int) -> None:
    assert estimate_parameters(layers, width) == layers * (4 * width**2 + 2 * width * 4 * width)


@pytest.mark.parametrize(("width", "layers", "heads"), [(100, 2, 3), (0, 1, 1), (8, 0, 1), (8, 1, -1)])
def test_an_impossible_architecture_cannot_be_made(width: int, layers: int, heads: int) -> None:
    with pytest.raises(BudgetError):
        Architecture(width, layers, heads)


def test_the_heads_of_the_message_can_be_used() -> None:
    with pytest.raises(BudgetError, match=r"\[1, 2, 4, 5, 10, 20, 25\]"):
        Architecture(100, 2, 3)


def test_every_budget_has_a_shallow_and_a_deep_shape_near_its_size() -> None:
    for budget, shapes in BUDGET_CONFIGS.items():
        assert shapes["shallow"].d_model > shapes["deep"].d_model
        for shape in shapes.values():
            assert 0.8 < shape.estimated_params / parse_budget(budget) < 1.25
