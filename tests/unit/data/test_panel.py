"""Panels: aligned, stored when known, split, scaled by train, and saved whole."""

from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.data.examples import load_example
from studies.data.indicators import TIERS, compute_indicators
from studies.data.labels import touch_labels
from studies.data.panel import Panel, build_panel, cut_before_test, load_panel, panel_fingerprint, save_panel
from studies.data.prices import PriceTable, check_prices, load_prices
from studies.errors import DataError
from studies.windows import Windows

INDICES = load_example("indices")
SP500_PRICES = tuple(INDICES.one_series("SP500")[name].to_numpy() for name in ("high", "close"))
SHORT = replace(INDICES, frame=INDICES.frame[INDICES.frame["ds"] < "2003-01-01"].reset_index(drop=True))


def one_series(rows: int, name: str = "SP500") -> PriceTable:
    frame = INDICES.frame[INDICES.frame["unique_id"] == name].iloc[:rows]
    return check_prices(frame, "prices.csv")


def ready_file(directory: Path, rows: int = 1500, **planted: np.ndarray) -> Path:
    """Two honest features and a touch label of the next day, stored when known, beside what is planted."""
    prices = INDICES.one_series("SP500").iloc[:rows]
    label = touch_labels(prices["high"].to_numpy(), prices["close"].to_numpy(), 1, 0.01)
    frame = pd.DataFrame({"unique_id": "SP500", "ds": prices.index, "y": np.append(np.nan, label[:-1])})
    honest = compute_indicators(prices, "a20")[["rsi_14", "average_true_range_14"]].shift(1)
    frame = pd.concat([frame, honest.reset_index(drop=True), pd.DataFrame(planted)], axis=1).dropna()
    path = directory / "ready.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def panel() -> Panel:
    return build_panel(SHORT, tier="a20", horizon=3, threshold=0.02, window=40)


def test_without_indicators_the_labels_alone_are_kept(tmp_path: Path) -> None:
    options: dict[str, Any] = {"horizon": 3, "threshold": 0.02, "window": 40}
    panel, with_indicators = (build_panel(SHORT, tier=tier, **options) for tier in ("none", "a20"))
    assert panel.feature_names == ()
    assert panel.features.shape == (len(panel.dates), 2, 0)
    # No indicator has to warm up: only the first labels are not known yet.
    assert len(panel.dates) == SHORT.frame["ds"].nunique() - 3
    np.testing.assert_array_equal(panel.labels[-len(with_indicators.dates) :], with_indicators.labels)
    save_panel(panel, tmp_path / "panel")
    loaded = load_panel(tmp_path / "panel")
    assert loaded.features.shape == panel.features.shape
    np.testing.assert_array_equal(loaded.labels, panel.labels)
    inputs, targets = Windows(cut_before_test(loaded)).at(np.asarray([50, 60]))
    assert inputs["futr_exog"].shape == (2, 0, 43, 2)
    np.testing.assert_array_equal(targets.numpy(), panel.labels[[53, 63]])


def test_the_features_of_a_ready_file_are_left_out_on_request(tmp_path: Path) -> None:
    # A copy of the future that is not looked at is not refused.
    known = np.roll(touch_labels(*SP500_PRICES, 1, 0.01), -1)
    table = load_prices(ready_file(tmp_path, 1500, planted=known[:1500]))
    assert build_panel(table, tier="none").feature_names == ()
    with pytest.raises(DataError, match="planted"):
        build_panel(table, tier="a20")
    fingerprints = [panel_fingerprint(table, tier=tier) for tier in ("none", "a20", "a50")]
    assert fingerprints[0] != fingerprints[1] == fingerprints[2]


def test_shapes_types_and_names(panel: Panel) -> None:
    assert panel.series == ("NASDAQ", "SP500")
    assert panel.feature_names == TIERS["a20"]
    assert panel.features.shape == (len(panel.dates), 2, 20)
    assert panel.labels.shape == (len(panel.dates), 2)
    assert panel.features.dtype == panel.labels.dtype == np.float32
    assert panel.dates.dtype == "datetime64[ns]"
    assert np.isfinite(panel.features).all()
    assert set(np.unique(panel.labels)) == {0.0, 1.0}
    assert panel.notices == ()


def test_a_row_holds_the_label_and_the_features_of_a_horizon_before(panel: Panel) -> None:
    prices = INDICES.one_series("SP500")
    row = 300
    decision = int(np.flatnonzero(prices.index == panel.dates[row - 3])[0])
    rise = prices["high"].iloc[decision + 1 : decision + 4].max() >= prices["close"].iloc[decision] * 1.02
    assert panel.labels[row, 1] == float(rise)
    raw = compute_indicators(prices, "a20").loc[panel.dates]
    before = raw["rsi_14"].to_numpy()[:-3]
    assert np.corrcoef(panel.features[3:, 1, TIERS["a20"].index("rsi_14")], before)[0, 1] > 0.9999


def test_decisions_fill_the_panel_and_keep_the_gaps(panel: Panel) -> None:
    assert panel.splits.train.start == panel.window - 1
    assert panel.splits.validation.start == panel.splits.train.stop + panel.horizon
    assert panel.splits.test.start == panel.splits.validation.stop + panel.horizon
    assert panel.splits.test[-1] + panel.horizon == len(panel.dates) - 1


def test_scaling_is_fitted_on_the_rows_that_train_sees(panel: Panel) -> None:
    train = panel.features[: panel.splits.train.stop + panel.horizon].astype(np.float64)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=0.05)
    assert np.abs(panel.features).max() <= 10


def test_base_rates_are_shares_of_positive_targets(panel: Panel) -> None:
    part = panel.splits.validation
    targets = panel.labels[np.array(part) + panel.horizon]
    assert panel.base_rates["validation"] == pytest.approx(targets.mean())
    assert set(panel.base_rates) == {"train", "validation", "test"}


@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_changing_the_prices_after_a_decision_changes_nothing_that_it_sees(panel: Panel, data: st.DataObject) -> None:
    decision = data.draw(st.sampled_from([*panel.splits.validation, *panel.splits.test]))
    factor = data.draw(st.floats(0.7, 1.4))
    frame = SHORT.frame.copy()
    later = frame["ds"] > panel.dates[decision]
    frame.loc[later, ["open", "high", "low", "close", "volume"]] *= factor
    changed = build_panel(replace(SHORT, frame=frame), tier="a20", horizon=3, threshold=0.02, window=40)
    seen = decision + 1
    np.testing.assert_array_equal(changed.labels[:seen], panel.labels[:seen])
    np.testing.assert_array_equal(changed.features[: seen + 3], panel.features[: seen + 3])


def test_the_last_train_target_is_known_before_the_first_validation_decision(panel: Panel) -> None:
    frame = SHORT.frame.copy()
    first = panel.dates[panel.splits.validation.start]
    frame.loc[frame["ds"] >= first, ["open", "high", "low", "close"]] *= 1.3
    changed = build_panel(replace(SHORT, frame=frame), tier="a20", horizon=3, threshold=0.02, window=40)
    train_end = panel.splits.train.stop + panel.horizon
    np.testing.assert_array_equal(changed.labels[:train_end], panel.labels[:train_end])
    np.testing.assert_array_equal(changed.features[:train_end], panel.features[:train_end])


def test_the_panel_without_test_ends_where_the_last_validation_target_is_known(panel: Panel) -> None:
    cut = cut_before_test(panel)
    end = panel.splits.validation[-1] + panel.horizon + 1
    assert len(cut.dates) == len(cut.features) == len(cut.labels) == end
    assert cut.splits.validation == panel.splits.validation
    assert len(cut.splits.test) == 0
    assert "test" not in cut.base_rates
    assert cut.features.base is None
    assert cut.labels.base is None


def test_dates_that_not_all_series_have_are_dropped_with_a_notice() -> None:
    frame = SHORT.frame.drop(index=SHORT.frame.index[[5, 6, -1]])
    table = check_prices(frame, "prices.csv")
    built = build_panel(table, window=10)
    assert built.notices == ("prices.csv: dropped 3 dates that not all 2 series have",)


def test_series_without_common_dates_are_refused() -> None:
    frame = SHORT.frame.copy()
    frame.loc[frame["unique_id"] == "SP500", "ds"] += pd.Timedelta(hours=1)
    with pytest.raises(DataError, match=r"the 2 series of prices.csv have none in common"):
        build_panel(check_prices(frame, "prices.csv"))


@pytest.mark.parametrize("rows", [1, 150, 300, 400])
def test_too_few_rows_say_how_many_are_needed(rows: int) -> None:
    with pytest.raises(DataError, match=rf"need \d+ rows a series: prices.csv gives {rows} "):
        build_panel(one_series(rows))


def test_the_rows_that_are_said_to_be_needed_suffice() -> None:
    with pytest.raises(DataError) as caught:
        build_panel(one_series(400), threshold=0.002)
    needed = int(str(caught.value).split(" need ")[1].split()[0])
    assert len(build_panel(one_series(needed), threshold=0.002).splits.validation) == 20
    with pytest.raises(DataError, match=f"need {needed} rows"):
        build_panel(one_series(needed - 1), threshold=0.002)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tier": "a30"}, "a tier must be one of"),
        ({"kind": "low"}, "kind must be one of touch, close: 'low' is not"),
        ({"horizon": 0}, "horizon must be at least 1 row: 0 is not"),
        ({"window": 0}, "window must be at least 1 row: 0 is not"),
        ({"threshold": float("nan")}, "threshold must be a share"),
        ({"validation_fraction": 0.9}, "validation and test fractions"),
        ({"threshold": 0.5}, "in train of prices.csv the base rate is 0; lower the threshold 0.5"),
        ({"threshold": -0.5}, "in train of prices.csv the base rate is 1; raise the threshold -0.5"),
    ],
)
def test_an_impossible_setting_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        build_panel(one_series(900), **wrong)
    assert "\n" not in str(caught.value)


def test_equal_labels_in_validation_alone_are_refused() -> None:
    frame = one_series(900).frame.copy()
    frame.loc[600:, ["open", "high", "low", "close"]] = 1000.0
    with pytest.raises(DataError, match=r"in validation of prices.csv the base rate is 0; lower"):
        build_panel(check_prices(frame, "prices.csv"))


def test_a_feature_that_is_constant_in_train_becomes_zero_with_a_notice() -> None:
    frame = one_series(900).frame.copy()
    frame["volume"] = 0.0
    built = build_panel(check_prices(frame, "fx.csv"))
    column = built.feature_names.index("balance_volume_20")
    assert (built.features[:, 0, column] == 0).all()
    assert built.notices[0].startswith("fx.csv: set to 0 for series SP500, since constant in train: balance_volume_20")


def test_ready_features_are_taken_as_stored(tmp_path: Path) -> None:
    table = load_prices(ready_file(tmp_path))
    built = build_panel(table, window=20)
    assert built.feature_names == ("rsi_14", "average_true_range_14")
    np.testing.assert_array_equal(built.labels[:, 0], table.frame["y"].to_numpy())
    assert np.corrcoef(built.features[:, 0, 0], table.frame["rsi_14"])[0, 1] > 0.9999


def test_ready_labels_of_one_class_are_refused(tmp_path: Path) -> None:
    table = load_prices(ready_file(tmp_path))
    table.frame["y"] = 1.0
    with pytest.raises(DataError, match="the base rate is 1; give another target"):
        build_panel(table)


def test_a_planted_future_column_in_a_ready_file_is_refused_by_default(tmp_path: Path) -> None:
    close = INDICES.one_series("SP500")["close"].to_numpy()[:1500]
    today = np.diff(np.log(close), prepend=np.nan)  # at row s, the return that the decision at s-1 is about
    with pytest.raises(DataError, match=r"tomorrow of .*ready.csv, series SP500"):
        build_panel(load_prices(ready_file(tmp_path, tomorrow=today)))


def test_a_label_shifted_by_one_row_in_a_ready_file_is_refused_by_default(tmp_path: Path) -> None:
    label = pd.read_csv(ready_file(tmp_path))["y"].to_numpy()
    frame = pd.read_csv(ready_file(tmp_path)).assign(shifted=np.append(label[1:], 0.0))
    with pytest.raises(DataError, match="shifted of file"):
        build_panel(check_prices(frame, "file"))


def test_a_saved_panel_comes_back_equal_mapped_and_read_only(panel: Panel, tmp_path: Path) -> None:
    save_panel(panel, tmp_path / "deep" / "panel")
    loaded = load_panel(tmp_path / "deep" / "panel")
    for name in ("series", "feature_names", "horizon", "window", "splits", "base_rates", "notices"):
        assert getattr(loaded, name) == getattr(panel, name)
    for name in ("dates", "features", "labels"):
        array = getattr(loaded, name)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, getattr(panel, name))
    assert len(cut_before_test(loaded).splits.test) == 0
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["panel"]


def test_writers_that_race_all_succeed_and_leave_one_panel(panel: Panel, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def write() -> None:
        try:
            save_panel(panel, tmp_path / "panel")
        except BaseException as error:  # noqa: BLE001, RUF100
            failures.append(error)

    threads = [Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [path.name for path in tmp_path.iterdir()] == ["panel"]
    np.testing.assert_array_equal(load_panel(tmp_path / "panel").labels, panel.labels)


def test_another_panel_is_never_overwritten(panel: Panel, tmp_path: Path) -> None:
    save_panel(panel, tmp_path / "panel")
    with pytest.raises(DataError, match="holds another panel"):
        save_panel(cut_before_test(panel), tmp_path / "panel")
    assert len(load_panel(tmp_path / "panel").dates) == len(panel.dates)


def test_what_is_not_a_panel_is_refused(panel: Panel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"panel\.json"):
        load_panel(tmp_path)
    save_panel(panel, tmp_path / "panel")
    (tmp_path / "panel" / "labels.npy").unlink()
    with pytest.raises(DataError, match="lacks one"):
        load_panel(tmp_path / "panel")
    (tmp_path / "panel" / "panel.json").write_text('{"version": 99}')
    with pytest.raises(DataError, match="version"):
        load_panel(tmp_path / "panel")


def test_equal_content_has_an_equal_fingerprint_wherever_it_came_from() -> None:
    assert panel_fingerprint(SHORT) == panel_fingerprint(check_prices(SHORT.frame, "elsewhere"))
    assert len(panel_fingerprint(SHORT)) == 64


@pytest.mark.parametrize(
    "changed",
    [{"tier": "a50"}, {"horizon": 2}, {"threshold": 0.02}, {"kind": "close"}, {"window": 81}, {"test_fraction": 0.2}],
)
def test_every_setting_changes_the_fingerprint(changed: dict[str, Any]) -> None:
    assert panel_fingerprint(SHORT, **changed) != panel_fingerprint(SHORT)


def test_one_price_changes_the_fingerprint() -> None:
    frame = SHORT.frame.copy()
    frame.loc[7, "volume"] += 1
    assert panel_fingerprint(replace(SHORT, frame=frame)) != panel_fingerprint(SHORT)
