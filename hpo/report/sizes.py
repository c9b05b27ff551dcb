"""The size of a trial: what a value says of it, and which values of a study say anything."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from budgets import parse_budget
from budgets.errors import BudgetError, InputError

DEFAULT_SIZES: Final = ("exact_params", "estimated_params")
"""What this service calls the size of a trial: exact where the module was built, else by arithmetic."""

_SHOWN = 8

Values = Mapping[str, Any]


def size_in(value: object) -> float | None:
    """Return the size that a value says: a positive number, a text of one, or a budget such as 2M; else None."""
    if isinstance(value, str):
        return _size_in_text(value)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if usable else None  # type: ignore[arg-type]


def _size_in_text(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        try:
            return float(parse_budget(text))
        except BudgetError:
            return None
    return found if math.isfinite(found) and found > 0 else None


def size_names(trials: Iterable[Values]) -> list[str]:
    """Return the names of values that differ and are sizes in every trial that has them, the most frequent first.

    Args:
        trials: parameters and attributes of each.
    """
    found: dict[str, list[float | None]] = {}
    for values in trials:
        for name, value in values.items():
            found.setdefault(name, []).append(size_in(value))
    usable = [name for name, sizes in found.items() if None not in sizes and len(set(sizes)) > 1]
    return sorted(usable, key=lambda name: (-len(found[name]), name))


def chosen_size(name: str | None, trials: Sequence[Values], study: str) -> str:
    """Return the name of the value that is the size; empty where nothing says.

    Args:
        name: of a parameter or attribute; default: what this service calls the size.
        trials: parameters and attributes of each.
        study: for the message.

    Raises:
        InputError: there are trials, and none has a value of that name, or one that is a size; the message lists
            the names that have some.
    """
    if name is None:
        return next((known for known in DEFAULT_SIZES if any(size_in(each.get(known)) for each in trials)), "")
    if not trials:
        return name
    having = [values[name] for values in trials if name in values]
    if any(size_in(value) is not None for value in having):
        return name
    if having:
        raise InputError(
            f"--size must name a positive number or a budget such as 2M, and {name} of study {study} is "
            f"{having[0]!r}: {_choices(trials)}"
        )
    raise InputError(
        f"--size must name a parameter or user attribute of study {study}'s trials, not {name!r}: {_choices(trials)}"
    )


def _choices(trials: Sequence[Values]) -> str:
    names = size_names(trials)
    if not names:
        return "no value of theirs is a number that differs; leave --size out"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"numeric are {', '.join(names[:_SHOWN])}{more}"
