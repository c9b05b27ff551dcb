"""Probabilities of an ensemble for new rows: `python -m studies.predict DIR prices.csv`.

One row a decision date and series: `ds, unique_id, probability`. The decision at the last date of the file is included:
it needs no label. Without --from, the last date alone is predicted.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from budgets.errors import InputError
from studies.errors import EnsembleError

if TYPE_CHECKING:
    from studies.data.history import History
    from studies.prediction import Predictor


@dataclass(frozen=True)
class Prediction:
    """One decision.

    Attributes:
        date: of the last bar that it knows.
        members: probabilities of the used members, in their order.
    """

    date: str
    series: str
    probability: float
    members: tuple[float, ...]

    def as_row(self, *, members: bool) -> dict[str, Any]:
        """Return the columns of the output."""
        row: dict[str, Any] = {"ds": self.date, "unique_id": self.series, "probability": self.probability}
        return row | ({f"member_{at:02d}": value for at, value in enumerate(self.members)} if members else {})


def predict(
    directory: Path,
    prices: Path,
    first: str | None = None,
    last: str | None = None,
    *,
    one_at_a_time: bool = False,
) -> Iterator[Prediction]:
    """Predict every date from `first` to `last`; without `first` the last of them alone.

    Args:
        directory: of the ensemble.
        prices: CSV or Parquet, as for a study; series that the ensemble doesn't know are left out.
        first: ISO date of the first decision.
        last: ISO date of the last decision; default: the file's last.
        one_at_a_time: keep one member in memory, and all windows, in place of all members and one window.

    Raises:
        InputError: the ensemble, the prices or the dates can't be used.
    """
    from studies.data.history import History
    from studies.data.prices import load_prices
    from studies.prediction import one_thread, open_predictor

    predictor = open_predictor(directory)
    history = History.of(load_prices(prices), predictor.series)
    rows = decisions_between(history, first, last, str(prices))
    predictor.check_enough(history, rows.start, str(prices))
    with one_thread():
        for row, members in zip(rows, _members(predictor, history, rows, one_at_a_time=one_at_a_time), strict=True):
            for place, value in enumerate(predictor.together(members)):
                yield Prediction(
                    format_date(history.dates[row]),
                    predictor.series[place],
                    float(value),
                    tuple(map(float, members[:, place])),
                )


def _members(
    predictor: "Predictor", history: "History", rows: range, *, one_at_a_time: bool
) -> "Iterator[np.ndarray[Any, np.dtype[np.float64]]]":
    windows = (predictor.inputs(history.last_rows(row + 1, predictor.rows)) for row in rows)
    if one_at_a_time:
        yield from predictor.members_in_turn(list(windows))
    else:
        yield from map(predictor.members, windows)


def decisions_between(history: "History", first: str | None, last: str | None, origin: str) -> range:
    """Return the rows of the decisions that are asked for.

    Raises:
        EnsembleError: a date is none, or no row lies between them.
    """
    end = _date(last, "--to") if last else history.dates[-1]
    stop = int(np.searchsorted(history.dates, end, side="right"))
    # One date alone, unless a first one is named.
    start = int(np.searchsorted(history.dates, _date(first, "--from"))) if first else max(stop - 1, 0)
    if start >= stop:
        raise EnsembleError(
            f"--from and --to must hold a date of the prices: {first or 'the first'} to {last or 'the last'} does not; "
            f"{origin} goes from {format_date(history.dates[0])} to {format_date(history.dates[-1])}"
        )
    return range(start, stop)


def _date(text: str, option: str) -> np.datetime64:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise EnsembleError(f"{option} is a date such as 2018-01-31, not {text!r}: write it in ISO form") from None
    if found.tzinfo is not None:
        # As the prices' own dates are read.
        found = found.astimezone(UTC).replace(tzinfo=None)
    # The end of a day means all of its rows.
    whole_day = option == "--to" and len(text) <= len("2018-01-31")
    moment = np.datetime64(found, "ns")
    return moment + np.timedelta64(1, "D") - np.timedelta64(1, "ns") if whole_day else moment


def format_date(date: np.datetime64) -> str:
    """Return the day, with the time where it has one."""
    text = np.datetime_as_string(date, unit="s")
    return str(text).removesuffix("T00:00:00")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m studies.predict", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="what `hpo ensemble STUDY --out DIR` made")
    parser.add_argument("prices", type=Path, help="CSV or Parquet: unique_id, ds, open, high, low, close, volume")
    parser.add_argument("--from", dest="first", metavar="DATE", help="first decision; default: the last date alone")
    parser.add_argument("--to", dest="last", metavar="DATE", help="last decision; default: the last date")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a CSV to write; default: standard output")
    parser.add_argument("--members", action="store_true", help="also the probabilities of every member")
    parser.add_argument("--one-at-a-time", action="store_true", help="one member in memory at a time; the same numbers")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of CSV")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 2 the input is wrong, with one line that says the remedy."""
    given = _parser().parse_args(arguments)
    try:
        found = list(predict(given.directory, given.prices, given.first, given.last, one_at_a_time=given.one_at_a_time))
        text = _as_text([each.as_row(members=given.members) for each in found], as_json=given.json)
        if given.out is None:
            sys.stdout.write(text)
        else:
            _write(given.out, text)
    except InputError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    return 0


def _as_text(rows: list[dict[str, Any]], *, as_json: bool) -> str:
    """Return rows as CSV or JSON; a number is written so that reading it gives the same bits."""
    if as_json:
        return json.dumps({"predictions": rows}, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnsembleError(f"--out must be a file that can be written: {path} is not ({error.strerror})") from None


if __name__ == "__main__":
    sys.exit(main())
