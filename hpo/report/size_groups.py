"""Runs of many sizes, put together into few: foreign studies search size as a number, and tables hold hundreds."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from hpo.report.equal_n import FloatArray
from hpo.report.size_findings import SizeScores

EXACT_SIZES: Final = 8
"""Up to so many distinct sizes stay as they are."""

MOST_GROUPS: Final = 12
_RUNS_A_GROUP: Final = 10
_LEAST_RUNS: Final = 5


def group_points(sizes: Sequence[float], scores: Sequence[float]) -> tuple[SizeScores, ...]:
    """Return runs by size, the smallest first, as `analyse_sizes` takes them.

    Up to 8 distinct sizes are groups of their own. More are put into 3 to 12 groups of equal width in log size, ten
    runs a group or more; a group with fewer than five joins the one above. A group's size is the geometric mean of its
    runs. Within a group the larger runs have an advantage of their own, so that its best would be that of a
    size above: each score is moved to the group's size along the slope of the groups' medians.

    Args:
        sizes: one a run; those that are not finite or not above zero are left out, as are scores that are not finite.
        scores: one a run.
    """
    x, y = np.array(sizes, dtype=np.float64), np.array(scores, dtype=np.float64)
    kept = np.isfinite(x) & np.isfinite(y) & (np.where(np.isfinite(x), x, 0) > 0)
    x, y = x[kept], y[kept]
    distinct = np.unique(x)
    if distinct.size <= EXACT_SIZES:
        return tuple(SizeScores(float(size), format_size(size), tuple(map(float, y[x == size]))) for size in distinct)
    members = _members(np.log(x))
    position = np.array([np.log(x[each]).mean() for each in members])
    medians = np.array([np.median(y[each]) for each in members])
    slopes = np.gradient(medians, position) if len(members) > 1 else np.zeros(1)
    found = []
    for each, centre, slope in zip(members, position, slopes, strict=True):
        moved = y[each] - slope * (np.log(x[each]) - centre)
        size = float(np.exp(centre))
        found.append(SizeScores(size, f"about {format_size(size)}", tuple(map(float, moved))))
    return tuple(found)


def _members(position: FloatArray) -> list[FloatArray]:
    """Return masks of the runs of each group."""
    count = int(np.clip(position.size // _RUNS_A_GROUP, 3, MOST_GROUPS))
    inner = np.linspace(position.min(), position.max(), count + 1)[1:-1]
    groups = np.digitize(position, inner)
    found, waiting = [], np.zeros(position.size, dtype=bool)
    for group in range(count):
        waiting = waiting | (groups == group)
        if waiting.sum() >= _LEAST_RUNS:
            found.append(waiting)
            waiting = np.zeros(position.size, dtype=bool)
    if waiting.any():
        found[-1:] = [found[-1] | waiting] if found else [waiting]
    return found


def format_size(size: float) -> str:
    """Return a size for a sentence: 2M for two million parameters, 1.2e19 for FLOPs."""
    for unit, worth in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if worth <= size < 1e3 * worth:
            return f"{size / worth:.3g}{unit}"
    return f"{size:.3g}".replace("e+", "e")
