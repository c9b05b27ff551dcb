"""Configurations ranked by the mean over their seeds: the luckiest seed of one is not the best configuration."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from hpo.report.evidence import Evidence, Trial
from hpo.report.repetition import computations_of


@dataclass(frozen=True)
class Contender:
    """One configuration of one study.

    Attributes:
        trials: of it with a score, the first one first; the same computation again is left out.
        score: their mean.
    """

    trials: tuple[Trial, ...]
    score: float

    @property
    def first(self) -> Trial:
        """The trial that stands for it: it was run before anybody knew which seed is lucky."""
        return self.trials[0]

    @property
    def runs(self) -> int:
        """How many scores the mean is of."""
        return len(self.trials)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of its score where it is one of prices; None for a mean, whose interval is another."""
        low, high = self.first.number_of("auc_low"), self.first.number_of("auc_high")
        return None if low is None or high is None or self.runs > 1 else (low, high)


def contenders(evidence: Evidence, trials: Iterable[Trial] | None = None) -> list[Contender]:
    """Return the configurations of these trials, or of all, the best first."""
    groups: dict[object, list[Trial]] = {}
    for trial in evidence.all_trials if trials is None else trials:
        if trial.score is not None:
            groups.setdefault((trial.study, trial.configuration), []).append(trial)
    found = []
    for group in groups.values():
        kept = computations_of(sorted(group, key=lambda trial: trial.number))
        found.append(Contender(kept, fmean(trial.score or 0.0 for trial in kept)))
    return sorted(found, key=lambda each: -each.score if evidence.maximizes else each.score)
