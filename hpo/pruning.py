"""Which trials are hopeless while they still run: far behind their peers, and beyond the noise. Pure decisions.

A trial is compared by the best value that it has reached, at equal steps, with trials of its own group alone, such as
those of its budget: a large model learns more slowly than a small one. A trial that was pruned stays a peer, with
what it had: among survivors alone the threshold would creep upwards, and trial after trial would be the worst.

What somebody has asked for is never pruned: forced configurations, what was enqueued by hand, repeats over seeds.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpo.records import Origin, TrialRecord
from studies.spec import Direction, Spec

BEST_SO_FAR: Final = "best_so_far"
"""The attribute of a trial that holds its curve, where its study prunes."""

_MOST_POINTS: Final = 400
"""Of a curve. One with more loses every other: it then says less than was reached, and prunes nobody by that."""

_WARMUP_SHARE: Final = 3
"""Without a number of steps in the specification, the first third of the longest curve is warm-up."""


@dataclass(frozen=True)
class Curve:
    """The best value that a trial had reached by each step.

    Attributes:
        points: step and value where the best changed, and at the last look; steps rise.
    """

    points: tuple[tuple[int, float], ...] = ()

    def after(self, step: int, value: float, direction: Direction) -> "Curve":
        """Return the curve with one more look; one that comes again, or is no number, changes nothing."""
        if not math.isfinite(value) or step <= self.last_step:
            return self
        best = value if not self.points else (max if direction == "maximize" else min)(value, self.points[-1][1])
        points = self.points
        if len(points) > 1 and points[-1][1] == points[-2][1]:
            # It was there as the last look alone.
            points = points[:-1]
        if len(points) >= _MOST_POINTS:
            points = points[::2]
        return Curve((*points, (step, best)))

    def at(self, step: int) -> float | None:
        """Return the best value at this step or before it; None where there was no look yet."""
        before = bisect_right(self.points, step, key=lambda point: point[0])
        return self.points[before - 1][1] if before else None

    @property
    def last_step(self) -> int:
        """The step of the last look; -1 where there was none."""
        return self.points[-1][0] if self.points else -1

    def as_attributes(self) -> dict[str, Any]:
        """Return what is stored with the trial, as JSON values; nothing where there was no look."""
        return {BEST_SO_FAR: [list(point) for point in self.points]} if self.points else {}


def stored_curve(points: Sequence[Sequence[float]] | None) -> Curve:
    """Return the curve that was stored with a trial; an empty one where there was none."""
    return Curve(tuple((int(step), float(value)) for step, value in points or ()))


@dataclass(frozen=True)
class Hopeless:
    """What a verdict rests on: `better` of `peers` were ahead by more than the tolerance at this step."""

    step: int
    value: float
    better: int
    peers: int
    tolerance: float

    def __str__(self) -> str:
        ahead = f"{self.better} of {self.peers} comparable trials were ahead by more than {self.tolerance:g}"
        return f"pruned at step {self.step}: {self.value:.6g} at best, where {ahead}"


@dataclass(frozen=True)
class PruningRule:
    """The rule of one study; its numbers are those of `studies.sections.PruningSpec`.

    Attributes:
        tolerance: in units of the score; a trial that is behind by no more goes on.
    """

    percentile: float
    tolerance: float
    warmup_steps: int | None
    min_trials: int
    patience: int
    direction: Direction

    @classmethod
    def of(cls, spec: Spec) -> "PruningRule":
        """Return the rule of a study that prunes."""
        given = spec.pruning
        return cls(
            percentile=given.percentile,
            tolerance=spec.pruning_tolerance,
            warmup_steps=given.warmup_steps,
            min_trials=given.min_trials,
            patience=given.patience,
            direction=spec.direction,
        )

    def judge(self, looks: Sequence[tuple[int, float]], peers: Sequence[Curve]) -> Hopeless | None:
        """Return why a trial is hopeless, or None where it goes on.

        Args:
            looks: step and best value so far at each of its looks, the latest last.
            peers: curves of the trials of its group that have ended.
        """
        longest = max((peer.last_step for peer in peers), default=0)
        warmup = longest / _WARMUP_SHARE if self.warmup_steps is None else self.warmup_steps
        latest = looks[-self.patience :]
        # At its last steps there is nothing left to be saved.
        if len(latest) < self.patience or latest[0][0] < warmup or latest[-1][0] >= longest:
            return None
        found = [self._behind(step, value, peers) for step, value in latest]
        return found[-1] if all(found) else None

    def _behind(self, step: int, value: float, peers: Sequence[Curve]) -> Hopeless | None:
        reached = [best for peer in peers if (best := peer.at(step)) is not None]
        sign = 1.0 if self.direction == "maximize" else -1.0
        better = sum(sign * (best - value) > self.tolerance for best in reached)
        if len(reached) < self.min_trials or better * 100 < (100 - self.percentile) * len(reached):
            return None
        return Hopeless(step, value, better, len(reached), self.tolerance)


def may_be_pruned(trial: TrialRecord, first_seed: int) -> bool:
    """Return whether nobody has asked for this very trial: a sampler proposed it, and it is no repeat over seeds.

    Where a space is exhausted, a sampler's proposal repeats a configuration with another seed than the study's first.
    """
    return trial.origin is Origin.SAMPLED and trial.seed == first_seed
