"""The trading rule, by hand."""

import math

import numpy as np
import pytest

from studies.trading import bars_in_a_year, performance


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_costs_are_paid_on_entering_on_leaving_and_at_the_end() -> None:
    closes, held = column(100, 110, 99, 99), np.array([[True], [False], [True]])
    found = performance(closes, held, cost=0.01, bars_a_year=252)
    # In at the first close, out at the second, in at the third and out at the last.
    assert found.total_return == pytest.approx((1 + 0.10 - 0.01) * (1 - 0.01) * (1 + 0.0 - 0.02) - 1)
    assert (found.trades, found.bars) == (2, 3)
    assert found.exposure == pytest.approx(2 / 3)


def test_holding_earns_the_price_less_one_entry_and_one_exit() -> None:
    closes = column(100, 110, 121)
    found = performance(closes, np.ones((2, 1), dtype=bool), cost=0.001, bars_a_year=252)
    assert found.total_return == pytest.approx((1.1 - 0.001) ** 2 - 1)
    assert performance(closes, np.ones((2, 1), dtype=bool), 0.0, 252).total_return == pytest.approx(0.21)


def test_capital_is_divided_equally_among_the_series() -> None:
    closes = np.array([[100.0, 100.0], [120.0, 100.0]])
    held = np.array([[True, False]])
    assert performance(closes, held, 0.0, 252).total_return == pytest.approx(0.10)


def test_the_sharpe_ratio_is_the_annual_one() -> None:
    closes = column(100, 101, 100, 102)
    returns = closes[1:, 0] / closes[:-1, 0] - 1
    found = performance(closes, np.ones((3, 1), dtype=bool), 0.0, bars_a_year=252)
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(252))


def test_who_never_trades_has_no_sharpe_ratio_and_pays_nothing() -> None:
    found = performance(column(100, 90, 80), np.zeros((2, 1), dtype=bool), 0.01, 252)
    assert (found.sharpe, found.total_return, found.trades) == (None, 0.0, 0)


def test_one_bar_earns_nothing() -> None:
    assert performance(column(100), np.zeros((0, 1), dtype=bool), 0.01, 252).bars == 0


def test_trading_days_are_some_252_a_year_and_hours_more() -> None:
    days = np.arange("2019-01-01", "2021-01-01", dtype="datetime64[D]")
    assert bars_in_a_year(np.array(days[np.is_busday(days)], dtype="datetime64[ns]")) == pytest.approx(261, abs=1)
    hours = np.arange("2019-01-01", "2020-01-01", dtype="datetime64[h]").astype("datetime64[ns]")
    assert bars_in_a_year(hours) == pytest.approx(8766, abs=1)
