"""Prices or ready features from a CSV or Parquet file, checked before anything is computed from them.

Two layouts, both long (one row a series and time):

    prices   unique_id, ds, open, high, low, close, volume
    ready    unique_id, ds, y, <feature columns>; y is 0 or 1

A ready file is taken to store its labels and features at the time when they are known: at a horizon of H
rows, row s holds the label of the decision made at s-H and the features that this decision could see.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from studies.errors import DataError

KEY_COLUMNS = ("unique_id", "ds")
OHLC_COLUMNS = ("open", "high", "low", "close")
PRICE_COLUMNS = (*OHLC_COLUMNS, "volume")
LABEL_COLUMN = "y"

#: Vendors round each column by itself: a high may be below the close by this share without being wrong.
ROUNDING_TOLERANCE = 1e-6

_POSITION_NAMES = ("line", "row")


@dataclass(frozen=True)
class PriceTable:
    """A checked table.

    Attributes:
        frame: Sorted by unique_id and ds (datetime64[ns]); every other column is finite float64. Either the
            five price columns, or y and the features.
        origin: The file or example it came from, for messages.
        notices: What was changed or left out on the way in, one sentence each, for the caller to print.
    """

    frame: pd.DataFrame
    origin: str
    notices: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether labels and features are given, so that none are computed."""
        return LABEL_COLUMN in self.frame.columns

    @property
    def series(self) -> tuple[str, ...]:
        """Identifiers of the series, sorted."""
        return tuple(str(name) for name in self.frame["unique_id"].unique())

    @property
    def value_columns(self) -> tuple[str, ...]:
        """Every column but the keys and the label, in the file's order."""
        return tuple(name for name in self.frame.columns if name not in (*KEY_COLUMNS, LABEL_COLUMN))

    def one_series(self, name: str) -> pd.DataFrame:
        """The rows of one series, indexed by ds, without unique_id."""
        rows = self.frame[self.frame["unique_id"] == name]
        return rows.drop(columns="unique_id").set_index("ds")


def load_prices(path: Path) -> PriceTable:
    """Read and check a CSV or Parquet file of prices or ready features.

    Raises:
        DataError: the file is missing, unreadable or empty, or `check_prices` refuses its content.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"data must be an existing file: {path} is not one; check the path")
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".pq": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"data must be a .csv or .parquet file: {path} ends in {path.suffix or 'nothing'!r}; convert it"
        )
    return check_prices(reader(path), str(path))


def check_prices(frame: pd.DataFrame, origin: str) -> PriceTable:
    """Check a long table of prices or ready features and bring it into one form.

    Args:
        frame: The columns of either layout (see the module), numbers as numbers or as text.
        origin: Where it came from, named in every message.

    Raises:
        DataError: columns are missing; a number is text, NaN or infinite; a price is not positive, a volume
            negative, a bar's high or low impossible, y not 0 or 1; a date can't be read; a key is repeated.
    """
    frame = frame.rename(columns=str)
    if frame.index.name not in _POSITION_NAMES:
        frame = frame.reset_index(drop=True)
        frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    if frame.empty:
        raise DataError(f"data must hold at least one row: {origin} has none; check how it was written")
    ready = LABEL_COLUMN in frame.columns and not set(PRICE_COLUMNS) <= set(frame.columns)
    _check_columns(frame, origin, ready)
    columns, notices = _ready_columns(frame, origin) if ready else _price_columns(frame, origin)
    keys = {"unique_id": _identifiers(frame, origin), "ds": _dates(frame, origin)}
    table = pd.DataFrame(keys | {name: _numbers(frame[name], name, frame, origin) for name in columns})
    if ready:
        _check_labels(table, origin)
    else:
        _check_bars(table, origin)
    _check_duplicates(table, origin)
    table, order = _sorted(table, origin)
    return PriceTable(table, origin, notices + order)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields beyond the header would be lost
            # Text throughout, blank lines kept: a message can then name the line and the value as written.
            frame = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=False,
                encoding="utf-8-sig",
                index_col=False,
            )
    except pd.errors.EmptyDataError:
        raise DataError(f"data must hold at least one row: {path} is empty; check how it was written") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError, OSError) as error:
        raise DataError(_unreadable(path, "comma-separated UTF-8 text", error)) from None
    frame = frame.fillna("")
    frame.index = pd.RangeIndex(2, len(frame) + 2, name="line")
    return frame[(frame != "").any(axis=1)]


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except ImportError:
        raise DataError(
            f"Parquet files need pyarrow, which is not installed: {path}; run pip install pyarrow or use CSV"
        ) from None
    except (OSError, ValueError, NotImplementedError) as error:  # Arrow's own errors derive from these
        raise DataError(_unreadable(path, "Parquet", error)) from None
    frame = frame.reset_index(drop=True)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame


def _unreadable(path: Path, form: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"data must be readable as {form}: {path} is not ({reason}); write the file again"


def _check_columns(frame: pd.DataFrame, origin: str, ready: bool) -> None:
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"column names must be unique: {origin} repeats {repeated[0]!r}; rename one of them")
    required = KEY_COLUMNS if ready else (*KEY_COLUMNS, *PRICE_COLUMNS)
    missing = [name for name in required if name not in frame.columns]
    if missing:
        found = ", ".join(frame.columns)
        raise DataError(
            f"data needs the columns {', '.join(required)}: {origin} lacks {', '.join(missing)} and has "
            f"{found}; rename or add them (a file with y needs unique_id, ds and features instead of prices)"
        )


def _price_columns(frame: pd.DataFrame, origin: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    extra = [name for name in frame.columns if name not in (*KEY_COLUMNS, *PRICE_COLUMNS)]
    notice = f"{origin}: ignored the columns {', '.join(extra)}: indicators are computed from prices alone"
    return PRICE_COLUMNS, (notice,) if extra else ()


def _ready_columns(frame: pd.DataFrame, origin: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The label and every named column with a number in it; columns of text or dates are left out."""
    others = [name for name in frame.columns if name not in (*KEY_COLUMNS, LABEL_COLUMN)]
    ignored = [name for name in others if not _is_feature(frame[name], name)]
    features = tuple(name for name in others if name not in ignored)
    if not features:
        raise DataError(
            f"a file with y needs feature columns of numbers: {origin} has none beside unique_id, ds and y; "
            "add features, or give prices and let indicators be computed"
        )
    notice = f"{origin}: ignored the columns {', '.join(ignored)}: they hold no numbers or have no name"
    return (LABEL_COLUMN, *features), (notice,) if ignored else ()


def _is_feature(column: "pd.Series[Any]", name: str) -> bool:
    # A column without a name is the row number that pandas writes unless told not to.
    if name.startswith("Unnamed:") or pd.api.types.is_datetime64_any_dtype(column):
        return False
    return bool(pd.to_numeric(column, errors="coerce").notna().any())


def _identifiers(frame: pd.DataFrame, origin: str) -> "pd.Series[str]":
    raw = frame["unique_id"]
    blank = raw.isna() | (raw.astype(str).str.strip() == "")
    if blank.any():
        raise DataError(f"unique_id must name the series: it is empty in {_place(frame, origin, blank)}; fill it in")
    return raw.astype(str)


def _dates(frame: pd.DataFrame, origin: str) -> "pd.Series[pd.Timestamp]":
    raw = frame["ds"]
    if not pd.api.types.is_datetime64_any_dtype(raw):
        raw = raw.astype(str)
    # ISO alone: in 03/04/2020 nobody but its writer knows the month.
    dates = pd.to_datetime(raw, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    wrong = dates.isna() | (dates < pd.Timestamp.min.ceil("D")) | (dates > pd.Timestamp.max.floor("D"))
    if wrong.any():
        value = frame["ds"][wrong].iloc[0]
        raise DataError(
            f"ds must be a date such as 2020-01-31 or 2020-01-31T15:30: it is {str(value)!r} in "
            f"{_place(frame, origin, wrong)}; write dates in ISO form"
        )
    return dates.dt.as_unit("ns")


def _numbers(raw: "pd.Series[Any]", name: str, frame: pd.DataFrame, origin: str) -> npt.NDArray[np.float64]:
    numbers = pd.to_numeric(raw, errors="coerce").astype("float64")
    wrong = pd.Series(~np.isfinite(numbers.to_numpy(dtype=np.float64, na_value=np.nan)), index=raw.index)
    if wrong.any():
        value = raw[wrong].iloc[0]
        kind = "empty" if pd.isna(value) or str(value).strip() == "" else repr(str(value))
        raise DataError(
            f"column {name} must hold finite numbers: it is {kind} in {_place(frame, origin, wrong)}"
            "; correct the value or drop the row"
        )
    values: npt.NDArray[np.float64] = numbers.to_numpy(dtype=np.float64)
    return values


def _check_labels(table: pd.DataFrame, origin: str) -> None:
    wrong = ~table[LABEL_COLUMN].isin((0.0, 1.0))
    if wrong.any():
        raise DataError(
            f"y must be 0 or 1: it is {table[LABEL_COLUMN][wrong].iloc[0]:g} in "
            f"{_place(table, origin, wrong)}; turn the target into classes"
        )


def _check_bars(table: pd.DataFrame, origin: str) -> None:
    for name in OHLC_COLUMNS:
        _refuse(table, origin, table[name] <= 0, (name,), "prices must be positive")
    _refuse(table, origin, table["volume"] < 0, ("volume",), "volume must not be negative")
    body_top = table[["open", "close"]].max(axis=1)
    body_bottom = table[["open", "close"]].min(axis=1)
    above, below = 1 + ROUNDING_TOLERANCE, 1 - ROUNDING_TOLERANCE
    rules = (
        (table["high"] < table["low"] * below, ("high", "low"), "high must not be below low"),
        (table["high"] < body_top * below, ("high", *_BODY), "high must not be below open or close"),
        (table["low"] > body_bottom * above, ("low", *_BODY), "low must not be above open or close"),
    )
    for wrong, columns, rule in rules:
        _refuse(table, origin, wrong, columns, rule)


_BODY = ("open", "close")


def _refuse(table: pd.DataFrame, origin: str, wrong: "pd.Series[bool]", columns: tuple[str, ...], rule: str) -> None:
    if wrong.any():
        values = ", ".join(f"{name} {table[name][wrong].iloc[0]:g}" for name in columns)
        place = _place(table, origin, wrong)
        raise DataError(f"{rule}: {values} in {place}; correct the value or drop the row")


def _check_duplicates(table: pd.DataFrame, origin: str) -> None:
    wrong = table.duplicated(list(KEY_COLUMNS))
    if wrong.any():
        raise DataError(
            f"each unique_id and ds may appear once: repeated in {_place(table, origin, wrong)}; drop one of the rows"
        )


def _sorted(table: pd.DataFrame, origin: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    steps_back = table.groupby("unique_id", sort=False)["ds"].diff() < pd.Timedelta(0)
    notice = f"{origin}: sorted the rows by time: {int(steps_back.sum())} were out of order"
    table = table.sort_values(list(KEY_COLUMNS), kind="stable").reset_index(drop=True)
    return table, (notice,) if steps_back.any() else ()


def _place(frame: pd.DataFrame, origin: str, wrong: "pd.Series[bool]") -> str:
    """The first offending row as `file, line 7 (SP500, 2001-03-02), and 3 more`."""
    position = int(np.argmax(wrong.to_numpy()))
    place = f"{origin}, {frame.index.name} {frame.index[position]}"
    if set(KEY_COLUMNS) <= set(frame.columns):
        row = frame.iloc[position]
        day = f"{row['ds']:%Y-%m-%d}" if isinstance(row["ds"], pd.Timestamp) else row["ds"]
        place += f" ({row['unique_id']}, {day})"
    more = int(wrong.sum()) - 1
    return f"{place} and {more} more" if more else place
