"""Phase 2: one budget searched in the dimensions that Phase 1 kept fixed, corners first.

The four dimensions are the number of heads, the learning rate, the weight decay and the effective batch. The
corners are their ends, one dimension at a time around the budget's best configuration of Phase 1.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Final

from budgets.errors import BudgetError

_POWERS = ("n_heads", "effective_batch")
_LOWEST = {"n_heads": 1, "learning_rate": 5e-6, "weight_decay": 5e-2, "effective_batch": 8}


@dataclass(frozen=True)
class SupplementaryConfiguration:
    """A point in the four dimensions; `effective_batch` counts windows an optimizer step."""

    n_heads: int
    learning_rate: float
    weight_decay: float
    effective_batch: int


@dataclass(frozen=True)
class SupplementaryRanges:
    """Lowest and highest value of each dimension; heads and batches are powers of two between them."""

    n_heads: tuple[int, int] = (1, 16)
    learning_rate: tuple[float, float] = (5e-6, 2e-3)
    weight_decay: tuple[float, float] = (5e-2, 0.1)
    effective_batch: tuple[int, int] = (8, 256)

    def __post_init__(self) -> None:
        for name, (low, high) in asdict(self).items():
            if low < 0 or (low == 0 and name != "weight_decay"):
                rule = "0 or more" if name == "weight_decay" else "above 0"
                raise BudgetError(f"{name} is {rule}, not {low:g}: raise the low end, {_LOWEST[name]:g} is the default")
            if low > high:
                raise BudgetError(f"{name} goes from a low to a high value, not from {low} to {high}: exchange them")
        for name in _POWERS:
            for value in getattr(self, name):
                if value & (value - 1):
                    raise BudgetError(f"{name} is a power of two, not {value}: {1 << value.bit_length() - 1} is one")

    def for_width(self, d_model: int) -> "SupplementaryRanges":
        """Return the ranges with no more heads than a model of that width can be divided into.

        Powers of two that divide a width are all those up to the largest, so the range only gets shorter.

        Raises:
            BudgetError: the width can't be divided by the fewest heads.
        """
        low, high = self.n_heads
        while high > low and d_model % high:
            high //= 2
        if d_model % high:
            raise BudgetError(f"d_model {d_model} is no multiple of n_heads {low}: begin n_heads lower, at 1")
        return replace(self, n_heads=(low, high))

    def nearest(self, configuration: SupplementaryConfiguration) -> SupplementaryConfiguration:
        """Return the configuration, moved to the nearest end wherever it lies outside.

        A number of heads or a batch that is no power of two becomes the next lower one.
        """
        inside = {}
        for name, value in asdict(configuration).items():
            low, high = getattr(self, name)
            inside[name] = min(max(1 << value.bit_length() - 1 if name in _POWERS else value, low), high)
        return SupplementaryConfiguration(**inside)

    def hold(self, configuration: SupplementaryConfiguration) -> bool:
        """Return whether the configuration lies inside."""
        return self.nearest(configuration) == configuration


PHASE2_RANGES: Final = SupplementaryRanges()


@dataclass(frozen=True)
class Corner:
    """One end of one dimension, everything else as at the centre."""

    id: str
    dimension: str
    configuration: SupplementaryConfiguration


def generate_corners(
    centre: SupplementaryConfiguration, ranges: SupplementaryRanges = PHASE2_RANGES
) -> tuple[Corner, ...]:
    """Return both ends of every dimension around a centre, named such as `n_heads=16`.

    A centre outside the ranges is moved to their nearest end first. So every corner lies inside the ranges.
    """
    return tuple(_corners(ranges.nearest(centre), ranges))


def _corners(centre: SupplementaryConfiguration, ranges: SupplementaryRanges) -> Iterator[Corner]:
    for dimension, ends in asdict(ranges).items():
        for value in dict.fromkeys(ends):
            yield Corner(f"{dimension}={value:g}", dimension, replace(centre, **{dimension: value}))
