"""Indicators: nested tiers of finite, distinct, causal columns that are free of scale."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.data.bars import Bars
from studies.data.examples import load_example
from studies.data.indicators import MAXIMUM_WARM_UP, TIERS, compute_indicators
from studies.data.weekly import weekly_rsi, weekly_stochastic_rsi
from studies.errors import DataError

INDICES = load_example("indices")
SP500 = INDICES.one_series("SP500")
WARM_UP_ROWS = {"none": 0, "a20": 199, "a50": 199, "a100": 250, "a200": 250}


@pytest.fixture(scope="module", params=INDICES.series)
def largest(request: pytest.FixtureRequest) -> pd.DataFrame:
    return compute_indicators(INDICES.one_series(request.param), "a200")


@pytest.mark.parametrize(("tier", "size"), [("none", 0), ("a20", 20), ("a50", 50), ("a100", 100), ("a200", 200)])
def test_a_tier_has_exactly_its_number_of_distinct_columns(tier: str, size: int) -> None:
    assert len(TIERS[tier]) == len(set(TIERS[tier])) == size


def test_each_tier_starts_with_the_one_below() -> None:
    sizes = sorted(TIERS.values(), key=len)
    for smaller, larger in pairwise(sizes):
        assert larger[: len(smaller)] == smaller


def test_a_column_is_the_same_in_every_tier() -> None:
    largest = compute_indicators(SP500, "a200")
    for tier in ("a20", "a50", "a100"):
        pd.testing.assert_frame_equal(compute_indicators(SP500, tier), largest[list(TIERS[tier])])


@pytest.mark.parametrize("tier", list(TIERS))
def test_the_warm_up_of_a_tier_is_known(tier: str) -> None:
    values = compute_indicators(SP500, tier)
    assert len(values) == len(SP500)
    finite = np.isfinite(values.to_numpy()).all(axis=1)
    assert int(np.argmax(finite)) == WARM_UP_ROWS[tier] <= MAXIMUM_WARM_UP


def test_all_columns_stay_finite_after_the_warm_up(largest: pd.DataFrame) -> None:
    assert np.isfinite(largest.iloc[MAXIMUM_WARM_UP:].to_numpy()).all()
    assert (largest.dtypes == "float64").all()


def test_no_column_is_constant_or_nearly_another(largest: pd.DataFrame) -> None:
    values = largest.iloc[MAXIMUM_WARM_UP:].to_numpy()
    assert (values.std(axis=0) > 1e-9).all()
    correlation = np.abs(np.corrcoef(values.T))
    np.fill_diagonal(correlation, 0)
    assert correlation.max() < 0.9999


@pytest.mark.parametrize("scaled", [["open", "high", "low", "close"], ["volume"]])
def test_ten_times_the_prices_or_the_volume_changes_nothing(scaled: list[str]) -> None:
    prices = SP500.iloc[:1500]
    larger = prices.copy()
    larger[scaled] *= 10
    before, after = compute_indicators(prices, "a200"), compute_indicators(larger, "a200")
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-9)


@settings(deadline=None, max_examples=8)
@given(time=st.integers(0, 1198), factor=st.floats(0.5, 2.0))
def test_changing_the_prices_after_a_time_changes_nothing_up_to_it(time: int, factor: float) -> None:
    prices = SP500.iloc[:1200]
    changed = prices.copy()
    changed.iloc[time + 1 :] *= factor
    before, after = compute_indicators(prices, "a200"), compute_indicators(changed, "a200")
    pd.testing.assert_frame_equal(after.iloc[: time + 1], before.iloc[: time + 1], check_exact=True)


@pytest.mark.parametrize("halted_from", [0, 250])
def test_a_halted_series_without_volume_stays_finite(halted_from: int) -> None:
    prices = SP500.iloc[:600].copy()
    prices.iloc[halted_from:, :4] = prices["close"].iloc[halted_from]
    prices.iloc[halted_from:, 4] = 0.0
    indicators = compute_indicators(prices, "a200")
    assert np.isfinite(indicators.iloc[MAXIMUM_WARM_UP:].to_numpy()).all()


def test_few_rows_give_only_warm_up() -> None:
    assert compute_indicators(SP500.iloc[:2], "a200")["return_250"].isna().all()


def test_an_unknown_tier_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="one of none, a20, a50, a100, a200: 'a30' is not"):
        compute_indicators(SP500, "a30")


def test_on_the_last_day_of_a_week_the_weekly_rsi_is_that_of_weekly_bars() -> None:
    bars = Bars.from_frame(SP500)
    last_days = np.append(np.flatnonzero(np.diff(bars.week)), len(bars.week) - 1)
    expected = talib.RSI(bars.close[last_days], 14)
    expected[14] = np.nan  # the running week is a step from averages over completed weeks: one week later
    np.testing.assert_allclose(weekly_rsi(bars, 14)[last_days], expected, rtol=1e-9)


def test_the_weekly_stochastic_rsi_is_today_within_thirteen_weeks_and_this_one() -> None:
    bars = Bars.from_frame(SP500.iloc[:1001])
    strength = weekly_rsi(bars, 14)
    weeks = np.unique(bars.week)
    ends = [np.flatnonzero(bars.week == week)[-1] for week in weeks[-14:-1]]
    window = [*strength[ends], strength[-1]]
    expected = (strength[-1] - min(window)) / (max(window) - min(window))
    assert weekly_stochastic_rsi(bars, 14)[-1] == pytest.approx(expected)


def test_weeks_begin_on_monday() -> None:
    days = pd.bdate_range("2020-01-03", periods=3)  # Friday, Monday, Tuesday
    frame = pd.DataFrame(1.0, index=days, columns=["open", "high", "low", "close", "volume"])
    assert np.diff(Bars.from_frame(frame).week).tolist() == [1, 0]


def test_the_data_package_imports_neither_torch_nor_neuralforecast() -> None:
    code = (
        "import sys, studies.data.panel, studies.data.examples; "
        "assert not {'torch', 'neuralforecast', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
