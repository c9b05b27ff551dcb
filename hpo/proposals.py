"""What the next trial of a study is. Decisions on records; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo.configurations import Configurations
from hpo.records import Origin, TrialRecord, TrialState, key_of
from hpo.repeats import Repeat, carried, fresh_seed, once_each
from hpo.strategies import Strategy
from studies.declaration import Declaration, Derived, derive
from studies.spec import Spec

# A proposal that repeats an ended trial is asked anew this often before the space counts as exhausted.
_PROPOSALS = 16


@dataclass(frozen=True)
class Proposals:
    """Those of one study.

    Attributes:
        derived: rules for the values that follow from the parameters.
        history: trials of another study that the sampler learns from.
        strategy: proposes.
    """

    spec: Spec
    declaration: Declaration
    derived: tuple[Derived, ...]
    history: Sequence[TrialRecord]
    strategy: Strategy
    _kept: Configurations = field(default_factory=Configurations, init=False, repr=False, compare=False)

    def next(self, records: Sequence[TrialRecord], repeat: Repeat | None) -> TrialRecord:
        """Return the trial that takes the next slot; its number is not known yet.

        Args:
            records: all trials of the study.
            repeat: the one that is due, if any is.
        """
        known = self._take_in(records)
        slot = self._kept.last_slot + 1
        if repeat is not None:
            return repeat.as_trial(slot, derive(repeat.of.params, self.derived))
        params = self._fresh(known, slot)
        key = key_of(params)
        return TrialRecord(
            number=-1,
            slot=slot,
            turn=1,
            attempt=1,
            origin=Origin.SAMPLED,
            params=params,
            seed=fresh_seed(self.spec.seed, key, self._kept.of(key)),
            state=TrialState.WAITING,
            attributes=derive(params, self.derived),
        )

    def warm_up(self, records: Sequence[TrialRecord]) -> None:
        """Let the strategy take in what it is shown, for proposals that come later."""
        self.strategy(self._shown(self._take_in(records)), self.declaration.space, self.spec.direction, 0)

    def adopted(
        self, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any], records: Sequence[TrialRecord]
    ) -> TrialRecord:
        """Return the record of a trial that waited in Optuna alone, with what it says of itself there."""
        self._take_in(records)
        return TrialRecord(
            number=number,
            slot=attributes.get("slot") or self._kept.last_slot + 1,
            turn=attributes.get("turn", 1),
            attempt=attributes.get("attempt", 1),
            origin=Origin(attributes.get("origin", Origin.ENQUEUED)),
            params=params,
            seed=attributes.get("seed", self.spec.seed),
            state=TrialState.WAITING,
            attributes={**derive(params, self.derived), **carried(attributes)},
        )

    def _take_in(self, records: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        """Return all trials that the next one rests on."""
        known = [*self.history, *records]
        self._kept.take_in(known)
        return known

    def _shown(self, known: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        return once_each(known) if self._kept.has_repeats else known

    def _fresh(self, known: Sequence[TrialRecord], slot: int) -> dict[str, Any]:
        params: dict[str, Any] = {}
        shown = self._shown(known)
        for draw in range(_PROPOSALS):
            seed = (self.spec.seed * 1_000_003 + slot * _PROPOSALS + draw) % 2**32
            params = self.strategy(shown, self.declaration.space, self.spec.direction, seed)
            if not any(map(_is_judged, self._kept.of(key_of(params)))):
                return params
        return params


def _is_judged(record: TrialRecord) -> bool:
    return record.state in {TrialState.COMPLETE, TrialState.PRUNED} or record.is_infeasible
