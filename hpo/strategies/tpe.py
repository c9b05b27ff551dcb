"""Tree-structured Parzen estimators, by Optuna's sampler in a study that lives for one proposal.

A throw-away study makes the proposal a pure function of the records and a seed: nothing in the storage depends on
it, it can be repeated, and a proposal that is thrown away leaves no trace.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from hpo.pruning import BEST_SO_FAR
from hpo.records import INFEASIBLE, TrialRecord, TrialState
from studies.spec import Direction

# A study for every proposal is nothing to tell people of.
optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    # A running trial repels the sampler (constant liar), and one that waits will run: workers spread out.
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.WAITING: OptunaState.RUNNING,
}


def propose_tpe(
    records: Sequence[TrialRecord], space: Mapping[str, BaseDistribution], direction: Direction, seed: int
) -> dict[str, Any]:
    """Return the parameters of the next trial.

    Args:
        records: all trials of the study; failed and replaced ones are not learnt from, unless they are infeasible.
        space: the distributions, equal for all trials.
        direction: maximize or minimize.
        seed: equal records and seed give equal proposals.
    """
    study = in_memory_study(records, space, direction, seed)
    return study.ask(dict(space)).params


def in_memory_study(
    records: Sequence[TrialRecord], space: Mapping[str, BaseDistribution], direction: Direction, seed: int
) -> optuna.Study:
    """Return a throw-away study that holds the records."""
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    study.add_trials([_frozen(record, space) for record in records if _learnt_from(record, space)])
    return study


def _learnt_from(record: TrialRecord, space: Mapping[str, BaseDistribution]) -> bool:
    # A trial without one of the parameters would drop that parameter from the joint model for good.
    return (record.state in _STATES or record.is_infeasible) and record.params.keys() == space.keys()


def _last_look(record: TrialRecord) -> dict[int, float]:
    """Return by what the sampler ranks a pruned trial: below the complete ones, by how far it got and how well."""
    points = record.attributes.get(BEST_SO_FAR) if record.state is TrialState.PRUNED else None
    return {int(points[-1][0]): float(points[-1][1])} if points else {}


def _frozen(record: TrialRecord, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    # Optuna's samplers never see a failed trial, and one that is pruned without a value they count as the worst.
    state = OptunaState.PRUNED if record.is_infeasible else _STATES[record.state]
    frozen = optuna.trial.create_trial(
        state=state,
        value=record.score,
        params=dict(record.params),
        distributions=dict(space),
        intermediate_values=_last_look(record),
    )
    if record.is_infeasible:
        frozen.set_constraint(*INFEASIBLE)
    return frozen
