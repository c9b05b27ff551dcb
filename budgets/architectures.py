"""Transformer shapes: the eight of the table, and the shape of any size from its aspect.

The *aspect* of a shape is its width over its depth, d_model / n_layers. With N = 12·L·d² (`estimate_parameters`) and
d = aspect·L, size and aspect fix the shape: L = (N / (12·aspect²))^(1/3), d = (N / (12·L))^(1/2). Both have to be whole
numbers, and d a multiple of the heads: the depth goes to the nearest layer, the width as the name of the function says.
"""

import math
from collections.abc import Callable
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
    def aspect(self) -> float:
        """Width over depth: large is shallow, small is deep."""
        return self.d_model / self.n_layers

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


def largest_architecture_within(parameters: int, aspect: float, n_heads: int, multiple: int = 1) -> Architecture:
    """Return the shape of that aspect with the largest width whose estimate does not exceed the parameters.

    Args:
        parameters: of the whole model, as estimated.
        aspect: width over depth; the depth is the nearest whole number of layers.
        n_heads: that divide the width.
        multiple: that the width is a multiple of as well, such as 64.

    Raises:
        BudgetError: the aspect asks for less than a layer, or for a narrower width than the heads allow; the message
            names the smallest and the largest aspect that can be had.
    """
    return _solve(parameters, aspect, n_heads, multiple, math.floor)


def smallest_architecture_reaching(parameters: int, aspect: float, n_heads: int, multiple: int = 1) -> Architecture:
    """Return the shape of that aspect with the smallest width whose estimate reaches the parameters.

    Arguments and errors are those of `largest_architecture_within`.
    """
    return _solve(parameters, aspect, n_heads, multiple, math.ceil)


def nearest_architecture(parameters: int, aspect: float, n_heads: int, multiple: int = 1) -> Architecture:
    """Return the one of the two whose estimate lies nearer to the parameters, by their ratio.

    It is the inverse of the estimate: the size and aspect of any shape give that shape back. Arguments and errors are
    those of `largest_architecture_within`.
    """
    above = smallest_architecture_reaching(parameters, aspect, n_heads, multiple)
    below = largest_architecture_within(parameters, aspect, n_heads, multiple)
    return min(below, above, key=lambda shape: _distance(shape, parameters))


def equal_parameter_shapes(parameters: int, n_heads: int, multiple: int = 1) -> tuple[Architecture, ...]:
    """Return the shapes of about that size, from the widest to the deepest: one a depth and one a width at most.

    Every width that is a multiple of both arguments gets the depth that comes nearest; of widths with the same depth
    the nearest one stays.

    Raises:
        BudgetError: heads or multiple are not positive, or the narrowest width takes more parameters.
    """
    _check_positive(n_heads=n_heads, multiple=multiple)
    step = math.lcm(n_heads, multiple)
    if parameters < 12 * step**2:
        raise BudgetError(_infeasible(parameters, 1.0, step))
    nearest: dict[int, Architecture] = {}
    for d_model in range(step, math.ceil(_width(parameters, 1)) + step, step):
        shape = Architecture(d_model, max(1, round(parameters / (12 * d_model**2))), n_heads)
        other = nearest.get(shape.n_layers, shape)
        nearest[shape.n_layers] = min(shape, other, key=lambda each: _distance(each, parameters))
    return tuple(nearest[n_layers] for n_layers in sorted(nearest))


def _distance(shape: Architecture, parameters: int) -> float:
    return abs(math.log(shape.estimated_params / parameters))


def usual_heads(parameters: int) -> int:
    """Return how many heads the table gives a model of about that size: 4, from 10 M on 8, from 100 M on 16."""
    return 4 if parameters < 10_000_000 else 8 if parameters < 100_000_000 else 16


def _solve(
    parameters: int, aspect: float, n_heads: int, multiple: int, to_whole: Callable[[float], int]
) -> Architecture:
    _check_positive(parameters=parameters, aspect=aspect, n_heads=n_heads, multiple=multiple)
    step = math.lcm(n_heads, multiple)
    n_layers = round((parameters / (12 * aspect**2)) ** (1 / 3))
    # A root that is a whole number but for the last bits of a float is that number.
    steps = round(_width(parameters, n_layers) / step, 9) if n_layers else 0.0
    if steps < 1:
        raise BudgetError(_infeasible(parameters, aspect, step))
    return Architecture(to_whole(steps) * step, n_layers, n_heads)


def _check_positive(**given: float) -> None:
    for name, value in given.items():
        if not 0 < value < math.inf:
            raise BudgetError(f"{name} is a positive number, not {value}: correct it")


def _width(parameters: int, n_layers: int) -> float:
    return math.sqrt(parameters / (12 * n_layers))


def _deepest(parameters: int, step: int) -> int:
    """Return how many layers of the narrowest width fit."""
    return max(1, parameters // (12 * step**2))


def _infeasible(parameters: int, aspect: float, step: int) -> str:
    if parameters < 12 * step**2:
        return (
            f"a width that is a multiple of {step} takes at least {12 * step**2:,} parameters, not {parameters:,}: "
            "take a larger budget or fewer heads"
        )
    # Half a layer is rounded up to one: (N / (12·aspect²))^(1/3) = 1/2.
    narrowest, widest = step / _deepest(parameters, step), math.sqrt(parameters / 12 * 8)
    return (
        f"{parameters:,} parameters allow an aspect from {narrowest:.3g} ({_deepest(parameters, step)} layers of width "
        f"{step}) to {widest:.3g} (one layer), not {aspect:g}: choose one between"
    )
