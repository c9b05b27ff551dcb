"""A search replayed on recorded learning curves: the real strategy and the real rule, without the training.

The recorded configuration nearest to a proposal answers for it, each once, so that a search of another order meets the
same trainings. What a pruned trial would have scored is known, which no live search can say.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import optuna
from curve_sets import CurveSet, Recorded
from optuna.trial import TrialState as OptunaState

from hpo.pruning import Curve, PruningRule
from hpo.records import Origin, TrialRecord, TrialState
from hpo.strategies import STRATEGIES, Strategy
from studies.spec import Direction

NO_END: Final = 10**9


@dataclass(frozen=True)
class Ended:
    """A trial that has ended: its training, how far it came, and whether it was pruned."""

    training: Recorded
    curve: Curve
    pruned: bool

    @property
    def budget(self) -> str:
        """What it is compared within."""
        return str(self.training.params["budget"])

    @property
    def steps(self) -> int:
        """That were trained."""
        return self.curve.last_step


Prunes = Callable[[str, Sequence[tuple[int, float]], Sequence[Ended]], bool]
"""Whether a trial of a budget ends after these looks, given those that have ended."""


@dataclass(frozen=True)
class Searched:
    """How a search ended.

    Attributes:
        steps: of training.
        work: steps by what one costs, for a step of a larger model costs more.
        best: score of the best complete trial.
        missed: how far the best pruned one would have been ahead of it; 0 where none would have been.
    """

    steps: int
    work: float
    trials: int
    sampled: int
    pruned: int
    best: float
    missed: float


def never(_budget: str, _looks: Sequence[tuple[int, float]], _ended: Sequence[Ended]) -> bool:
    """Prune nobody."""
    return False


def by_rule(rule: PruningRule) -> Prunes:
    """Prune as the service does."""

    def prunes(budget: str, looks: Sequence[tuple[int, float]], ended: Sequence[Ended]) -> bool:
        return rule.judge(looks, [trial.curve for trial in ended if trial.budget == budget]) is not None

    return prunes


def by_optuna(pruner: optuna.pruners.BasePruner, direction: Direction, *, within_budget: bool) -> Prunes:
    """Prune as one of Optuna's pruners does, which compares all trials of a study unless it is shown one budget."""

    def prunes(budget: str, looks: Sequence[tuple[int, float]], ended: Sequence[Ended]) -> bool:
        study = optuna.create_study(direction=direction)
        shown = [trial for trial in ended if trial.budget == budget or not within_budget]
        study.add_trials([_frozen(trial.training.looks, complete=True) for trial in shown if not trial.pruned])
        return pruner.prune(study, _frozen(looks, complete=False))

    return prunes


def _frozen(looks: Sequence[tuple[int, float]], *, complete: bool) -> optuna.trial.FrozenTrial:
    state = OptunaState.COMPLETE if complete else OptunaState.RUNNING
    return optuna.trial.create_trial(
        state=state, value=looks[-1][1] if complete else None, intermediate_values=dict(looks)
    )


@dataclass(frozen=True)
class World:
    """What a search may find.

    Attributes:
        forced: trained first, in this order, and never pruned.
        others: answer what the sampler proposes.
    """

    curves: CurveSet
    forced: Sequence[Recorded]
    others: Sequence[Recorded]

    def search(self, prunes: Prunes, seed: int, *, cap: int = NO_END, work: float = math.inf) -> Searched:
        """Search until so many trials have ended, the next one would exceed the work, or all trainings are used up."""
        forced, left = list(self.forced), list(self.others)
        ended: list[Ended] = []
        strategy = STRATEGIES["tpe"]()
        while len(ended) < cap and (forced or left):
            is_forced = bool(forced)
            training = forced.pop(0) if is_forced else self._answer(strategy, ended, left, seed)
            trial = self._train(training, never if is_forced else prunes, ended)
            if _work([*ended, trial]) > work:
                break
            ended.append(trial)
        return self._result(ended)

    def _answer(self, strategy: Strategy, ended: Sequence[Ended], left: list[Recorded], seed: int) -> Recorded:
        records = [self._record(number, trial) for number, trial in enumerate(ended)]
        own_seed = seed * 1_000_003 + len(ended)
        params = strategy(records, self.curves.space, self.curves.direction, own_seed)
        found = min(left, key=lambda training: self.curves.distance(params, training.params))
        left.remove(found)
        return found

    def _train(self, training: Recorded, prunes: Prunes, ended: Sequence[Ended]) -> Ended:
        curve, looks, budget = Curve(), list[tuple[int, float]](), str(training.params["budget"])
        for step, value in training.looks:
            curve = curve.after(step, value, self.curves.direction)
            looks.append(curve.points[-1])
            if step < training.looks[-1][0] and prunes(budget, looks, ended):
                return Ended(training, curve, pruned=True)
        return Ended(training, curve, pruned=False)

    def _record(self, number: int, trial: Ended) -> TrialRecord:
        return TrialRecord(
            number=number,
            slot=number + 1,
            turn=1,
            attempt=1,
            origin=Origin.FORCED if number < len(self.forced) else Origin.SAMPLED,
            params=trial.training.params,
            seed=1,
            state=TrialState.PRUNED if trial.pruned else TrialState.COMPLETE,
            score=None if trial.pruned else self.curves.score(trial.training),
            attributes=trial.curve.as_attributes(),
        )

    def _result(self, ended: Sequence[Ended]) -> Searched:
        better, score = self.curves.better, self.curves.score
        best = better(score(trial.training) for trial in ended if not trial.pruned)
        lost = [score(trial.training) for trial in ended if trial.pruned]
        return Searched(
            steps=sum(trial.steps for trial in ended),
            work=_work(ended),
            trials=len(ended),
            sampled=len(ended) - len(self.forced),
            pruned=len(lost),
            best=best,
            missed=abs(better([*lost, best]) - best),
        )


def _work(ended: Sequence[Ended]) -> float:
    return sum(trial.steps * trial.training.cost for trial in ended)
