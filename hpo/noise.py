"""The noise floor: how much the score of one configuration differs between seeds.

Pooled over configurations, as if the noise were the same for all: with two or three seeds each, one configuration
alone says next to nothing.
"""

import math
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any


@dataclass(frozen=True, slots=True)
class SeedNoise:
    """A standard deviation between seeds, and what it rests on.

    Attributes:
        standard_deviation: of a single score around the mean of its configuration, in units of the score.
        degrees_of_freedom: repeats, that is scores beyond the first of each configuration.
        configurations: how many have two scores or more.
        duplicates: scores left out because they say nothing: an equal one of an equal or unknown seed was there.
    """

    standard_deviation: float
    degrees_of_freedom: int
    configurations: int
    duplicates: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return asdict(self)


def pooled_noise(samples: Iterable[tuple[Hashable, int | None, float]]) -> SeedNoise | None:
    """Return the noise over all configurations with two scores or more; None where there is none.

    Args:
        samples: configuration, seed and score of every complete trial. A seed of None is not known: an equal score
            may then be the same training twice, and is left out. A score that differs is a repeat in any case.
    """
    groups: dict[Hashable, list[float]] = {}
    seeds_of: dict[tuple[Hashable, float], set[int | None]] = {}
    duplicates = 0
    for configuration, seed, score in samples:
        if not math.isfinite(score):
            continue
        seeds = seeds_of.setdefault((configuration, score), set())
        if seeds and (seed is None or not seeds.isdisjoint({seed, None})):
            duplicates += 1
        else:
            seeds.add(seed)
            groups.setdefault(configuration, []).append(score)
    repeated = [scores for scores in groups.values() if len(scores) > 1]
    if not repeated:
        return None
    freedom = sum(len(scores) - 1 for scores in repeated)
    # Exact means and no squares: equal scores give 0, and a loss of 1e200 does not overflow.
    deviation = math.hypot(*(score - mean(scores) for scores in repeated for score in scores)) / math.sqrt(freedom)
    return SeedNoise(deviation, freedom, len(repeated), duplicates) if math.isfinite(deviation) else None
