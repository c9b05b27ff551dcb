"""The eight transformer shapes: one shallow (wide) and one deep (narrow) a budget."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from budgets.errors import BudgetError
from budgets.parameters import estimate_parameters

Style = Literal["shallow", "deep"]
STYLES: Final[tuple[Style, ...]] = ("shallow", "deep")


@dataclass(frozen=True)
class Architecture:
    """Width, depth and heads of a transformer encoder; the feed-forward is four times as wide as the model.

    Raises:
        BudgetError: a size is not positive, or the heads do not divide the width.
    """

    d_model: int
    n_layers: int
    n_heads: int

    def __post_init__(self) -> None:
        if min(self.d_model, self.n_layers, self.n_heads) < 1:
            raise BudgetError(f"d_model, n_layers and n_heads are positive, not {self}: raise the smallest")
        if self.d_model % self.n_heads:
            raise BudgetError(
                f"n_heads must divide d_model, but d_model={self.d_model} and n_heads={self.n_heads}: "
                f"take heads out of {[h for h in range(1, 33) if self.d_model % h == 0]}"
            )

    @property
    def d_ff(self) -> int:
        """Width of the feed-forward layer."""
        return 4 * self.d_model

    @property
    def estimated_params(self) -> int:
        """12·L·d², see `estimate_parameters`."""
        return estimate_parameters(self.n_layers, self.d_model)


BUDGET_CONFIGS: Final = MappingProxyType(
    {
        "750k": MappingProxyType({"shallow": Architecture(192, 2, 4), "deep": Architecture(128, 4, 4)}),
        "2M": MappingProxyType({"shallow": Architecture(320, 2, 4), "deep": Architecture(192, 5, 4)}),
        "20M": MappingProxyType({"shallow": Architecture(768, 3, 8), "deep": Architecture(384, 12, 8)}),
        "200M": MappingProxyType({"shallow": Architecture(1536, 8, 16), "deep": Architecture(768, 28, 16)}),
    }
)


def compute_budget_aware_extremes(budget: str, style: str) -> Architecture:
    """Return the shallow or the deep architecture of a budget.

    Raises:
        BudgetError: the budget or the style has no architecture.
    """
    if budget not in BUDGET_CONFIGS:
        raise BudgetError(f"unknown budget {budget!r}: choose among {', '.join(BUDGET_CONFIGS)}")
    if style not in STYLES:
        raise BudgetError(f"unknown style {style!r}: choose shallow (wide) or deep (narrow)")
    return BUDGET_CONFIGS[budget][style]
