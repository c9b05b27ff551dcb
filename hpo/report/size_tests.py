"""Whether sizes differ at all: permutation tests of the expected best of m, with one error rate for all of them.

If size does not matter, trials could change places between sizes without anybody noticing. That is done two thousand
times; a pattern counts where hardly any of the shuffled studies shows one as strong. Several patterns are looked for,
so each is judged by the clearest one of any kind in each shuffled study (min-p): the rate of false alarms holds for
all of them together, exactly, whatever the distribution of the scores and however unequal the counts.

The trials of a search are not drawn independently: a sampler returns to what did well. What the test says of them is
what it would say of trials drawn at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hpo.report.equal_n import FloatArray, expected_best

LEVEL: Final = 0.01
"""The rate of false alarms over all patterns. With 0.05, 100 studies of noise would have 6 or more in 38 % of cases;
with 0.01 in one of 2,000."""

SHUFFLES: Final = 1999
_LARGEST_SHUFFLE: Final = 4_000_000  # losses in all shuffled studies together: about 32 MB, 0.3 s
_DECIMALS: Final = 9  # shuffles that only change places within a size sum in another order, and are still equal


@dataclass(frozen=True)
class PatternTests:
    """The probability of each pattern, or a stronger one of any kind, if size does not matter.

    `falling` and `rising`: the loss with the logarithm of the size. `trap`: a size in the middle is worse than a
    smaller and a larger one; `trap_index` is the one for which that is clearest. `peak`, `peak_index`: better than
    both. `trap` and `peak` are 1 with fewer than three sizes.
    """

    falling: float
    rising: float
    trap: float
    peak: float
    trap_index: int | None = None
    peak_index: int | None = None


def pattern_tests(sizes: FloatArray, losses: Sequence[FloatArray], draws: int, seed: int = 0) -> PatternTests:
    """Return how likely the patterns of the expected best of `draws` are, if size does not matter.

    Args:
        sizes: k, rising, above zero.
        losses: k arrays, of `draws` or more each.
    """
    if len(losses) < 2:
        return PatternTests(1.0, 1.0, 1.0, 1.0)
    values = _shuffled_values(losses, draws, np.random.default_rng(seed))
    position = np.log(sizes) - np.log(sizes).mean()
    slope = _standardized(values @ position)
    differences = values[:, :, None] - values[:, None, :]
    spread = np.sqrt((differences**2).mean(axis=0))
    differences = np.divide(differences, spread, out=np.zeros_like(differences), where=spread > 0)
    worse, better = _between(differences), _between(-differences)
    statistics = np.round(np.stack([-slope, slope, worse.max(axis=1), better.max(axis=1)], axis=1), _DECIMALS)
    falling, rising, trap, peak = _adjusted(statistics)
    if len(losses) < 3:
        return PatternTests(falling, rising, 1.0, 1.0)
    middle = slice(1, -1)
    return PatternTests(
        falling, rising, trap, peak, int(worse[0, middle].argmax()) + 1, int(better[0, middle].argmax()) + 1
    )


def _shuffled_values(losses: Sequence[FloatArray], draws: int, generator: np.random.Generator) -> FloatArray:
    """Return the expected bests, shape (1 + shuffles, k), those of the study itself first."""
    pooled = np.concatenate(losses)
    ends = np.cumsum([each.size for each in losses])
    shuffles = int(np.clip(_LARGEST_SHUFFLE // pooled.size, 499, SHUFFLES))
    shuffled = generator.permuted(np.tile(pooled, (shuffles, 1)), axis=1)
    rows = np.vstack([pooled, shuffled])
    parts = zip([0, *ends[:-1]], ends, strict=True)
    return np.stack([expected_best(rows[:, begin:end], draws) for begin, end in parts], axis=1)


def _standardized(values: FloatArray) -> FloatArray:
    spread = float(np.sqrt((values**2).mean()))
    return values / spread if spread > 0 else np.zeros_like(values)


def _between(differences: FloatArray) -> FloatArray:
    """Return, for each size, the lesser of its largest lead over a smaller and over a larger size; −∞ at both ends."""
    rows, count, _ = differences.shape
    found = np.full((rows, count), -np.inf)
    for index in range(1, count - 1):
        below = differences[:, index, :index].max(axis=1)
        above = differences[:, index, index + 1 :].max(axis=1)
        found[:, index] = np.minimum(below, above)
    return found


def _adjusted(statistics: FloatArray) -> list[float]:
    """Return the first row's p-values, each against the least p-value of every row (Westfall and Young's min-p)."""
    rows = statistics.shape[0]
    ordered = np.sort(statistics, axis=0)
    columns = range(statistics.shape[1])
    at_least = [rows - np.searchsorted(ordered[:, column], statistics[:, column], side="left") for column in columns]
    chance = np.stack(at_least, axis=1) / rows
    least = chance.min(axis=1)
    return [float((least <= own).mean()) for own in chance[0]]
