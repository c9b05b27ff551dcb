"""Parameter budgets: how many parameters a model may have, written as `750k`, `2M` or `1.5B`."""

import re
from dataclasses import asdict, dataclass

from budgets.errors import BudgetError

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMbB]?)")


def parse_budget(text: str) -> int:
    """Return the parameter count that a budget such as `750k`, `2M`, `1.5B` or `250000` names.

    Raises:
        BudgetError: the text is not a number with an optional unit k, M or B, or is not positive.
    """
    match = _BUDGET.fullmatch(text.strip())
    count = round(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if count < 1:
        raise BudgetError(f"a budget is a positive number with k, M or B, not {text!r}: write 750k or 2M")
    return count


def format_budget(count: int) -> str:
    """Return the shortest name of a parameter count that `parse_budget` reads back exactly.

    `format_budget(2_000_000)` is `2M`; `format_budget(921_600)` is `921.6k`.
    """
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.9f}".rstrip("0").rstrip(".") + unit
    return str(count)


def estimate_parameters(n_layers: int, d_model: int) -> int:
    """Return 12·L·d²: 4·d² for attention and 8·d² for a feed-forward of width 4·d, a layer.

    Embeddings, norms, biases and the head are left out; the exact count comes from the built module. Source:
    Kaplan et al. 2020, "Scaling Laws for Neural Language Models", table 1.
    """
    return 12 * n_layers * d_model**2


@dataclass(frozen=True)
class ParameterGroups:
    """Trained parameters of a transformer by what they do, biases with their matrices."""

    embedding: int
    attention: int
    feed_forward: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(asdict(self).values())
