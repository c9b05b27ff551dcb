"""What the next trial of a study is. Decisions on records; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.records import Origin, TrialRecord, TrialState
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

    def next(self, records: Sequence[TrialRecord], repeat: Repeat | None) -> TrialRecord:
        """Return the trial that takes the next slot; its number is not known yet.

        Args:
            records: all trials of the study.
            repeat: the one that is due, if any is.
        """
        slot = next_slot(records)
        if repeat is not None:
            return repeat.as_trial(slot, derive(repeat.of.params, self.derived))
        params = self._fresh(records, slot)
        return TrialRecord(
            number=-1,
            slot=slot,
            turn=1,
            attempt=1,
            origin=Origin.SAMPLED,
            params=params,
            seed=fresh_seed(self.spec.seed, tuple(sorted(params.items())), [*self.history, *records]),
            state=TrialState.WAITING,
            attributes=derive(params, self.derived),
        )

    def warm_up(self, records: Sequence[TrialRecord]) -> None:
        """Let the strategy take in what it is shown, for proposals that come later."""
        self.strategy(once_each([*self.history, *records]), self.declaration.space, self.spec.direction, 0)

    def adopted(
        self, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any], records: Sequence[TrialRecord]
    ) -> TrialRecord:
        """Return the record of a trial that waited in Optuna alone, with what it says of itself there."""
        return TrialRecord(
            number=number,
            slot=attributes.get("slot") or next_slot(records),
            turn=attributes.get("turn", 1),
            attempt=attributes.get("attempt", 1),
            origin=Origin(attributes.get("origin", Origin.ENQUEUED)),
            params=params,
            seed=attributes.get("seed", self.spec.seed),
            state=TrialState.WAITING,
            attributes={**derive(params, self.derived), **carried(attributes)},
        )

    def _fresh(self, records: Sequence[TrialRecord], slot: int) -> dict[str, Any]:
        known = [*self.history, *records]
        params: dict[str, Any] = {}
        shown = once_each(known)
        for draw in range(_PROPOSALS):
            seed = (self.spec.seed * 1_000_003 + slot * _PROPOSALS + draw) % 2**32
            params = self.strategy(shown, self.declaration.space, self.spec.direction, seed)
            key = tuple(sorted(params.items()))
            if not any(record.key == key and _is_judged(record) for record in known):
                return params
        return params


def _is_judged(record: TrialRecord) -> bool:
    return record.state in {TrialState.COMPLETE, TrialState.PRUNED} or record.is_infeasible


def next_slot(records: Sequence[TrialRecord]) -> int:
    """Return the first slot above those that were ever taken."""
    return 1 + max((record.slot for record in records), default=0)
