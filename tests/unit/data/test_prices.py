"""Reading and checking prices: every wrong file is refused by one line that says where and what to do."""

import builtins
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from studies.data.examples import EXAMPLES, load_example
from studies.data.prices import PRICE_COLUMNS, check_prices, load_prices
from studies.errors import DataError

HEADER = "unique_id,ds,open,high,low,close,volume\n"
GOOD = "A,2020-01-01,10,11,9,10.5,100\nA,2020-01-02,10.5,12,10,11,0\n"


def write(directory: Path, text: str, name: str = "prices.csv") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_prices(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_a_good_csv_becomes_sorted_floats_without_notices(tmp_path: Path) -> None:
    table = load_prices(write(tmp_path, HEADER + GOOD))
    assert not table.ready
    assert table.series == ("A",)
    assert table.value_columns == PRICE_COLUMNS
    assert table.notices == ()
    assert table.frame["ds"].dtype == "datetime64[ns]"
    assert table.one_series("A")["close"].tolist() == [10.5, 11.0]


def test_parquet_holds_the_same_as_csv(tmp_path: Path) -> None:
    frame = load_prices(write(tmp_path, HEADER + GOOD)).frame
    frame.to_parquet(tmp_path / "prices.parquet")
    pd.testing.assert_frame_equal(load_prices(tmp_path / "prices.parquet").frame, frame)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "existing file" in refusal(tmp_path / "absent.csv")


def test_a_suffix_that_is_not_read_is_named(tmp_path: Path) -> None:
    assert "'.xlsx'" in refusal(write(tmp_path, HEADER, "prices.xlsx"))


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    assert "at least one row" in refusal(write(tmp_path, text))


def test_a_file_that_is_not_text_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(b"\xff\xfe\x80\x81,\x00\n")
    assert "readable" in refusal(path)


def test_a_line_with_too_many_fields_is_unreadable(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, HEADER + GOOD + "A,2020-01-03,10,11,9,10,1,2,3\n"))
    assert "line 4" in message


def test_a_first_line_with_too_many_fields_is_unreadable(tmp_path: Path) -> None:
    assert "readable" in refusal(write(tmp_path, HEADER + "A,2020-01-03,10,11,9,10,1,2,3\n"))


def test_row_numbers_and_dates_are_no_features(tmp_path: Path) -> None:
    ready = pd.DataFrame({"unique_id": "A", "ds": pd.to_datetime(["2020-01-01"]), "y": 1, "rsi": 5.0})
    ready.to_csv(tmp_path / "ready.csv")
    assert load_prices(tmp_path / "ready.csv").value_columns == ("rsi",)
    ready.assign(release=ready["ds"]).to_parquet(tmp_path / "ready.parquet")
    assert load_prices(tmp_path / "ready.parquet").value_columns == ("rsi",)


def test_a_parquet_file_of_something_else_is_unreadable(tmp_path: Path) -> None:
    assert "readable as Parquet" in refusal(write(tmp_path, HEADER + GOOD, "prices.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_engine(*_: object, **__: object) -> None:
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", no_engine)
    assert "pip install pyarrow" in refusal(write(tmp_path, "", "prices.parquet"))


def test_all_missing_columns_are_named_with_those_found(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "ds,open,Close\n2020-01-01,1,1\n"))
    assert "lacks unique_id, high, low, close, volume and has ds, open, Close" in message


def test_a_repeated_column_is_refused() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["open", "open"])
    with pytest.raises(DataError, match="repeats 'open'"):
        check_prices(frame, "frame")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("A,2020-01-03,ten,11,9,10,1", "column open must hold finite numbers: it is 'ten'"),
        ("A,2020-01-03,10,,9,10,1", "column high must hold finite numbers: it is empty"),
        ("A,2020-01-03,10,11,nan,10,1", "column low must hold finite numbers: it is 'nan'"),
        ("A,2020-01-03,10,11,9,inf,1", "column close must hold finite numbers: it is 'inf'"),
        ("A,2020-01-03,10,11,9,10", "column volume must hold finite numbers: it is empty"),
        ("A,2020-01-03,10,11,9,0,1", "prices must be positive: close 0"),
        ("A,2020-01-03,10,11,-9,10,1", "prices must be positive: low -9"),
        ("A,2020-01-03,10,11,9,10,-1", "volume must not be negative: volume -1"),
        ("A,2020-01-03,10,8,9,10,1", "high must not be below low: high 8, low 9"),
        ("A,2020-01-03,10,10.5,9,11,1", "high must not be below open or close: high 10.5, open 10, close 11"),
        ("A,2020-01-03,8,11,9,10,1", "low must not be above open or close: low 9, open 8, close 10"),
        ("A,03/04/2020,10,11,9,10,1", "ds must be a date such as 2020-01-31 or 2020-01-31T15:30: it is '03/04/2020'"),
        ("A,9999-12-31,10,11,9,10,1", "it is '9999-12-31'"),
        ("A,,10,11,9,10,1", "ds must be a date"),
        (" ,2020-01-03,10,11,9,10,1", "unique_id must name the series"),
        ("A,2020-01-02,10,11,9,10,1", "each unique_id and ds may appear once"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line_and_value(tmp_path: Path, row: str, said: str) -> None:
    message = refusal(write(tmp_path, f"{HEADER}{GOOD}{row}\n"))
    assert said in message
    assert "line 4" in message
    assert message.count(";") >= 1


def test_the_line_is_right_after_blank_lines_and_others_are_counted(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, f"{HEADER}\n{GOOD}B,2020-01-01,x,1,1,1,1\nB,2020-01-02,y,1,1,1,1\n"))
    assert "line 5 (B, 2020-01-01) and 1 more" in message


def test_rounding_of_the_high_is_tolerated(tmp_path: Path) -> None:
    table = load_prices(write(tmp_path, HEADER + "A,2020-01-01,100,100.00001,99,100.00002,1\n"))
    assert table.frame["close"].tolist() == [100.00002]


def test_rows_out_of_order_are_sorted_with_a_notice(tmp_path: Path) -> None:
    lines = GOOD.splitlines()
    table = load_prices(write(tmp_path, HEADER + lines[1] + "\n" + lines[0] + "\n"))
    assert table.one_series("A").index.is_monotonic_increasing
    assert table.notices[0].endswith("sorted the rows by time: 1 were out of order")


def test_series_interleaved_by_date_need_no_notice(tmp_path: Path) -> None:
    rows = "B,2020-01-01,1,1,1,1,1\nA,2020-01-01,1,1,1,1,1\nB,2020-01-02,1,1,1,1,1\nA,2020-01-02,1,1,1,1,1\n"
    table = load_prices(write(tmp_path, HEADER + rows))
    assert table.series == ("A", "B")
    assert table.notices == ()


def test_extra_columns_beside_prices_are_ignored_with_a_notice(tmp_path: Path) -> None:
    header = HEADER.strip() + ",sector,y\n"
    table = load_prices(write(tmp_path, header + "A,2020-01-01,10,11,9,10.5,100,tech,1\n"))
    assert not table.ready
    assert "ignored the columns sector, y" in table.notices[0]


def test_times_with_a_zone_become_utc(tmp_path: Path) -> None:
    table = load_prices(write(tmp_path, HEADER + "A,2020-01-01T10:00:00+02:00,10,11,9,10.5,100\n"))
    assert table.frame["ds"].iloc[0] == pd.Timestamp("2020-01-01 08:00")


def test_a_ready_file_keeps_every_column_of_numbers(tmp_path: Path) -> None:
    table = load_prices(write(tmp_path, "unique_id,ds,y,rsi,note\nA,2020-01-01,0,50,good\nA,2020-01-02,1,60,bad\n"))
    assert table.ready
    assert table.value_columns == ("rsi",)
    assert "ignored the columns note" in table.notices[0]


def test_a_wide_ready_file_is_read_without_warnings() -> None:
    frame = pd.DataFrame(np.ones((3, 300)), columns=[f"f{i}" for i in range(300)])
    frame = frame.assign(unique_id="A", ds=pd.date_range("2020", periods=3), y=[0, 1, 0])
    assert len(check_prices(frame, "frame").value_columns) == 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unique_id,ds,y,rsi\nA,2020-01-01,2,50\n", "y must be 0 or 1: it is 2"),
        ("unique_id,ds,y,rsi\nA,2020-01-01,,50\n", "column y must hold finite numbers"),
        ("unique_id,ds,y,rsi\nA,2020-01-01,1,x\nA,2020-01-02,1,3\n", "column rsi must hold finite numbers: it is 'x'"),
        ("unique_id,ds,y\nA,2020-01-01,1\n", "needs feature columns"),
        ("ds,y,rsi\n2020-01-01,1,50\n", "lacks unique_id"),
    ],
)
def test_a_wrong_ready_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(write(tmp_path, text))


def test_the_indices_example_holds_unadjusted_closes() -> None:
    table = load_example("indices")
    assert table.series == ("NASDAQ", "SP500")
    assert table.frame.groupby("unique_id").size().tolist() == [5031, 5031]
    assert table.one_series("SP500")["close"].iloc[-1] == pytest.approx(2506.850098)
    assert table.notices == ()


def test_an_unknown_example_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=f"one of {', '.join(EXAMPLES)}: 'forex' is not"):
        load_example("forex")


def test_the_example_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_arch(name: str, *rest: object) -> object:
        if name.startswith("arch"):
            raise ImportError(name)
        return original(name, *rest)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "arch.data", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_arch)
    with pytest.raises(DataError, match=r"pip install 'budget-hpo\[examples\]'"):
        load_example("indices")
