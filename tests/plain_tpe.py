"""The study that TPE would see, made anew, with Optuna's own sampler: what a proposal is compared with."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState as OptunaState

from hpo.records import TrialRecord
from hpo.strategies.tpe import frozen, state_of
from studies.spec import Direction


def plain_study(
    records: Sequence[TrialRecord], space: Mapping[str, BaseDistribution], direction: Direction, seed: int
) -> optuna.Study:
    """Return a study in memory that holds the records that are learnt from."""
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    fitting = [record for record in records if record.params.keys() == space.keys()]
    study.add_trials([frozen(each, space) for each in fitting if state_of(each) is not OptunaState.FAIL])
    return study
