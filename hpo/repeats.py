"""Which configuration is trained again with another seed, and when. Pure decisions on records.

Two are, with `seeds` seeds each in all:

- the *reference*, the cheapest forced configuration that completed, as soon as the forced ones have ended: the noise
  is then known early, for little;
- the *incumbent*, the best configuration, when the search would otherwise end: it has converged, or only the slots
  that the repeats need are left of the cap.

The incumbent is chosen when no trial is under way any more, and once for an end: while nothing but its repeats has
begun since, it stays, whoever leads by now. A repeat that fails for good is not made up for. Where the cap has no room,
repeats are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import mean
from typing import Any

from hpo.noise import SeedNoise, pooled_noise
from hpo.records import Key, Origin, TrialRecord, TrialState
from studies.spec import Direction


class Role(StrEnum):
    """Why a configuration is repeated."""

    REFERENCE = "reference"
    INCUMBENT = "incumbent"


@dataclass(frozen=True)
class Repeat:
    """A trial that is trained again with another seed."""

    of: TrialRecord
    seed: int
    role: Role

    def as_trial(self, slot: int, derived: Mapping[str, Any]) -> TrialRecord:
        """Return the trial that waits; its number is not known yet."""
        names = {"repeat_of": self.of.number, "repeat_role": self.role.value}
        return TrialRecord(
            number=-1,
            slot=slot,
            turn=1,
            attempt=1,
            origin=Origin.REPEAT,
            params=self.of.params,
            seed=self.seed,
            state=TrialState.WAITING,
            attributes={**derived, **names, "design": f"repeat of trial {self.of.number}"},
        )


@dataclass(frozen=True)
class Step:
    """What the repeats ask of a search at one moment.

    Attributes:
        repeat: the one to be trained next.
        holds: whether nothing new begins, because what is left of the cap is for repeats, and whose is seen only
            when the trials under way have ended.
    """

    repeat: Repeat | None = None
    holds: bool = False

    @property
    def is_due(self) -> bool:
        """Whether the search does not end yet."""
        return self.repeat is not None or self.holds


@dataclass(frozen=True)
class Repeats:
    """The rule of one study.

    Attributes:
        seeds: with how many the reference and the incumbent are trained in all.
        first_seed: of the study.
        has_reference: whether a forced configuration is repeated too: of Phase 1 alone, for Phase 2 is of one size.
        history: trials of Phase 1 that Phase 2 learns from: a seed that a configuration has had there is not new.
    """

    seeds: int
    first_seed: int
    direction: Direction
    has_reference: bool
    history: Sequence[TrialRecord] = ()

    def step(self, records: Sequence[TrialRecord], cap: int, *, converged: bool) -> Step:
        """Return what is due now.

        Args:
            records: all trials of the study.
            cap: on those that use a slot.
            converged: whether the search has.
        """
        if self.seeds == 1:
            return Step()
        used = [record for record in records if record.uses_slot]
        left, open_trials = cap - len(used), [record for record in used if record.is_open]
        reference = self._reference(used)
        if left > 0 and reference and (repeat := self._next(reference, used, Role.REFERENCE)):
            return Step(repeat)
        if not converged and not _has_begun(used) and left > 2 * (self.seeds - 1):
            # Far from any end: most of a search, where who leads need not be known.
            return Step()
        incumbent = self.incumbent(used)
        # A repeat may undo a convergence: those that were due with it come all the same, and then it is decided.
        half_done = incumbent is not None and _has_begun(used) and self._missing(incumbent, used) > 0
        if not (converged or half_done or left <= self._reserved(used, incumbent)):
            return Step()
        if any(not _repeats(record, incumbent) for record in open_trials):
            # Of a search that has converged also where no slot is left: its evidence rests on all that has begun.
            return Step(holds=left > 0 or converged)
        repeat = self._next(incumbent, used, Role.INCUMBENT) if incumbent and left > 0 else None
        return Step(repeat, holds=repeat is None and converged and bool(open_trials))

    def incumbent(self, records: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the first complete trial of the incumbent; None while no trial is complete."""
        if not _has_begun(records):
            return self.leader(records)
        latest = max(records, key=lambda record: record.slot)
        return next(record for record in records if record.number == latest.attributes["repeat_of"])

    def leader(self, records: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the first complete trial of the configuration with the best mean; None while none is complete."""
        means = {
            key: mean(scores) if len(scores) > 1 else scores[0]
            for key, scores in scores_by_configuration(records).items()
        }
        if not means:
            return None
        best = (max if self.direction == "maximize" else min)(means, key=means.__getitem__)
        return next(record for record in records if record.key == best and record.state is TrialState.COMPLETE)

    def evidence(self, records: Sequence[TrialRecord]) -> dict[str, Any]:
        """Return what is known of the noise when the search ends, as JSON values; nothing where it is not known."""
        noise = seed_noise(records)
        if noise is None:
            return {}
        rests_on = {"configurations": noise.configurations, "degrees_of_freedom": noise.degrees_of_freedom}
        found: dict[str, Any] = {"seed_noise": noise.standard_deviation, "seeds": rests_on}
        if any(record.attributes.get("repeat_role") == Role.INCUMBENT for record in records):
            incumbent, leader = self.incumbent(records), self.leader(records)
            assert incumbent is not None
            assert leader is not None
            scores = scores_by_configuration(records)[incumbent.key]
            of_incumbent = {"trial": incumbent.number, "scores": scores, "mean": mean(scores)}
            found["incumbent"] = {**of_incumbent, "leads": leader.key == incumbent.key}
        return found

    def _reference(self, used: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the cheapest forced trial that completed, once all have ended; one that collapsed only if all did."""
        forced = [record for record in used if record.origin is Origin.FORCED] if self.has_reference else []
        if any(record.is_open for record in forced):
            return None
        complete = [record for record in forced if record.state is TrialState.COMPLETE]
        return min(
            complete,
            key=lambda trial: (bool(trial.attributes.get("collapsed")), _cost(trial), trial.slot),
            default=None,
        )

    def _reserved(self, used: Sequence[TrialRecord], incumbent: TrialRecord | None) -> int:
        """Return how many slots the repeats still need; what is open may become the incumbent, and needs all."""
        is_open = any(not _repeats(record, incumbent) for record in used if record.is_open)
        of_incumbent = self._missing(incumbent, used) if incumbent and not is_open else self.seeds - 1
        forced_open = any(record.origin is Origin.FORCED and record.is_open for record in used)
        return of_incumbent + (self.seeds - 1 if self.has_reference and forced_open else 0)

    def _missing(self, trial: TrialRecord, used: Sequence[TrialRecord]) -> int:
        return max(0, self.seeds - len({record.seed for record in used if record.key == trial.key}))

    def _next(self, trial: TrialRecord, used: Sequence[TrialRecord], role: Role) -> Repeat | None:
        if not self._missing(trial, used):
            return None
        return Repeat(trial, fresh_seed(self.first_seed, trial.key, [*self.history, *used]), role)


def fresh_seed(first: int, key: Key, records: Sequence[TrialRecord]) -> int:
    """Return the lowest seed, from the first on, that a configuration has not had."""
    had = {record.seed for record in records if record.key == key and record.uses_slot}
    return next(seed for seed in range(first, first + len(had) + 1) if seed not in had)


def carried(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a waiting trial's attributes says that it is a repeat, and of what; nothing for any other."""
    names = ("repeat_of", "repeat_role", "design") if attributes.get("origin") == Origin.REPEAT else ()
    return {name: attributes[name] for name in names}


def seed_noise(records: Sequence[TrialRecord]) -> SeedNoise | None:
    """Return how much scores differ between seeds, as far as configurations were repeated."""
    return pooled_noise((record.key, record.seed, record.score) for record in records if record.score is not None)


def scores_by_configuration(records: Sequence[TrialRecord]) -> dict[Key, list[float]]:
    """Return the scores of every configuration, in the order of their trials."""
    found: dict[Key, list[float]] = {}
    for record in records:
        if record.score is not None:
            found.setdefault(record.key, []).append(record.score)
    return found


def once_each(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the records as a sampler is shown them: what was repeated counts once, by its mean and not by its luck.

    A sampler's own proposals stay, also where they are equal: it knows what it did. Imported trials don't say which of
    them were repeats.
    """
    first_imported = {record.key: record for record in reversed(records) if record.origin is Origin.IMPORTED}
    again = {
        id(record)
        for record in records
        if record.origin is Origin.REPEAT
        or (record.origin is Origin.IMPORTED and record is not first_imported[record.key])
    }
    if not again:
        return list(records)
    repeated = {record.key for record in records if id(record) in again}
    means = {key: mean(scores) for key, scores in scores_by_configuration(records).items() if key in repeated}
    return [
        record if record.score is None or record.key not in means else replace(record, score=means[record.key])
        for record in records
        if id(record) not in again
    ]


def _has_begun(records: Sequence[TrialRecord]) -> bool:
    """Whether the latest slot that was taken went to a repeat of the incumbent."""
    latest = max(records, key=lambda record: record.slot, default=None)
    return latest is not None and latest.attributes.get("repeat_role") == Role.INCUMBENT


def _repeats(record: TrialRecord, incumbent: TrialRecord | None) -> bool:
    return record.origin is Origin.REPEAT and incumbent is not None and record.key == incumbent.key


def _cost(trial: TrialRecord) -> float:
    amounts = (trial.attributes.get(name) for name in ("flops", "estimated_params"))
    return next((float(amount) for amount in amounts if isinstance(amount, int | float)), float("inf"))
