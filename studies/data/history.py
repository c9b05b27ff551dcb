"""What is known at a decision, from a bounded history: the window of labels and features that a model sees.

A panel computes indicators over the whole history. A live trader has a buffer of the last B rows. Recursive averages
(RSI, EMA, weekly RSI) remember their start, so the two differ, by less the longer the buffer; the export of an ensemble
measures by how much and chooses B. Every prediction is defined on exactly the last B rows, whoever asks for it, so that
a replay bar by bar and a batch over a file give the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from studies.data.indicators import TIERS, compute_indicators
from studies.data.known_values import Dates, TrainScaler
from studies.data.labels import rise_labels
from studies.data.prices import PRICE_COLUMNS, PriceTable
from studies.errors import DataError

Bars = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class History:
    """Bars of some series on the dates that all of them have, sorted by time.

    Attributes:
        series: The N identifiers.
        dates: datetime64[ns] [T].
        bars: float64 [T, N, 5]: open, high, low, close, volume.
    """

    series: tuple[str, ...]
    dates: Dates
    bars: Bars

    @classmethod
    def of(cls, table: PriceTable, series: Sequence[str]) -> "History":
        """Take these series out of a table of prices; others are left out.

        Raises:
            DataError: the table holds ready features, lacks a series, or the series share no date.
        """
        if table.ready:
            raise DataError(
                f"an ensemble predicts from prices: {table.origin} holds ready features; give open, high, low, close "
                "and volume"
            )
        missing = [name for name in series if name not in table.series]
        if missing:
            raise DataError(
                f"prices need the series {', '.join(series)}: {table.origin} lacks {missing[0]} and has "
                f"{', '.join(table.series[:5])}; add its rows, or rename it in unique_id"
            )
        frames = [table.one_series(name) for name in series]
        dates = frames[0].index
        for frame in frames[1:]:
            dates = dates.intersection(frame.index)
        if dates.empty:
            raise DataError(
                f"all series must share dates: those of {table.origin} have none in common; give series of the same "
                "market and time"
            )
        bars = [frame.loc[dates, list(PRICE_COLUMNS)].to_numpy(dtype=np.float64) for frame in frames]
        return cls(tuple(series), dates.to_numpy(dtype="datetime64[ns]"), np.stack(bars, axis=1))

    def __len__(self) -> int:
        return len(self.dates)

    def last_rows(self, end: int, rows: int) -> "History":
        """The `rows` rows before row `end`, as arrays of their own."""
        part = slice(end - rows, end)
        return History(self.series, self.dates[part].copy(), self.bars[part].copy())


@dataclass(frozen=True, eq=False)
class WindowRules:
    """How what is known at a decision is made of the last rows.

    Attributes:
        series: The N identifiers, in the order of the models' inputs.
        tier: Which F indicators.
        horizon: H, rows that a label looks ahead.
        threshold: The rise that makes a label 1.
        kind: touch or close.
        window: L, rows that a decision sees.
        rows: B, the length of every history.
        scaler: Of the study's train part.
    """

    series: tuple[str, ...]
    tier: str
    horizon: int
    threshold: float
    kind: str
    window: int
    rows: int
    scaler: TrainScaler

    def window_of(self, history: History) -> tuple[Floats, Floats]:
        """The window of the decision at the last row of a history of exactly B rows.

        Returns:
            labels float32 [L, N], known at that row, and features float32 [L+H, N, F], indicators of times up to it.

        Raises:
            DataError: an indicator is not finite.
        """
        assert len(history) == self.rows
        assert history.series == self.series
        seen = self.window + self.horizon
        labels = np.empty((self.window, len(self.series)), dtype=np.float32)
        indicators = np.empty((seen, len(self.series), len(TIERS[self.tier])))
        for place in range(len(self.series)):
            # Contiguous columns: NumPy's sums may depend on where in memory the numbers lie.
            columns = {name: np.ascontiguousarray(history.bars[:, place, at]) for at, name in enumerate(PRICE_COLUMNS)}
            known = rise_labels(columns["high"], columns["close"], self.horizon, self.threshold, self.kind)
            labels[:, place] = known[-seen : -self.horizon]
            prices = pd.DataFrame(columns, index=pd.DatetimeIndex(history.dates, name="ds"))
            indicators[:, place] = compute_indicators(prices, self.tier).to_numpy()[-seen:]
        self._check_finite(indicators, history)
        return labels, self.scaler.scale(indicators)

    def _check_finite(self, indicators: Bars, history: History) -> None:
        wrong = np.argwhere(~np.isfinite(indicators))
        if len(wrong):
            row, place, column = wrong[0]
            day = str(history.dates[row - len(indicators)])[:10]
            raise DataError(
                f"indicators must be finite: {TIERS[self.tier][column]} of {self.series[place]} is not on {day}, from "
                f"the {self.rows} rows up to {str(history.dates[-1])[:10]}; look for an extreme price in them"
            )
