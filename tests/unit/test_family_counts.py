"""The tables of docs/families.md are those of the arithmetic."""

import re
from pathlib import Path

import pytest

from budgets import BUDGET_CONFIGS, STYLES, Architecture
from studies.families import FAMILIES, WindowShape

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "families.md").read_text()
SHAPES = [BUDGET_CONFIGS[budget][style] for budget in BUDGET_CONFIGS for style in STYLES]


def tables(first_column: str) -> list[list[str]]:
    """The cells of every table row that begins with this, each without its name."""
    rows = re.findall(rf"^\| {re.escape(first_column)} \|(.*)\|$", DOCUMENT, re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_document_says_the_exact_counts_and_how_far_the_estimate_is_off(family: str) -> None:
    features = WindowShape(80, 1, 2, 0 if family == "patchtst" else 20)
    counts, shares = [], []
    for shape in SHAPES:
        heads = FAMILIES[family].heads or shape.n_heads
        exact = FAMILIES[family].count(Architecture(shape.d_model, shape.n_layers, heads), features).total
        counts.append(f"{exact:,}")
        shares.append(f"{exact / shape.estimated_params - 1:+.1%}".replace("%", " %").replace("-", "−"))
    described, *_ = found = tables(family)
    assert len(described) == 5
    assert counts in found
    assert shares in found


def test_the_document_says_what_features_cost_a_tft() -> None:
    for n_features in (0, 20, 200):
        exact = FAMILIES["tft"].count(BUDGET_CONFIGS["2M"]["shallow"], WindowShape(80, 1, 2, n_features)).total
        assert f"{exact:,}" in DOCUMENT


@pytest.mark.parametrize("family", ["vanillatransformer", "informer", "autoformer"])
def test_one_decoder_layer_leaves_the_estimate_short_by_a_third_of_a_layer(family: str) -> None:
    for shape in SHAPES:
        exact = FAMILIES[family].count(shape, WindowShape(80, 1, 2, 0)).total
        assert exact / shape.estimated_params - 1 == pytest.approx(1 / (3 * shape.n_layers), abs=0.02)
