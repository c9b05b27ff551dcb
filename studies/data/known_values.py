"""Features and labels of all series on their common dates, each stored at the row where it is known."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from studies.data.audit import audit_causality
from studies.data.indicators import MAXIMUM_WARM_UP, TIERS, compute_indicators
from studies.data.labels import rise_labels, store_when_known
from studies.data.prices import LABEL_COLUMN, PriceTable
from studies.errors import DataError

Dates = npt.NDArray[np.datetime64]

#: Which rise a label is about: the high touches the threshold, or the last close is above it.
LABEL_KINDS = ("touch", "close")

#: Scaled features are clipped here, so that one bad print does not rule a batch.
CLIP = 10.0


@dataclass(frozen=True, eq=False)
class KnownValues:
    """Unscaled values, stored when known.

    Attributes:
        names: The F feature names.
        features: float64 [T, N, F]; NaN in the rows before everything is known.
        labels: float64 [T, N]; likewise.
    """

    names: tuple[str, ...]
    features: npt.NDArray[np.float64]
    labels: npt.NDArray[np.float64]

    def first_complete_row(self, origin: str, dates: Dates) -> int:
        """The row from which on every value is finite; `MAXIMUM_WARM_UP` where there is none.

        Raises:
            DataError: a value is not finite after all were.
        """
        values = np.concatenate((self.features, self.labels[:, :, None]), axis=2)
        complete = np.asarray(np.isfinite(values).all(axis=(1, 2)), dtype=np.bool_)
        if not complete.any():
            return MAXIMUM_WARM_UP
        start = int(np.argmax(complete))
        if not complete[start:].all():
            row = start + int(np.argmin(complete[start:]))
            wrong = np.flatnonzero(~np.isfinite(self.features[row]).all(axis=0))
            raise DataError(
                f"indicators must be finite after their warm-up: {self.names[wrong[0]]} of {origin} is not "
                f"on {dates[row]}; look for an extreme price in the rows before"
            )
        return start

    def from_row(self, start: int) -> "KnownValues":
        """The same values without the rows before `start`."""
        return KnownValues(self.names, self.features[start:], self.labels[start:])


def common_dates(table: PriceTable) -> tuple[Dates, tuple[str, ...]]:
    """The dates that every series has, sorted, and a notice if there are others.

    Raises:
        DataError: no date is common to all series.
    """
    counts = table.frame["ds"].value_counts(sort=False)
    common = np.sort(counts.index[counts == len(table.series)].to_numpy(dtype="datetime64[ns]"))
    if len(common) == 0:
        raise DataError(
            f"all series must share dates: the {len(table.series)} series of {table.origin} have none in "
            "common; give series of the same market and time, or one series alone"
        )
    dropped = len(counts) - len(common)
    notice = f"{table.origin}: dropped {dropped} dates that not all {len(table.series)} series have"
    return common, (notice,) if dropped else ()


def read_ready(table: PriceTable, dates: Dates, tier: str) -> KnownValues:
    """Labels and features of a ready table, which stores them when they are known; no features in the tier none."""
    names = list(table.value_columns) if tier != "none" else []
    frames = [table.one_series(name).loc[dates] for name in table.series]
    features = np.stack([rows[names].to_numpy(dtype=np.float64) for rows in frames], axis=1)
    labels = np.stack([rows[LABEL_COLUMN].to_numpy(dtype=np.float64) for rows in frames], axis=1)
    return KnownValues(tuple(names), features, labels)


def compute_known(table: PriceTable, dates: Dates, tier: str, horizon: int, threshold: float, kind: str) -> KnownValues:
    """Labels and indicators of the prices on `dates` alone, so that H rows are the same time for all series.

    The indicators of the first series are recomputed from truncated prices, to see that they know no future.
    """
    compute = partial(compute_indicators, tier=tier)
    features: list[npt.NDArray[np.float64]] = []
    labels: list[npt.NDArray[np.float64]] = []
    for name in table.series:
        prices = table.one_series(name).loc[dates]
        if not features:
            audit_causality(compute, prices, (len(dates) // 2, len(dates) * 3 // 4))
        high, close = prices["high"].to_numpy(dtype=np.float64), prices["close"].to_numpy(dtype=np.float64)
        label = rise_labels(high, close, horizon, threshold, kind)
        features.append(store_when_known(compute(prices).to_numpy(), horizon))
        labels.append(store_when_known(label, horizon))
    return KnownValues(TIERS[tier], np.stack(features, axis=1), np.stack(labels, axis=1))


@dataclass(frozen=True, eq=False)
class TrainScaler:
    """What standardizes features: their mean and standard deviation in train, float64 [N, F] each."""

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]

    @classmethod
    def of(cls, train: npt.NDArray[np.float64]) -> "TrainScaler":
        """Fit on the features of the train rows [T, N, F]."""
        return cls(train.mean(axis=0), train.std(axis=0))

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which features of which series don't vary in train [N, F]: they become 0 everywhere."""
        flat: npt.NDArray[np.bool_] = self.deviation <= 1e-12 * np.maximum(np.abs(self.mean), 1e-12)
        return flat

    def scale(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Standardize [T, N, F], and clip to ±`CLIP`."""
        constant = self.constant
        scaled = np.where(constant, 0.0, (features - self.mean) / np.where(constant, 1.0, self.deviation))
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


def scale_by_train(
    known: KnownValues, train_rows: int, table: PriceTable
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Standardize each feature of each series by its first `train_rows` rows, and clip it to ±`CLIP`.

    Returns:
        float32 [T, N, F], and a notice for the features that don't vary in train: they become 0 everywhere.
    """
    scaler = TrainScaler.of(known.features[:train_rows])
    constant = scaler.constant
    notices = tuple(
        f"{table.origin}: set to 0 for series {table.series[row]}, since constant in train: "
        + ", ".join(np.array(known.names)[constant[row]])
        for row in np.flatnonzero(constant.any(axis=1))
    )
    return scaler.scale(known.features), notices
