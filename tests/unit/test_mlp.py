"""Sizes of perceptrons: the source's formula, where its table agrees and where it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from budgets import BudgetError
from budgets.mlp import HARDWARE_TIERS, USE_CASES, hardware_tier, size_mlp

SOURCE = [
    # hidden layers, parameters, MiB of the checkpoint, share of the first layer in percent
    ((2048, 1024, 512, 256), 13_639_680, 156, 80),
    ((1024, 512, 256), 6_115_328, 70, 89),
    ((512, 256, 128), 2_893_824, 33, 94),
    ((256, 128, 64), 1_405_952, 16, 97),
]


@pytest.mark.parametrize(("hidden", "parameters", "mebibytes", "share"), SOURCE)
def test_the_formula_of_the_source_gives_the_numbers_that_stand(
    hidden: tuple[int, ...], parameters: int, mebibytes: int, share: int
) -> None:
    size = size_mlp(5300, hidden)
    assert size.parameters == parameters
    assert round(size.checkpoint_bytes / 2**20) == mebibytes
    assert round(100 * size.share(size.layers[0])) == share


def built(inputs: int, hidden: list[int], heads: list[int]) -> list[nn.Linear]:
    widths = [inputs, *hidden]
    trunk = [nn.Linear(before, after) for before, after in zip(widths, hidden, strict=False)]
    return [*trunk, *(nn.Linear(hidden[-1], width) for width in heads)]


widths = st.integers(1, 60)


@given(widths, st.lists(widths, min_size=1, max_size=5), st.lists(widths, max_size=3))
def test_the_count_with_biases_is_that_of_the_built_module(inputs: int, hidden: list[int], heads: list[int]) -> None:
    module = nn.ModuleList(built(inputs, hidden, heads))
    size = size_mlp(inputs, hidden, heads)
    assert size.parameters_with_biases == sum(parameter.numel() for parameter in module.parameters())
    assert sum(size.share(layer) for layer in size.layers) == pytest.approx(1)


@pytest.mark.parametrize(
    ("card", "memory_gb", "tier"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, "H100"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "A100-40GB"),
        ("NVIDIA RTX A6000", 48.0, "high"),
        ("NVIDIA GeForce RTX 4090", 24.0, "medium"),
        ("NVIDIA GeForce RTX 3070", 8.2, "low"),
    ],
)
def test_a_card_has_the_tier_of_its_name_or_memory(card: str, memory_gb: float, tier: str) -> None:
    assert hardware_tier(card, memory_gb) == tier
    assert tier in HARDWARE_TIERS


def test_every_tier_and_use_case_can_be_sized() -> None:
    assert all(size_mlp(5300, hidden).parameters > 10**6 for hidden in (*HARDWARE_TIERS.values(), *USE_CASES.values()))


@pytest.mark.parametrize(("inputs", "hidden"), [(0, [4]), (4, []), (4, [4, -1])])
def test_widths_that_cannot_be_are_refused(inputs: int, hidden: list[int]) -> None:
    with pytest.raises(BudgetError):
        size_mlp(inputs, hidden)
