"""The noise floor of a study, with its interval, and which differences it drowns.

With few repeats the noise itself is hardly known: four of them give a 95 % interval from 0.6 to 2.9 times the
estimate. So a difference is compared by Student's t with that many degrees of freedom, not by the normal 1.96.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from hpo.noise import SeedNoise, pooled_noise
from hpo.output import count
from hpo.report.repetition import Cause, find_repeats

if TYPE_CHECKING:
    from hpo.report.evidence import Trial

_CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Noise:
    """How much the score of one configuration differs between seeds.

    Attributes:
        standard_deviation: of a single score, pooled over configurations, in units of the score.
        degrees_of_freedom: repeats beyond the first score of each configuration.
        configurations: how many were repeated.
        duplicates: rows left out because an equal score of an equal or unknown seed was there.
        low: of the 95 % interval of the standard deviation (chi-square).
        high: of it.
        sentence: all of that in words.
    """

    standard_deviation: float
    degrees_of_freedom: int
    configurations: int
    duplicates: int
    low: float
    high: float
    sentence: str

    @classmethod
    def of(cls, found: SeedNoise) -> Self:
        """Return a noise with its interval."""
        from scipy.special import chdtri

        freedom, tail = found.degrees_of_freedom, (1 - _CONFIDENCE) / 2
        low, high = (
            found.standard_deviation * float((freedom / chdtri(freedom, share)) ** 0.5) for share in (tail, 1 - tail)
        )
        return cls(**found.as_json(), low=low, high=high, sentence=_sentence(found, low, high))

    def as_json(self) -> dict[str, Any]:
        """Return the numbers, the sentence and the smallest difference that shows, as JSON values."""
        return {**asdict(self), "smallest_difference": self.smallest_difference()}

    def smallest_difference(self, n_a: int = 1, n_b: int = 1) -> float:
        """Return which difference between two means, over so many seeds each, exceeds the noise at 95 %."""
        from scipy.special import stdtrit

        quantile = float(stdtrit(self.degrees_of_freedom, (1 + _CONFIDENCE) / 2))
        return quantile * self.standard_deviation * math.sqrt(1 / n_a + 1 / n_b)

    def is_below_noise(self, difference: float, n_a: int = 1, n_b: int = 1) -> bool:
        """Return whether the noise alone explains a difference between two means over so many seeds each.

        For two configurations named beforehand. The best of many has been chosen for its luck as well: what exceeds
        the noise here is then only what does not have to be noise.
        """
        return abs(difference) <= self.smallest_difference(n_a, n_b)


def noise_floor(trials: "Sequence[Trial]") -> Noise | None:
    """Return the noise between seeds; None where no configuration was run with two seeds.

    Scores that differ with one seed, or with seeds that nobody has recorded, are noise of another or an unknown kind.

    Args:
        trials: of any studies; a configuration of one study is another one in the next.
    """
    repeats = find_repeats(trials)
    found = pooled_noise(
        (place, trial.seed, trial.score)
        for place, group in enumerate(repeats.of(Cause.SEEDS))
        for trial in group.trials
        if trial.score is not None
    )
    return None if found is None else Noise.of(found)


def _sentence(found: SeedNoise, low: float, high: float) -> str:
    rests_on = f"{count(found.degrees_of_freedom, 'repeat')} of {count(found.configurations, 'configuration')}"
    left_out = f"; {count(found.duplicates, 'duplicate')} left out" if found.duplicates else ""
    if found.standard_deviation == 0:
        return f"The score does not depend on the seed ({rests_on}{left_out})."
    return (
        f"Between seeds the score of one configuration varies with a standard deviation of "
        f"{found.standard_deviation:.2g} (95 %: {low:.2g} to {high:.2g}, from {rests_on}{left_out})."
    )
