"""Whether a feature knows the future: statistics against the labels, and recomputation without the future.

Row s of a panel holds the label of decision s-H and the features that this decision may see. A column is
looked at as it is and as its change from row to row (which reveals the next close, whose level says nothing),
and scored by its AUC against the labels. *Lead* m compares the column at row s+m with the label at row s; the
model sees leads up to 0. Three things do not happen to a column that knows only the past:

- level: at a lead of 0 or less its AUC exceeds `MAXIMUM_AUC`. It then nearly is the label.
- onset: its AUC jumps by more than `MAXIMUM_ONSET` from one lead to the next, both at most 0, and then says
  more than before. What is known ages smoothly, while the return of the first day of the label's window says
  much at lead 0 and little at lead -1. An honest return jumps likewise, but after lead 0.
- copy: at a lead below H, where a day of the label's window is still to come, it separates the labels
  perfectly.

Measured on all a200 indicators of S&P 500 and NASDAQ over 3,300 train rows (touch 0.5 to 5 %, close to close,
H 1 to 20): the highest AUC of an honest column is 0.734 at a 1 % touch of the next day and 0.863 at 2 %, its
largest onset 0.104, or 5.2 standard errors. A planted return or close of the next day has an onset of 0.16 to
0.53, at least 15 standard errors. Of 1,107 random settings down to 150 rows none refused an honest column. A
planted return or close was found in 99 of 100 at H 1 and 2,500 rows or more, but in 8 of 10 at 150 rows and in
few where H is a tenth of the rows: a pass on a short sample proves little.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from studies.errors import DataError

#: A single column that ranks the labels better than this before they are known is one that knows them.
MAXIMUM_AUC = 0.98

#: The largest honest jump of a column's AUC from one lead to the next.
MAXIMUM_ONSET = 0.10

#: Chance moves the AUC of short samples further: a level or onset must also exceed this many standard errors.
STANDARD_ERRORS = 8.0

#: With fewer separate runs of positive labels than this, one crisis can make an honest column look perfect.
MINIMUM_RUNS = 5

#: Leads looked back over at least; a longer horizon is looked back over whole.
MINIMUM_REACH = 5

#: Recomputed features may differ by this share: rounding, not knowledge.
RECOMPUTATION_TOLERANCE = 1e-9


@dataclass(frozen=True)
class LeadCurves:
    """How each column ranks the labels, by lead.

    Attributes:
        leads: int [M], ascending and consecutive, from below -H up to H-1.
        auc: float64 [M, F]; 0.5 says nothing, below 0.5 falls with the label.
        error: Standard error [M] of the AUC of a column that says nothing.
    """

    leads: npt.NDArray[np.int64]
    auc: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]


def audit_leaks(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.floating],
    horizon: int,
    *,
    names: Sequence[str],
    origin: str = "the data",
) -> tuple[str, ...]:
    """Refuse a feature that knows labels of the future.

    Args:
        features: [T, F], stored when known; train rows only, finite.
        labels: [T], 0 or 1, stored when known; the same rows.
        horizon: H, rows that a label looks ahead.
        names: The F feature names.
        origin: What to name in the message: a file, and a series of it.

    Returns:
        A notice when the labels are too few to judge by; else nothing.

    Raises:
        DataError: a feature fails one of the three tests of this module; the message names it and the values.
    """
    views = (("", features), ("the change of ", np.diff(features, axis=0, prepend=features[:1])))
    for view, columns in views:
        curves = lead_curves(columns, labels, horizon)
        if curves is None:
            return (f"{origin}: too few separate runs of positive labels in train to audit features for leaks",)
        finding = _level(curves, horizon) or _onset(curves) or _copy(curves, horizon)
        if finding is not None:
            column, reason = finding
            raise DataError(
                f"a feature must not foresee: {view}{names[column]} of {origin} {reason}; drop it, or "
                f"store at each row what was known {horizon} rows before"
            )
    return ()


def lead_curves(columns: npt.NDArray[np.floating], labels: npt.NDArray[np.floating], horizon: int) -> LeadCurves | None:
    """The AUC of every column at every lead, or None where the labels are too few to judge by.

    Args:
        columns: [T, F].
        labels: [T], 0 or 1.
        horizon: H.
    """
    reach = max(horizon, MINIMUM_REACH) + 1
    leads = np.arange(-reach, horizon)
    # The same rows of the columns at every lead, so that they are ranked once.
    rows = np.arange(horizon, len(labels) - reach)
    if len(rows) == 0:
        return None
    shifted = np.stack([labels[rows - lead] for lead in leads]).astype(np.float64)
    if np.sum(np.diff(shifted, axis=1) > 0, axis=1).min() < MINIMUM_RUNS:
        return None
    positives = shifted.sum(axis=1)
    negatives = len(rows) - positives
    ranks = pd.DataFrame(columns[rows]).rank().to_numpy()
    wins = shifted @ ranks - (positives * (positives + 1) / 2)[:, None]
    auc = wins / (positives * negatives)[:, None]
    return LeadCurves(leads, auc, np.sqrt((len(rows) + 1) / (12 * positives * negatives)))


def _level(curves: LeadCurves, horizon: int) -> tuple[int, str] | None:
    seen = curves.leads <= 0
    strength = np.abs(curves.auc[seen] - 0.5)
    # Labels over H rows overlap, so that there are about H times fewer of them than it seems.
    error = np.sqrt(horizon) * curves.error[seen][:, None]
    if not np.any(found := (strength > MAXIMUM_AUC - 0.5) & (strength > STANDARD_ERRORS * error)):
        return None
    lead, column = np.unravel_index(np.argmax(np.where(found, strength, 0)), strength.shape)
    value = strength[lead, column] + 0.5
    return int(column), f"ranks the labels of train with AUC {value:.3f} (at most {MAXIMUM_AUC:g} is credible)"


def _onset(curves: LeadCurves) -> tuple[int, str] | None:
    seen = curves.leads <= 0
    auc, error = curves.auc[seen], curves.error[seen][1:, None]
    jumps = np.abs(np.diff(auc, axis=0))
    # The change of an honest column spikes and swings back, so that its AUC jumps too: towards saying less.
    gains = np.diff(np.abs(auc - 0.5), axis=0)
    if not np.any(found := (jumps > MAXIMUM_ONSET) & (jumps > STANDARD_ERRORS * error) & (gains > 0)):
        return None
    lead, column = np.unravel_index(np.argmax(np.where(found, jumps, 0)), jumps.shape)
    before, after = auc[lead, column], auc[lead + 1, column]
    return int(column), (
        f"jumps from AUC {before:.3f} to {after:.3f} within one row, before the label of train is known "
        f"(at most {MAXIMUM_ONSET:g} is credible)"
    )


def _copy(curves: LeadCurves, horizon: int) -> tuple[int, str] | None:
    unknown = curves.leads < horizon
    perfect = np.abs(curves.auc[unknown] - 0.5) > 0.5 - RECOMPUTATION_TOLERANCE
    if not perfect.any():
        return None
    return int(np.argmax(perfect.any(axis=0))), "separates the labels of train perfectly before they are known"


def audit_causality(
    compute: Callable[[pd.DataFrame], pd.DataFrame], prices: pd.DataFrame, times: Iterable[int]
) -> None:
    """Refuse features that change when the prices after a time are taken away.

    Args:
        compute: From prices [T] to features [T, F] with the same index.
        prices: One series, sorted by its index.
        times: Rows t; the features at rows up to t are recomputed from the prices up to t.

    Raises:
        DataError: a feature differs by more than 1e-9 of its value; the message names it and the date.
    """
    complete = compute(prices)
    for time in times:
        truncated = compute(prices.iloc[: time + 1])
        expected, given = truncated.to_numpy(), complete.iloc[: time + 1].to_numpy()
        differs = ~np.isclose(expected, given, rtol=RECOMPUTATION_TOLERANCE, atol=0, equal_nan=True)
        if differs.any():
            row, column = np.argwhere(differs)[-1]
            raise DataError(
                f"a feature must not use later prices: {complete.columns[column]} on {complete.index[row]} "
                f"is {given[row, column]:g}, but {expected[row, column]:g} without the prices after "
                f"{complete.index[time]}; make it depend on earlier rows alone"
            )
