"""Walk-forward replay: bars come one by one, as a live trader sees them, and probabilities go out.

The future isn't there to be looked at: the predictor is given a buffer of the last B bars and nothing else. What came
of it is counted at the end.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from studies.data.history import History
from studies.data.labels import rise_labels
from studies.ensemble_file import InputPart
from studies.metrics import Interval, area_under_curve, clustered_auc_interval
from studies.prediction import Predictor, one_thread
from studies.trading import Performance, bars_in_a_year, performance

Floats = NDArray[np.float64]


class LiveHistory:
    """The last B bars of some series; older ones are forgotten.

    Twice B rows are kept, so that moving them down is needed once in B bars.
    """

    def __init__(self, series: tuple[str, ...], rows: int, columns: int = 5) -> None:
        self._series, self._rows = series, rows
        self._dates = np.empty(2 * rows, dtype="datetime64[ns]")
        self._bars = np.empty((2 * rows, len(series), columns))
        self._end = 0

    def add(self, date: np.datetime64, bars: Floats) -> None:
        """Take the newest bar of every series [N, 5]; its date must be later than the last."""
        if self._end and date <= self._dates[self._end - 1]:
            raise ValueError(f"bars come in the order of time: {date} follows {self._dates[self._end - 1]}")
        if self._end == len(self._dates):
            self._dates[: self._rows] = self._dates[self._end - self._rows :]
            self._bars[: self._rows] = self._bars[self._end - self._rows :]
            self._end = self._rows
        self._dates[self._end], self._bars[self._end] = date, bars
        self._end += 1

    @property
    def is_full(self) -> bool:
        """Whether there are B bars."""
        return self._end >= self._rows

    def history(self) -> History:
        """The last B bars, as arrays of their own."""
        part = slice(self._end - self._rows, self._end)
        return History(self._series, self._dates[part].copy(), self._bars[part].copy())


@dataclass(frozen=True, eq=False)
class ReplayedBar:
    """What one bar gave.

    Attributes:
        probabilities: [N], of the decision at its close.
        seconds: from the bar to the probabilities.
        resident_mb: of the whole process then.
    """

    date: np.datetime64
    probabilities: Floats
    seconds: float
    resident_mb: float


def replay(predictor: Predictor, history: History, decisions: range) -> Iterator[ReplayedBar]:
    """Feed the bars of a history one by one, and yield what is predicted at each of these rows."""
    live, process = LiveHistory(history.series, predictor.rows), psutil.Process()
    predictor.load()
    with one_thread():
        for row in range(max(0, decisions.start + 1 - predictor.rows), decisions.stop):
            began = time.perf_counter()
            live.add(history.dates[row], history.bars[row])
            if row in decisions:
                found = predictor.together(predictor.members(predictor.inputs(live.history())))
                seconds = time.perf_counter() - began
                yield ReplayedBar(history.dates[row], found, seconds, process.memory_info().rss / 2**20)


@dataclass(frozen=True)
class TradingRule:
    """When to be long, and what trading costs; see `studies.trading`."""

    threshold: float
    cost: float


@dataclass(frozen=True)
class Outcome:
    """What a replay came to.

    Attributes:
        decisions: predicted, one a series and bar.
        judged: those whose label is known at the end of the prices.
        auc: of the judged; None where they are of one class.
        hit_rate: share of the judged at or above the threshold whose label was 1; None without any.
        base_rate: share of the judged whose label was 1.
    """

    decisions: int
    judged: int
    auc: float | None
    interval: Interval | None
    hit_rate: float | None
    calls: int
    base_rate: float
    rule: TradingRule
    traded: Performance
    held: Performance
    bars_a_year: float
    seconds_median: float
    seconds_most: float
    resident_mb: float
    growth_mb: float

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        known = self.interval
        return {
            "decisions": self.decisions,
            "judged": self.judged,
            "auc": self.auc,
            "auc_low": known.low if known else None,
            "auc_high": known.high if known else None,
            "threshold": self.rule.threshold,
            "calls": self.calls,
            "hit_rate": self.hit_rate,
            "base_rate": self.base_rate,
            "cost": self.rule.cost,
            "bars_a_year": self.bars_a_year,
            "rule": self.traded.as_json(),
            "buy_and_hold": self.held.as_json(),
            "seconds_a_bar": {"median": self.seconds_median, "largest": self.seconds_most},
            "resident_mb": {"last_bar": self.resident_mb, "since_first_bar": self.growth_mb},
        }


def judge(
    predictor: Predictor, history: History, decisions: range, bars: list[ReplayedBar], rule: TradingRule
) -> Outcome:
    """Count what came of the decisions, from the bars that followed them."""
    target = predictor.file.input
    probabilities = np.stack([bar.probabilities for bar in bars])
    closes = history.bars[:, :, 3]
    labels = _labels(history, target)[decisions.start : decisions.stop]
    known = ~np.isnan(labels)
    truth, scores = labels[known], probabilities[known]
    length = 1 if target.horizon == 1 else 2 * target.horizon
    clusters = np.broadcast_to(np.asarray(decisions)[:, None] // length, labels.shape)[known]
    both = 0 < truth.sum() < len(truth)
    calls = scores >= rule.threshold
    until = min(decisions.stop, len(history) - 1)
    held = (probabilities >= rule.threshold)[: until - decisions.start]
    seen, year = closes[decisions.start : until + 1], bars_in_a_year(history.dates)
    seconds = np.array([bar.seconds for bar in bars])
    return Outcome(
        decisions=probabilities.size,
        judged=int(known.sum()),
        auc=area_under_curve(truth, scores) if both else None,
        interval=clustered_auc_interval(truth, scores, clusters) if both else None,
        hit_rate=float(truth[calls].mean()) if calls.any() else None,
        calls=int(calls.sum()),
        base_rate=float(truth.mean()) if len(truth) else 0.0,
        rule=rule,
        traded=performance(seen, held, rule.cost, year),
        held=performance(seen, np.ones_like(held), rule.cost, year),
        bars_a_year=year,
        seconds_median=float(np.median(seconds)),
        seconds_most=float(seconds.max()),
        resident_mb=round(bars[-1].resident_mb, 1),
        growth_mb=round(bars[-1].resident_mb - bars[0].resident_mb, 1),
    )


def _labels(history: History, target: InputPart) -> Floats:
    """Return the labels [T, N] of all decisions; NaN where the prices end before they are known."""
    return np.stack(
        [
            rise_labels(bars[:, 1], bars[:, 3], target.horizon, target.threshold, target.kind)
            for bars in np.moveaxis(history.bars, 1, 0)
        ],
        axis=1,
    )
