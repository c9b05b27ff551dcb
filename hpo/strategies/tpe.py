"""Tree-structured Parzen estimators, by Optuna's sampler in a study in memory.

A proposal is a pure function of the records and a seed: nothing in the storage depends on it, it can be repeated, and
one that is thrown away leaves no trace. The study in memory is kept from one proposal to the next and told only what
has changed: to build it anew takes half a millisecond a trial.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from hpo.configurations import changed_places
from hpo.pruning import BEST_SO_FAR
from hpo.records import INFEASIBLE, TrialRecord, TrialState
from studies.spec import Direction

# A study in memory is nothing to tell people of.
optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    # A running trial repels the sampler (constant liar), and one that waits will run: workers spread out.
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.WAITING: OptunaState.RUNNING,
    # No sampler sees these.
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.REPLACED: OptunaState.FAIL,
}
# Every proposal leaves a failed trial behind in the study in memory, 2 KiB: after so many it is built anew.
_MOST_PROPOSALS = 2000


class Tpe:
    """Proposes. What it keeps changes nothing but the time that the next proposal takes."""

    def __init__(self) -> None:
        self._kept: _KeptStudy | None = None

    def __call__(
        self, records: Sequence[TrialRecord], space: Mapping[str, BaseDistribution], direction: Direction, seed: int
    ) -> dict[str, Any]:
        """Return the parameters of the next trial.

        Args:
            records: all trials of the study; failed and replaced ones are not learnt from, unless they are infeasible.
            space: the distributions, equal for all trials.
            direction: maximize or minimize.
            seed: equal records and seed give equal proposals.
        """
        # Taken away meanwhile: what an error leaves half shown is not kept.
        kept, self._kept = self._kept, None
        if kept is None or not kept.show(records, space, direction):
            kept = _KeptStudy(records, space, direction)
        params = kept.propose(seed)
        self._kept = kept
        return params


class _JointSampler(optuna.samplers.TPESampler):
    """Knows what all trials have in common, and their parameters in Optuna's numbers.

    To find both anew in 10,000 trials would take more than half of the time of a proposal.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed)
        self._joint = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(self, _study: optuna.Study, _trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together, in the order of Optuna's own answer."""
        return self._joint

    # Not public: a version of Optuna that calls it something else does this by itself.
    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, NDArray[np.float64]]:
        """Return the parameters of trials as Optuna's numbers; each trial has all of them."""
        if not trials:
            return super()._get_internal_repr(trials, search_space, study)
        columns = np.array([trial.in_numbers for trial in cast("list[_Shown]", trials)]).T
        of_name = dict(zip(sorted(trials[0].params), columns, strict=True))
        return {name: of_name[name] for name in search_space}


class _Shown(FrozenTrial):
    """A trial that is not changed by whoever is given it.

    A study in memory copies each trial that is added, with its five distributions: two thirds of the time it takes. Of
    64 workers each is told of 63 trials before it proposes again.
    """

    def __deepcopy__(self, memo: object) -> "_Shown":
        return self

    @cached_property
    def in_numbers(self) -> tuple[float, ...]:
        """The parameters in the order of their names, as the sampler computes with them."""
        return tuple(self.distributions[name].to_internal_repr(self.params[name]) for name in sorted(self.params))

    @cached_property
    def constraints(self) -> dict[str, float]:
        """What Optuna reads anew out of the attributes of every trial, for every proposal."""
        return super().constraints


class _KeptStudy:
    """A study in memory that holds the records it was shown, in their order, as far as they fit the space."""

    def __init__(
        self, records: Sequence[TrialRecord], space: Mapping[str, BaseDistribution], direction: Direction
    ) -> None:
        self._space, self._direction = dict(space), direction
        self._shown: list[TrialRecord] = []
        # In this study; None for one that is left out.
        self._numbers: list[int | None] = []
        self._made = self._proposals = 0
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, direction=direction)
        self._study_id = self._storage.get_study_id_from_name(self._study.study_name)
        self._append(records)

    def show(self, records: Sequence[TrialRecord], space: Mapping[str, BaseDistribution], direction: Direction) -> bool:
        """Take in what has changed; False where an ended trial has changed, and another study is needed."""
        if (self._direction, self._space) != (direction, space) or self._proposals >= _MOST_PROPOSALS:
            return False
        known = len(self._shown)
        others = changed_places(self._shown, records)
        changed = [place for place in others if _told(self._shown[place]) != _told(records[place])]
        if len(records) < known or not all(_is_end(self._shown[place], records[place]) for place in changed):
            return False
        for place in changed:
            if (number := self._numbers[place]) is not None:
                self._end(number, records[place])
        self._shown = list(records[:known])
        self._append(records[known:])
        return True

    def _end(self, number: int, record: TrialRecord) -> None:
        for step, value in _last_look(record).items():
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
            self._storage.set_trial_intermediate_value(trial_id, step, value)
        self._study.tell(number, record.score, state_of(record))

    def propose(self, seed: int) -> dict[str, Any]:
        """Return the parameters of the next trial."""
        self._study.sampler = _JointSampler(self._space, seed)
        asked = self._study.ask(self._space)
        self._study.tell(asked, state=OptunaState.FAIL)
        self._made += 1
        self._proposals += 1
        return asked.params

    def _append(self, records: Sequence[TrialRecord]) -> None:
        for record in records:
            # A trial without one of the parameters would drop that parameter from the joint model for good.
            fits = record.params.keys() == self._space.keys()
            self._shown.append(record)
            self._numbers.append(self._made if fits else None)
            if fits:
                self._study.add_trial(frozen(record, self._space))
                self._made += 1


def _told(record: TrialRecord) -> tuple[int, OptunaState, float | None, Mapping[str, Any]]:
    return record.number, state_of(record), record.score, record.params


def _is_end(before: TrialRecord, now: TrialRecord) -> bool:
    """Return whether an open trial has ended in a way that can be told; a constraint comes with the trial alone."""
    same = (before.number, before.params) == (now.number, now.params)
    return same and before.is_open and not now.is_infeasible


def state_of(record: TrialRecord) -> OptunaState:
    """Return the state in which the sampler sees a record."""
    # Optuna's samplers never see a failed trial, and one that is pruned without a value they count as the worst.
    return OptunaState.PRUNED if record.is_infeasible else _STATES[record.state]


def _last_look(record: TrialRecord) -> dict[int, float]:
    """Return by what the sampler ranks a pruned trial: below the complete ones, by how far it got and how well."""
    points = record.attributes.get(BEST_SO_FAR) if record.state is TrialState.PRUNED else None
    return {int(points[-1][0]): float(points[-1][1])} if points else {}


def frozen(record: TrialRecord, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """Return a record as the sampler is shown it."""
    state, now = state_of(record), datetime.now()
    trial = _Shown(
        number=record.number,
        trial_id=record.number,
        state=state,
        value=record.score,
        datetime_start=now,
        datetime_complete=now if state.is_finished() else None,
        params=dict(record.params),
        distributions=dict(space),
        user_attrs={},
        system_attrs={},
        intermediate_values=_last_look(record),
    )
    if record.is_infeasible:
        trial.set_constraint(*INFEASIBLE)
    return trial
