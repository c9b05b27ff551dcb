"""Runs of many sizes, put together into few: foreign studies search size as a number, and tables hold hundreds."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpo.report.equal_n import FloatArray
from hpo.report.size_findings import SizeScores

EXACT_SIZES: Final = 8
"""Up to so many distinct sizes stay as they are."""

MOST_GROUPS: Final = 12
_LEAST_GROUPS: Final = 3
_RUNS_A_GROUP: Final = 10
_LEAST_RUNS: Final = 5


def group_points(sizes: Sequence[float], scores: Sequence[float]) -> tuple[SizeScores, ...]:
    """Return runs by size, the smallest first, as `analyse_sizes` takes them.

    Up to 8 distinct sizes are groups of their own. More are put into 3 to 12 groups of equal width in log size, ten
    runs a group or more; a group with fewer than five joins the one above, and where fewer than three are left there
    are three with about as many runs each. A group's size is the geometric mean of its runs. Within a group the larger
    runs have an advantage of their own, so that its best would be that of a size above: each score is moved to the
    group's size along the slope of the groups' medians.

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
    centres = np.array([np.log(x[each]).mean() for each in members])
    medians = np.array([np.median(y[each]) for each in members])
    found = []
    for group, each in enumerate(members):
        moved = y[each] - _moves(np.log(x[each]), centres, medians, group)
        size = float(np.exp(centres[group]))
        found.append(SizeScores(size, f"about {format_size(size)}", tuple(map(float, moved))))
    return tuple(found)


def _members(position: FloatArray) -> list[NDArray[np.bool_]]:
    """Return masks of the runs of each group."""
    count = int(np.clip(position.size // _RUNS_A_GROUP, _LEAST_GROUPS, MOST_GROUPS))
    inner = np.linspace(position.min(), position.max(), count + 1)[1:-1]
    groups = np.digitize(position, inner)
    found: list[NDArray[np.bool_]] = []
    waiting = np.zeros(position.size, dtype=np.bool_)
    for group in range(count):
        waiting = waiting | (groups == group)
        if waiting.sum() >= _LEAST_RUNS:
            found.append(waiting)
            waiting = np.zeros(position.size, dtype=np.bool_)
    if waiting.any():
        found[-1:] = [found[-1] | waiting] if found else [waiting]
    return found if len(found) >= _LEAST_GROUPS else _equal_counts(position)


def _equal_counts(position: FloatArray) -> list[NDArray[np.bool_]]:
    """Return masks of up to three groups with about as many runs each; equal sizes stay together."""
    group = np.digitize(position, np.quantile(position, [1 / 3, 2 / 3]))
    return [group == each for each in np.unique(group)]


def _moves(position: FloatArray, centres: FloatArray, medians: FloatArray, group: int) -> FloatArray:
    """Return what a group's scores lose on the way to its centre: at most the step to the next median.

    The bound is for groups that nearly touch, between which a slope means nothing.
    """
    if centres.size < 2:
        return np.zeros_like(position)
    slope = np.gradient(medians, centres)[group]
    steps = np.abs(np.diff(medians))[max(group - 1, 0) : group + 1]
    return np.asarray(np.clip(slope * (position - centres[group]), -steps.max(), steps.max()), dtype=np.float64)


def format_size(size: float) -> str:
    """Return a size for a sentence: 2M for two million parameters, 1.2e19 for FLOPs."""
    for unit, worth in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if worth <= size < 1e3 * worth:
            return f"{size / worth:.3g}{unit}"
    return f"{size:.3g}".replace("e+", "e")
