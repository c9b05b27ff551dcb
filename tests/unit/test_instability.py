"""The spread of a metric over batches, and which trials swing."""

import json
import math
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.instability import LEAST_PEERS, BatchSwing, unstable
from studies.spread import BatchSpread


def spread_of(values: list[float]) -> BatchSpread:
    spread = BatchSpread()
    for value in values:
        spread.add(value)
    return spread


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50))
def test_the_spread_is_that_of_the_values(values: list[float]) -> None:
    spread = spread_of(values)
    assert (spread.count, spread.low, spread.high) == (len(values), min(values), max(values))
    assert spread.mean == pytest.approx(fmean(values), abs=1e-9)
    assert spread.deviation == pytest.approx(stdev(values), abs=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.integers(0, 20))
def test_a_resumed_training_goes_on_counting(values: list[float], cut: int) -> None:
    resumed = BatchSpread.from_state(spread_of(values[:cut]).state())
    for value in values[cut:]:
        resumed.add(value)
    assert resumed == spread_of(values)


def test_batches_without_a_value_are_left_out() -> None:
    assert spread_of([0.5, math.nan, 0.7]).count == 2
    assert spread_of([0.5]).as_attributes() == {}


def swings(*deviations: float, batch: int = 64) -> list[BatchSwing]:
    return [BatchSwing(number, "sharpe", batch, deviation) for number, deviation in enumerate(deviations)]


def test_a_trial_that_swings_far_more_than_its_peers_is_found() -> None:
    (found,) = unstable(swings(0.05, 0.051, 0.049, 0.052, 0.05, 0.048, 0.2))
    assert (found.swing.number, found.peers) == (6, 6)
    assert found.usual == pytest.approx(0.05)


def test_the_spread_of_the_failed_experiment_is_found_among_runs_with_its_batch() -> None:
    # 0.38 wide against 0.22, by a quarter of the batch: were the batch the same, that would be no peer's spread.
    usual, failed = 0.22 / 4, 0.38 / 4 * 1.2
    assert [found.swing.number for found in unstable(swings(*[usual] * 6, failed))] == [6]


@pytest.mark.parametrize("deviations", [(0.05,) * LEAST_PEERS, (0.05, 0.2), (), (0.05, 0.06, 0.07, 0.08, 0.09, 0.1)])
def test_few_peers_or_a_usual_spread_are_no_finding(deviations: tuple[float, ...]) -> None:
    assert unstable(swings(*deviations)) == []


def test_only_trials_with_the_same_batch_are_peers() -> None:
    assert unstable([*swings(*[0.05] * 7, batch=64), *swings(*[0.4] * 7, batch=4)]) == []


def test_a_spread_that_is_no_number_is_not_stored() -> None:
    found = spread_of([1e200, -1e200, 1e200]).as_attributes()
    assert "batch_metric_std" not in found
    json.dumps(found, allow_nan=False)
