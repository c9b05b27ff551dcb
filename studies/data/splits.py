"""Train, validation and test by time, with a gap between them that no label crosses."""

from dataclasses import dataclass
from math import ceil

from studies.errors import DataError

#: Fewer decisions than this in a part say nothing, whatever the model.
MINIMUM_DECISIONS = 20

#: The smallest share of the decisions that may be asked for a part.
MINIMUM_SHARE = 0.01


@dataclass(frozen=True)
class Splits:
    """Decisions of each part, in time order; the numbers are rows of whatever was split."""

    train: range
    validation: range
    test: range

    def shifted(self, offset: int) -> "Splits":
        """The same parts, `offset` rows later."""
        moved = (range(part.start + offset, part.stop + offset) for part in (self.train, self.validation, self.test))
        return Splits(*moved)


def purged_splits(
    n_decisions: int, horizon: int, validation_fraction: float = 0.15, test_fraction: float = 0.15
) -> Splits:
    """Split decisions by time, dropping the H between consecutive parts.

    The label of a decision at t uses prices up to t+H. The first decision of a part follows the last one of
    the part before by H+1 rows, so every label of a part uses prices from strictly before the first decision
    of the next part, never of it or after it.

    Args:
        n_decisions: Consecutive decisions, one a row.
        horizon: H, rows that a label looks ahead, at least 1.
        validation_fraction: Share of the decisions that are left after both gaps, rounded down.
        test_fraction: Likewise; train takes the rest.

    Raises:
        DataError: a fraction is impossible, or a part would have fewer than `MINIMUM_DECISIONS`.
    """
    needed = decisions_needed(horizon, validation_fraction, test_fraction)
    if n_decisions < needed:
        raise DataError(
            f"train, validation and test need {MINIMUM_DECISIONS} decisions each and gaps of {horizon}: "
            f"{n_decisions} decisions are too few, {needed} are needed; give more rows or a shorter horizon"
        )
    n_train, n_validation, _ = _sizes(n_decisions - 2 * horizon, validation_fraction, test_fraction)
    validation_start = n_train + horizon
    test_start = validation_start + n_validation + horizon
    return Splits(
        train=range(n_train),
        validation=range(validation_start, validation_start + n_validation),
        test=range(test_start, n_decisions),
    )


def decisions_needed(horizon: int, validation_fraction: float, test_fraction: float) -> int:
    """The fewest decisions from which on `purged_splits` succeeds.

    Raises:
        DataError: the fractions leave no part for train, validation or test.
    """
    shares = (validation_fraction, test_fraction, 1 - validation_fraction - test_fraction)
    if not all(share >= MINIMUM_SHARE for share in shares):
        raise DataError(
            f"validation and test fractions and what they leave for train must be {MINIMUM_SHARE:g} or more: "
            f"{validation_fraction:g} and {test_fraction:g} are not so; 0.15 and 0.15 are usual"
        )
    usable = ceil(MINIMUM_DECISIONS / min(shares))
    while min(_sizes(usable, validation_fraction, test_fraction)) < MINIMUM_DECISIONS:
        usable += 1  # 20 / 0.15 · 0.15 may round down to 19
    return usable + 2 * horizon


def _sizes(usable: int, validation_fraction: float, test_fraction: float) -> tuple[int, int, int]:
    n_validation, n_test = int(usable * validation_fraction), int(usable * test_fraction)
    return usable - n_validation - n_test, n_validation, n_test
