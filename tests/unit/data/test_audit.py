"""The audit refuses what knows the future, and nothing that doesn't."""

import numpy as np
import pandas as pd
import pytest

from studies.data.audit import audit_causality, audit_leaks, lead_curves
from studies.data.examples import load_example
from studies.data.indicators import TIERS, compute_indicators
from studies.data.labels import close_labels, store_when_known, touch_labels
from studies.errors import DataError

INDICES = load_example("indices")
SP500 = INDICES.one_series("SP500")
HIGH, CLOSE = SP500["high"].to_numpy(), SP500["close"].to_numpy()
RETURN = np.diff(np.log(CLOSE), prepend=np.nan)
TRAIN = slice(280, 3500)
TARGETS = [("touch", 1, 0.01), ("touch", 1, 0.005), ("close", 1, 0.0), ("touch", 5, 0.02), ("touch", 20, 0.03)]


def stored_labels(kind: str, horizon: int, threshold: float, high: np.ndarray = HIGH, close: np.ndarray = CLOSE):  # noqa: ANN201
    labels = (
        touch_labels(high, close, horizon, threshold) if kind == "touch" else close_labels(close, horizon, threshold)
    )
    return store_when_known(labels, horizon)


def audit(column: np.ndarray, target: tuple[str, int, float], rows: slice = TRAIN) -> tuple[str, ...]:
    labels = stored_labels(*target)[rows]
    return audit_leaks(column[rows, None], labels, target[1], names=("planted",), origin="a file")


@pytest.fixture(scope="module")
def indicators() -> dict[str, np.ndarray]:
    return {name: compute_indicators(INDICES.one_series(name), "a200").to_numpy() for name in INDICES.series}


@pytest.mark.parametrize("rows", [TRAIN, slice(280, 680), slice(2200, 3200)])
@pytest.mark.parametrize("target", [*TARGETS, ("touch", 1, 0.02), ("touch", 20, 0.05), ("close", 5, 0.0)])
def test_no_indicator_of_real_prices_is_refused(
    indicators: dict[str, np.ndarray], target: tuple[str, int, float], rows: slice
) -> None:
    for name, values in indicators.items():
        prices = INDICES.one_series(name)
        labels = stored_labels(*target, prices["high"].to_numpy(), prices["close"].to_numpy())
        known = store_when_known(values, target[1])
        assert audit_leaks(known[rows], labels[rows], target[1], names=TIERS["a200"]) is not None


def test_the_best_indicator_ranks_a_touch_of_the_next_day_at_three_quarters_at_most(
    indicators: dict[str, np.ndarray],
) -> None:
    curves = lead_curves(store_when_known(indicators["SP500"], 1)[TRAIN], stored_labels("touch", 1, 0.01)[TRAIN], 1)
    assert curves is not None
    best = np.abs(curves.auc[curves.leads <= 0] - 0.5).max() + 0.5
    assert 0.70 < best < 0.76


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("planted", ["return", "close", "high over close"])
def test_a_planted_value_of_the_next_day_is_refused(target: tuple[str, int, float], planted: str) -> None:
    values = {
        "return": np.append(RETURN[1:], 0.0),
        "close": np.append(CLOSE[1:], 0.0),
        "high over close": np.append(HIGH[1:], 0.0) / CLOSE,
    }[planted]
    with pytest.raises(DataError, match="planted of a file"):
        audit(store_when_known(values, target[1]), target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("days", [-3, -1, 0])
def test_a_label_that_is_stored_too_early_is_refused(target: tuple[str, int, float], days: int) -> None:
    with pytest.raises(DataError, match="foresee"):
        audit(np.roll(stored_labels(*target), days), target)


@pytest.mark.parametrize("days", [1, 2, 4])
def test_a_label_of_an_earlier_decision_that_is_not_over_yet_is_refused(days: int) -> None:
    with pytest.raises(DataError, match="foresee"):
        audit(np.roll(stored_labels("touch", 5, 0.02), days), ("touch", 5, 0.02))


@pytest.mark.parametrize("target", TARGETS)
def test_a_label_that_is_known_by_then_passes(target: tuple[str, int, float]) -> None:
    assert audit(store_when_known(stored_labels(*target), target[1]), target) == ()


@pytest.mark.parametrize("target", TARGETS)
def test_a_return_that_was_not_stored_later_is_refused(target: tuple[str, int, float]) -> None:
    with pytest.raises(DataError, match=f"store at each row what was known {target[1]} rows before"):
        audit(RETURN, target)


@pytest.mark.parametrize("target", TARGETS)
def test_the_sign_of_a_planted_column_does_not_hide_it(target: tuple[str, int, float]) -> None:
    with pytest.raises(DataError, match="foresee"):
        audit(-store_when_known(np.append(RETURN[1:], 0.0), target[1]), target)


def test_too_few_runs_of_positives_are_a_notice() -> None:
    labels = np.zeros(400)
    labels[100:130] = 1
    notices = audit_leaks(labels[:, None], labels, 1, names=("copy",), origin="a file")
    assert notices[0].startswith("a file: too few separate runs")


def test_indicators_pass_recomputation_from_truncated_prices() -> None:
    seen: list[int] = []

    def compute(prices: pd.DataFrame) -> pd.DataFrame:
        seen.append(len(prices))
        return compute_indicators(prices, "a20")

    audit_causality(compute, SP500.iloc[:900], (300, 600))
    assert sorted(seen) == [301, 601, 900]


@pytest.mark.parametrize(
    "compute",
    [
        lambda prices: prices["close"].shift(-1),
        lambda prices: prices["close"] / prices["close"].mean(),
        lambda prices: prices["close"].rolling(5, center=True).mean(),
        lambda prices: prices["close"].bfill().where(prices["volume"].cumsum() < prices["volume"].sum()),
    ],
)
def test_a_feature_that_uses_later_prices_is_named_with_its_date(compute) -> None:  # noqa: ANN001
    def features(prices: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"honest": prices["open"], "leaky": compute(prices)})

    with pytest.raises(DataError, match=r"leaky on 200\d-\d\d-\d\d"):
        audit_causality(features, SP500.iloc[280:900], (300,))
