"""Trials that are one configuration: the same computation again, or a look at the noise, and never convergence.

A sampler proposes its best configuration again and again. With a fixed seed the score is the same each time: such
rows are one trial. In recorded searches of this kind they were 80 of 300 trials, and in three of six studies the five
best rows were one configuration.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import stdev
from typing import Final

from hpo.output import count
from hpo.report.evidence import Evidence, Trial

SAME_SCORE: Final = 1e-9
"""The relative difference below which two scores are the same number, computed in another order at most."""

_WORDS: Final = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Cause(StrEnum):
    """Why trials of one configuration score differently, as far as it is recorded."""

    NOTHING = "nothing"
    """They don't: the same computation again, or a seed that is fixed."""
    SEEDS = "seeds"
    NON_DETERMINISM = "non-determinism"
    """Their seed is the same."""
    UNKNOWN = "unknown"
    """No seed is recorded: seeds, folds or non-determinism."""


@dataclass(frozen=True)
class Repetition:
    """Complete trials of one study with equal parameters, two or more.

    Attributes:
        trials: in the order of their numbers.
        computations: the first trial of each that tells something new: another score, or a recorded seed that differs.
    """

    trials: tuple[Trial, ...]
    computations: tuple[Trial, ...]

    @property
    def duplicates(self) -> int:
        """How many of them tell nothing new."""
        return len(self.trials) - len(self.computations)

    @property
    def scores(self) -> tuple[float, ...]:
        """One for each computation."""
        return tuple(trial.score for trial in self.computations if trial.score is not None)

    @property
    def cause(self) -> Cause:
        """Why the scores differ."""
        if len(self.computations) == 1:
            return Cause.NOTHING
        seeds = {trial.seed for trial in self.computations}
        if None in seeds:
            return Cause.UNKNOWN
        return Cause.SEEDS if len(seeds) == len(self.computations) else Cause.NON_DETERMINISM

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the scores, None for duplicates alone."""
        return stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Repeats:
    """What is repeated in a study.

    Attributes:
        complete: how many trials are.
        distinct: how many configurations they have.
        groups: those with two trials or more, in the order of their first numbers.
    """

    complete: int
    distinct: int
    groups: tuple[Repetition, ...]

    @property
    def duplicates(self) -> int:
        """How many complete trials tell nothing that an earlier one has not told."""
        return sum(group.duplicates for group in self.groups)

    def of(self, *causes: Cause) -> tuple[Repetition, ...]:
        """Return the configurations whose scores differ for one of these causes."""
        return tuple(group for group in self.groups if group.cause in causes)


def find_repeats(trials: Iterable[Trial]) -> Repeats:
    """Return the configurations that complete trials share; those of two studies are never one."""
    groups: dict[object, list[Trial]] = {}
    for trial in trials:
        if trial.score is not None:
            groups.setdefault((trial.study, trial.configuration), []).append(trial)
    repeated = [sorted(group, key=lambda trial: trial.number) for group in groups.values() if len(group) > 1]
    return Repeats(
        complete=sum(map(len, groups.values())),
        distinct=len(groups),
        groups=tuple(Repetition(tuple(group), computations_of(group)) for group in repeated),
    )


def computations_of(group: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return the trials of a configuration that tell something new: another score, or a recorded seed that differs."""
    kept: list[Trial] = []
    for trial in group:
        if not any(_is_same(trial, other) for other in kept):
            kept.append(trial)
    return tuple(kept)


def _is_same(trial: Trial, other: Trial) -> bool:
    """Whether one was the other again: an equal score with an equal seed, or with one that nobody has recorded."""
    assert trial.score is not None
    assert other.score is not None
    close = math.isclose(trial.score, other.score, rel_tol=SAME_SCORE, abs_tol=SAME_SCORE**2)
    return close and (trial.seed == other.seed or trial.seed is None or other.seed is None)


def pooled_deviation(groups: Iterable[Repetition]) -> tuple[float, int] | None:
    """Return the standard deviation within configurations, and its degrees of freedom; None where nothing differs."""
    squares, degrees = 0.0, 0
    for group in groups:
        if group.deviation is not None:
            squares += group.deviation**2 * (len(group.scores) - 1)
            degrees += len(group.scores) - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else None


@dataclass(frozen=True)
class TopRows:
    """How many configurations the best rows are."""

    rows: int
    distinct: int

    @property
    def sentence(self) -> str:
        """What that means; empty where every row is a configuration of its own."""
        if self.rows == self.distinct:
            return ""
        are = "one configuration" if self.distinct == 1 else f"{_word(self.distinct)} configurations"
        return f"The {_word(self.rows)} best rows are {are}: repetition, no evidence of convergence."


def top_rows(evidence: Evidence, rows: int = 5) -> TopRows:
    """Return how many configurations the best rows of a study are, or all where it has fewer."""
    best = evidence.ranked(evidence.trials)[:rows]
    return TopRows(len(best), len({trial.configuration for trial in best}))


def repeat_sentences(repeats: Repeats) -> tuple[str, ...]:
    """Return what the repeats of a study say; nothing where there are none."""
    if not repeats.groups:
        return ()
    said = (_duplicates(repeats), *(_differing(repeats, cause) for cause in Cause if cause is not Cause.NOTHING))
    return tuple(sentence for sentence in said if sentence)


def _duplicates(repeats: Repeats) -> str:
    found = repeats.duplicates
    if not found:
        return ""
    repeat = "repeats" if found == 1 else "repeat"
    return (
        f"{found} of {repeats.complete} complete trials {repeat} an earlier one, score included: the same computation "
        f"again, or a fixed seed. They count once: {count(repeats.distinct, 'distinct configuration')}."
    )


def _differing(repeats: Repeats, cause: Cause) -> str:
    groups = repeats.of(cause)
    found = pooled_deviation(groups)
    if found is None:
        return ""
    ran, deviation = f"{count(len(groups), 'configuration')} ran again", f"standard deviation {found[0]:.3g}"
    if cause is Cause.SEEDS and found[0] <= SAME_SCORE:
        return f"{ran} with another seed and scored the same: the seed may not reach the training, or does nothing."
    if cause is Cause.SEEDS:
        return f"{ran} with another seed: {deviation} between seeds ({_freedom(found[1])})."
    if cause is Cause.NON_DETERMINISM:
        return f"{ran} with the same seed and scored differently ({deviation}): the training is not deterministic."
    return (
        f"{ran} and scored differently ({deviation}, {_freedom(found[1])}), and no seed is recorded: that may be "
        "seeds, folds or non-determinism, so it shows that there is noise, and its size only roughly."
    )


def _freedom(degrees: int) -> str:
    return f"{degrees} degree{'' if degrees == 1 else 's'} of freedom"


def _word(number: int) -> str:
    return _WORDS[number] if number < len(_WORDS) else str(number)
