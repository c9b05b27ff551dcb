"""What the test part said: the scores of the finalists, how optimistic their validation scores were, and comparisons.

Pure functions; every value can be stored as JSON and read back.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from hpo.report.final_statistics import (
    Estimate,
    Floats,
    SeedNoise,
    areas_of,
    difference_from_fixed,
    mean_area,
    mean_difference,
    seed_noise,
)
from hpo.report.finalists import FinalPlan
from studies.metrics import COLLAPSED_RANGE
from studies.trained import ReadPart


@dataclass(frozen=True)
class FinalScore:
    """One finalist on the test part.

    Attributes:
        rank: of the finalist, by its validation score.
        seeds: that were read.
        chosen_by: the validation score that it was chosen by.
        validation: the mean validation score of these seeds.
        test: the mean test score of these seeds, with its interval.
        over_baseline: by how much that is above the baseline on the same dates.
        collapsed: how many of the seeds predict nearly a constant.
    """

    rank: int
    seeds: tuple[int, ...]
    chosen_by: float
    validation: float
    test: Estimate
    over_baseline: Estimate
    collapsed: int

    @property
    def optimism(self) -> float:
        """How much higher the validation score was than the test score: `luck` and `period` together."""
        return self.chosen_by - self.test.value

    @property
    def luck(self) -> float:
        """The part of the optimism that seeds nobody has chosen don't reach: chosen by less the validation again."""
        return self.chosen_by - self.validation

    @property
    def period(self) -> float:
        """The part that the same models lose from the validation part to the test part."""
        return self.validation - self.test.value


@dataclass(frozen=True)
class Comparison:
    """The better two finalists by validation score, on the dates and seeds that both were read on.

    Attributes:
        first: rank of the one that was chosen.
        second: rank of the other.
        seeds: that both have.
        difference: of their mean test scores, first less second.
    """

    first: int
    second: int
    seeds: tuple[int, ...]
    difference: Estimate


@dataclass(frozen=True)
class FinalResult:
    """What the test part said.

    Attributes:
        observations: decisions times series.
        clusters: of them that count as independent.
        series: how many.
        base_rate: share of ones among the labels.
        first_day: of the test part's decisions.
        last_day: of them.
        baseline_name: what the baseline is.
        baseline: its score.
        noise: variance between seeds, pooled over the finalists.
        scores: of the finalists that could be trained again, in the order of their ranks.
        comparison: None where only one has a score, or no seed is common to two.
    """

    observations: int
    clusters: int
    series: int
    base_rate: float
    first_day: str
    last_day: str
    baseline_name: str
    baseline: Estimate
    noise: SeedNoise
    scores: tuple[FinalScore, ...]
    comparison: Comparison | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, with what follows from them."""
        found = asdict(self)
        for shown, score in zip(found["scores"], self.scores, strict=True):
            shown |= {"optimism": score.optimism, "luck": score.luck, "period": score.period}
        return found


def result_of(plan: FinalPlan, part: ReadPart) -> FinalResult:
    """Return what the test part says of what was read, in the order of `plan.read`."""
    rows = {(each.rank, each.seed): row for each, row in zip(plan.read, part.probabilities, strict=True)}
    ranks = sorted({rank for rank, _ in rows})
    by_rank = {rank: np.stack([rows[rank, each.seed] for each in plan.of(rank)]) for rank in ranks}
    noise = seed_noise([areas_of(part.labels, each).tolist() for each in by_rank.values()])
    none = SeedNoise(0.0, 0)
    return FinalResult(
        observations=part.labels.size,
        clusters=np.unique(part.clusters).size,
        series=part.series,
        base_rate=float(part.labels.mean()),
        first_day=part.first,
        last_day=part.last,
        baseline_name=part.baseline_name,
        baseline=mean_area(part.labels, part.baseline[None], part.clusters, none),
        noise=noise,
        scores=tuple(_score(plan, rank, each, part, noise) for rank, each in by_rank.items()),
        comparison=_comparison(plan, ranks, rows, part, noise),
    )


def _score(plan: FinalPlan, rank: int, probabilities: Floats, part: ReadPart, noise: SeedNoise) -> FinalScore:
    retrained = plan.of(rank)
    low, high = np.percentile(probabilities, (1, 99), axis=1)
    return FinalScore(
        rank=rank,
        seeds=tuple(each.seed for each in retrained),
        chosen_by=next(each.chosen_by for each in plan.finalists if each.rank == rank),
        validation=fmean(each.score or 0.0 for each in retrained),
        test=mean_area(part.labels, probabilities, part.clusters, noise),
        over_baseline=difference_from_fixed(part.labels, probabilities, part.baseline, part.clusters, noise),
        collapsed=int((high - low < COLLAPSED_RANGE).sum()),
    )


def _comparison(
    plan: FinalPlan, ranks: Sequence[int], rows: dict[tuple[int, int], Floats], part: ReadPart, noise: SeedNoise
) -> Comparison | None:
    if len(ranks) < 2:
        return None
    first, second = ranks[:2]
    common = tuple(seed for seed in plan.seeds if (first, seed) in rows and (second, seed) in rows)
    if not common:
        return None
    pair = [np.stack([rows[rank, seed] for seed in common]) for rank in (first, second)]
    return Comparison(first, second, common, mean_difference(part.labels, pair[0], pair[1], part.clusters, noise))
