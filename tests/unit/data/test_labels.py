"""Labels look ahead by the horizon, and are stored when that is over."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.data.labels import close_labels, store_when_known, touch_labels

CLOSE = np.array([100.0, 100.0, 102.0, 101.0, 100.0])
HIGH = np.array([101.0, 100.5, 103.0, 102.5, 101.5])


def test_a_touch_is_the_high_of_the_next_rows_and_never_todays() -> None:
    np.testing.assert_array_equal(touch_labels(HIGH, CLOSE, 1, 0.01), [0, 1, 0, 0, np.nan])


def test_a_longer_horizon_takes_the_highest_of_all_its_rows() -> None:
    np.testing.assert_array_equal(touch_labels(HIGH, CLOSE, 2, 0.01), [1, 1, 0, np.nan, np.nan])


def test_a_close_label_compares_with_the_last_row_of_the_horizon() -> None:
    np.testing.assert_array_equal(close_labels(CLOSE, 1, 0.01), [0, 1, 0, 0, np.nan])
    np.testing.assert_array_equal(close_labels(CLOSE, 2, 0.01), [1, 1, 0, np.nan, np.nan])


def test_a_rise_of_exactly_the_threshold_counts() -> None:
    assert close_labels(np.array([100.0, 150.0]), 1, 0.5)[0] == 1
    assert touch_labels(np.array([100.0, 150.0]), np.array([100.0, 120.0]), 1, 0.5)[0] == 1


@pytest.mark.parametrize("horizon", [5, 9])
def test_fewer_rows_than_the_horizon_have_no_labels(horizon: int) -> None:
    assert np.isnan(touch_labels(HIGH, CLOSE, horizon, 0.01)).all()
    assert np.isnan(close_labels(CLOSE, horizon, 0.01)).all()


@given(rows=st.integers(1, 30), horizon=st.integers(1, 40))
def test_a_stored_value_stands_a_horizon_after_its_decision(rows: int, horizon: int) -> None:
    values = np.arange(rows * 2, dtype=float).reshape(rows, 2)
    stored = store_when_known(values, horizon)
    assert stored.shape == values.shape
    assert np.isnan(stored[:horizon]).all()
    for decision in range(rows - horizon):
        np.testing.assert_array_equal(stored[decision + horizon], values[decision])
