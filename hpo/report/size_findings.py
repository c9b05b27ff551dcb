"""What a study says of size: the records, and how they are written down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np

from hpo.report.equal_n import FloatArray
from hpo.report.loss_scale import LossScale
from hpo.report.power_law import ScalingLaw
from hpo.report.size_tests import PatternTests


class Verdict(StrEnum):
    """What a study says of size."""

    IMPROVES = "improves"
    WORSENS = "worsens"
    FLAT = "flat"
    """No pattern, and a difference that would matter would have been seen; or one below the noise between seeds."""
    U_SHAPED = "u_shaped"
    """The middle trap: a size in the middle is worse than a smaller and a larger one."""
    MIDDLE_BEST = "middle_best"
    """A size in the middle is better than a smaller and a larger one."""
    NOT_IDENTIFIABLE = "not_identifiable"
    """No pattern, and the trials are too few to say that there is none; or fewer than three sizes."""


@dataclass(frozen=True)
class SizeScores:
    """The scores of one size: one mean score for each distinct configuration; repeats over seeds are in the mean."""

    size: float
    label: str
    scores: tuple[float, ...]


@dataclass(frozen=True)
class SizeFinding:
    """One size, in units of the score.

    Attributes:
        n: its distinct configurations with a finite score.
        best: the best of them; a lucky one, and the luckier the larger n.
        expected_best: of m, the common number of all sizes, with its 95 % interval; None where n is below 3.
    """

    size: float
    label: str
    n: int
    best: float
    median: float
    expected_best: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def compared(self) -> bool:
        """Whether it has enough configurations to count."""
        return self.expected_best is not None


@dataclass(frozen=True)
class Gain:
    """By how much the largest size is better than the smallest one, in units of the score; below zero: worse."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """What the law expects at sizes, in units of the score; `low` and `high` are the interval to report."""

    sizes: tuple[float, ...]
    central: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    bracket_low: tuple[float, ...]
    bracket_high: tuple[float, ...]


@dataclass(frozen=True)
class HoldOut:
    """The largest size, predicted from the others.

    Attributes:
        predicted, low, high: what the law of the others expects, in units of the score.
        observed: the expected best of m there.
        error: predicted minus observed.
        relative: predicted loss over observed loss, minus 1; None where the loss has no natural zero.
        inside: whether the observed one lies in the interval.
        fitted: how many sizes the law was fitted to. Two allow any floor.
    """

    size: float
    label: str
    predicted: float
    low: float
    high: float
    observed: float
    error: float
    relative: float | None
    inside: bool
    fitted: int


@dataclass(frozen=True)
class SizeFindings:
    """What a study says of size.

    Attributes:
        common_draws: m, at which the sizes are compared; 0 where none is.
        tests: None with fewer than two comparable sizes.
        law: of losses (`scale` says how they become scores); None unless the verdict is `improves`.
        sentences: the finding in plain words, the verdict first.
    """

    verdict: Verdict
    sizes: tuple[SizeFinding, ...]
    common_draws: int
    noise: float | None
    scale: LossScale
    tests: PatternTests | None = None
    gain: Gain | None = None
    law: ScalingLaw | None = None
    curve: Curve | None = None
    hold_out: HoldOut | None = None
    sentences: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[SizeFinding, ...]:
        """The sizes that count, the smallest first."""
        return tuple(each for each in self.sizes if each.compared)

    def expects(self, sizes: Sequence[float]) -> Curve | None:
        """Return what the law expects at any sizes; None without a law."""
        return curve_of(self.law, self.scale, np.array(sizes, dtype=np.float64)) if self.law else None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "verdict": self.verdict.value,
            "sentences": list(self.sentences),
            "sizes": [plain(each) for each in self.sizes],
            "common_draws": self.common_draws,
            "noise": self.noise,
            "tests": self.tests and plain(self.tests),
            "gain": self.gain and plain(self.gain),
            "law": self.law and {**self.law.as_json(), "loss": plain(self.scale)},
            "curve": self.curve and plain(self.curve),
            "hold_out": self.hold_out and plain(self.hold_out),
        }


def curve_of(law: ScalingLaw, scale: LossScale, sizes: FloatArray) -> Curve:
    """Return what a law expects at the sizes."""
    band = law.at(sizes)
    interval = _ordered(scale, band.low, band.high)
    bracket = _ordered(scale, band.bracket_low, band.bracket_high)
    return Curve(floats(sizes), floats(scale.scores(band.central)), *interval, *bracket)


def _ordered(scale: LossScale, low: FloatArray, high: FloatArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    ends = scale.scores(low), scale.scores(high)
    return floats(np.minimum(*ends)), floats(np.maximum(*ends))


def floats(values: FloatArray) -> tuple[float, ...]:
    """Return an array as plain numbers."""
    return tuple(map(float, values))


def _fields(record: object) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}  # type: ignore[arg-type]


def plain(record: object) -> Mapping[str, Any]:
    """Return a record of numbers and tuples of numbers as JSON holds it; records within it are left as they are."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in _fields(record).items()}
