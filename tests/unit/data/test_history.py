"""What is known at a decision, from a bounded history."""

import numpy as np
import pytest
from ensembles import SERIES, make_input, make_prices

from studies.data.history import History
from studies.data.known_values import TrainScaler, compute_known
from studies.data.panel import build_panel
from studies.data.prices import PriceTable, check_prices
from studies.ensemble_file import InputPart
from studies.errors import DataError
from studies.replay import LiveHistory


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return check_prices(make_prices(600), "prices")


@pytest.mark.parametrize(("kind", "horizon", "tier"), [("touch", 1, "a20"), ("close", 3, "a20"), ("touch", 2, "none")])
def test_a_window_of_the_whole_history_is_that_of_the_panel(
    table: PriceTable, kind: str, horizon: int, tier: str
) -> None:
    settings = {"tier": tier, "horizon": horizon, "threshold": 0.005, "kind": kind}
    panel = build_panel(table, window=10, **settings)
    history = History.of(table, panel.series)
    start = len(history) - len(panel.dates)
    known = compute_known(table, history.dates, tier, horizon, 0.005, kind)
    scaler = TrainScaler.of(known.features[start : start + panel.splits.train.stop + horizon])
    # All rows up to the decision: nothing is bounded, so everything must be equal to the bit.
    decision = panel.splits.validation.start
    rows = start + decision + 1
    given = make_input(
        **settings, history_rows=rows, mean=scaler.mean.tolist(), deviation=scaler.deviation.tolist(), window=10
    )
    labels, features = InputPart.model_validate(given).rules.window_of(history.last_rows(rows, rows))
    assert np.array_equal(labels, panel.labels[decision - 9 : decision + 1])
    np.testing.assert_allclose(features, panel.features[decision - 9 : decision + horizon + 1], atol=1e-5)


def test_what_follows_a_decision_changes_nothing(table: PriceTable) -> None:
    rules = InputPart.model_validate(make_input()).rules
    history = History.of(table, SERIES)
    end = 450
    changed = History(history.series, history.dates, history.bars.copy())
    changed.bars[end:] *= np.random.default_rng(0).uniform(0.5, 2, changed.bars[end:].shape)
    before, after = (each.last_rows(end, rules.rows) for each in (history, changed))
    for one, other in zip(rules.window_of(before), rules.window_of(after), strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_live_buffer_holds_the_last_rows_and_never_more_than_twice_as_many(table: PriceTable) -> None:
    history = History.of(table, SERIES)
    live = LiveHistory(SERIES, 100)
    for row in range(len(history)):
        live.add(history.dates[row], history.bars[row])
        assert live.is_full == (row >= 99)
        if row in {99, 150, 199, 200, 201, 599}:
            expected, found = history.last_rows(row + 1, 100), live.history()
            assert np.array_equal(found.dates, expected.dates)
            assert found.bars.tobytes() == expected.bars.tobytes()
    assert len(live._bars) == 200


def test_bars_out_of_order_are_refused() -> None:
    live = LiveHistory(("A",), 3)
    live.add(np.datetime64("2020-01-02", "ns"), np.ones((1, 5)))
    with pytest.raises(ValueError, match="in the order of time"):
        live.add(np.datetime64("2020-01-02", "ns"), np.ones((1, 5)))


def test_other_series_are_left_out_and_dates_that_not_all_have() -> None:
    frame = make_prices(300, ("A", "B", "Z"))
    missing = frame["ds"].unique()[7]
    frame = frame[~((frame["unique_id"] == "B") & (frame["ds"] == missing))]
    history = History.of(check_prices(frame, "prices"), SERIES)
    assert (history.series, len(history)) == (SERIES, 299)
    assert np.datetime64(missing) not in history.dates


def test_a_missing_series_is_named() -> None:
    with pytest.raises(DataError, match="lacks B and has A"):
        History.of(check_prices(make_prices(50, ("A",)), "prices"), SERIES)


def test_series_that_share_no_date_are_refused() -> None:
    frame = make_prices(50)
    frame.loc[frame["unique_id"] == "B", "ds"] += np.timedelta64(3650, "D")
    with pytest.raises(DataError, match="share dates"):
        History.of(check_prices(frame, "prices"), SERIES)
