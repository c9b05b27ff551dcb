"""Splits: in time order, a horizon apart, covering everything else."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from studies.data.splits import MINIMUM_DECISIONS, decisions_needed, purged_splits
from studies.errors import DataError

FRACTIONS = st.floats(0.05, 0.45)


@given(n_decisions=st.integers(1, 5000), horizon=st.integers(1, 60), validation=FRACTIONS, test=FRACTIONS)
def test_parts_follow_each_other_with_a_gap_of_exactly_the_horizon(
    n_decisions: int, horizon: int, validation: float, test: float
) -> None:
    assume(n_decisions >= decisions_needed(horizon, validation, test))
    splits = purged_splits(n_decisions, horizon, validation, test)
    assert splits.train.start == 0
    assert splits.validation.start - splits.train.stop == horizon
    assert splits.test.start - splits.validation.stop == horizon
    assert splits.test.stop == n_decisions
    assert min(map(len, (splits.train, splits.validation, splits.test))) >= MINIMUM_DECISIONS


@given(horizon=st.integers(1, 60))
def test_no_label_of_a_part_uses_prices_of_the_next_parts_first_decision(horizon: int) -> None:
    splits = purged_splits(1000, horizon)
    assert splits.train[-1] + horizon < splits.validation[0]
    assert splits.validation[-1] + horizon < splits.test[0]


@given(horizon=st.integers(1, 30), validation=FRACTIONS, test=FRACTIONS)
def test_one_decision_fewer_than_needed_is_refused(horizon: int, validation: float, test: float) -> None:
    needed = decisions_needed(horizon, validation, test)
    purged_splits(needed, horizon, validation, test)
    with pytest.raises(DataError, match=f"{needed - 1} decisions are too few, {needed} are needed"):
        purged_splits(needed - 1, horizon, validation, test)


@pytest.mark.parametrize("fractions", [(0.0, 0.15), (0.15, -0.1), (0.5, 0.5), (0.9, 0.2), (float("nan"), 0.1)])
def test_impossible_fractions_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="fractions"):
        purged_splits(1000, 1, *fractions)


def test_default_fractions_leave_seventy_percent_for_train() -> None:
    splits = purged_splits(1002, 1)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (700, 150, 150)


def test_shifted_splits_keep_their_lengths_and_gaps() -> None:
    splits = purged_splits(1000, 5)
    later = splits.shifted(79)
    assert later.train == range(79, splits.train.stop + 79)
    assert later.test.stop == 1079
