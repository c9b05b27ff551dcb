"""Numbers of windows that divide evenly, and what to say of those that do not."""

import math
from typing import Final

from budgets.errors import BudgetError

LARGEST_COUNT: Final = 10**9
"""Of windows, rollouts and processes; the divisors of such a number are found within milliseconds."""


def divisors(number: int) -> tuple[int, ...]:
    """Return all divisors of a positive number, the smallest first."""
    low = [each for each in range(1, math.isqrt(number) + 1) if number % each == 0]
    return tuple(sorted({*low, *(number // each for each in low)}))


def largest_divisor_within(number: int, limit: int) -> int | None:
    """Return the largest divisor of a number that is not above a limit; None where the limit is below 1."""
    return max((each for each in divisors(number) if each <= limit), default=None)


def check_counts(**counts: int) -> None:
    """Check counts by the names they are given.

    Raises:
        BudgetError: one of them is not positive, or so large that nobody means it.
    """
    for name, count in counts.items():
        if not 1 <= count <= LARGEST_COUNT:
            raise BudgetError(
                f"{name.replace('_', ' ')} is a whole number from 1 to {LARGEST_COUNT:,}, not {count}: correct it"
            )


def check_parameters(parameters: int) -> None:
    """Check a number of parameters.

    Raises:
        BudgetError: it is not positive.
    """
    if parameters < 1:
        raise BudgetError(f"a model has a positive number of parameters, not {parameters}: such as 20 million")


def check_divides(number: int, of: str, divisor: int, name: str) -> None:
    """Check that one count divides another.

    Raises:
        BudgetError: it does not; the message names the nearest divisors.
    """
    if number % divisor == 0:
        return
    valid = divisors(number)
    below = [each for each in valid if each < divisor][-1:]
    above = [each for each in valid if each > divisor][:1]
    nearest = " or ".join(str(each) for each in (*below, *above))
    raise BudgetError(f"{name} divides {of}, but {divisor} does not divide {number}: take {nearest}")


def check_multiple(number: int, name: str, unit: int, of: str) -> None:
    """Check that one count is a multiple of another.

    Raises:
        BudgetError: it is not; the message names the nearest multiples.
    """
    if number % unit == 0:
        return
    below = number // unit * unit
    nearest = " or ".join(str(each) for each in (below, below + unit) if each)
    raise BudgetError(f"{name} is a multiple of {of}, but {number} is not one of {unit}: take {nearest}")
