"""A search replayed on recorded learning curves: the real strategy and the real rule, without the training.

The recorded configuration nearest to a proposal answers for it, each once, so that a search of another order meets the
same trainings. What a pruned trial would have scored is known, which no live search can say.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from learning_curves import Recorded
from optuna.trial import TrialState as OptunaState

from hpo.pruning import Curve, PruningRule
from hpo.records import Origin, TrialRecord, TrialState
from hpo.strategies import STRATEGIES
from studies.declaration import Declaration, derive

# What a step away is worth in each parameter: weight decay changes nothing in trainings this short (docs/log.md).
_RANGES = {"learning_rate": 1.0, "dropout": 0.5, "weight_decay": 0.1}

Peer = tuple[str, Curve, bool]
"""A trial that has ended: its budget, its curve, and whether it was complete."""

Prunes = Callable[[str, Sequence[tuple[int, float]], Sequence[Peer]], bool]
"""Whether a trial of a budget ends after these looks, given those that have ended."""


@dataclass(frozen=True)
class Searched:
    """How a search ended.

    Attributes:
        steps: of training.
        work: steps times parameters, for a step of a larger model costs more.
        best: score of the best complete trial.
        missed: how far the best pruned one would have been ahead of it; 0 where none was.
    """

    steps: int
    work: float
    trials: int
    sampled: int
    pruned: int
    best: float
    missed: float


def never(_budget: str, _looks: Sequence[tuple[int, float]], _peers: Sequence[Peer]) -> bool:
    """Prune nobody."""
    return False


def by_rule(rule: PruningRule) -> Prunes:
    """Prune as the service does."""

    def prunes(budget: str, looks: Sequence[tuple[int, float]], peers: Sequence[Peer]) -> bool:
        return rule.judge(looks, [curve for of, curve, _ in peers if of == budget]) is not None

    return prunes


def by_optuna(pruner: optuna.pruners.BasePruner, *, within_budget: bool) -> Prunes:
    """Prune as one of Optuna's pruners does, which compares all trials of a study unless it is shown one budget."""

    def prunes(budget: str, looks: Sequence[tuple[int, float]], peers: Sequence[Peer]) -> bool:
        study = optuna.create_study(direction="maximize")
        shown = [(curve, complete) for of, curve, complete in peers if of == budget or not within_budget]
        study.add_trials([_frozen(curve.points, complete=complete) for curve, complete in shown])
        return pruner.prune(study, _frozen(looks, complete=None))

    return prunes


def _frozen(looks: Sequence[tuple[int, float]], *, complete: bool | None) -> optuna.trial.FrozenTrial:
    states = {True: OptunaState.COMPLETE, False: OptunaState.PRUNED, None: OptunaState.RUNNING}
    value = looks[-1][1] if complete else None
    return optuna.trial.create_trial(state=states[complete], value=value, intermediate_values=dict(looks))


@dataclass(frozen=True)
class World:
    """What a search may find.

    Attributes:
        forced: trained first, in this order, and never pruned.
        others: answer the sampler's proposals.
        parameters: of a budget and style.
    """

    declaration: Declaration
    forced: Sequence[Recorded]
    others: Sequence[Recorded]
    parameters: Mapping[tuple[str, str], int]

    def search(self, prunes: Prunes, seed: int, *, cap: int = 10**9, work: float = math.inf) -> Searched:
        """Search until so many trials have ended, so much work is done, or all that was recorded is used up."""
        left, records = list(self.others), list[TrialRecord]()
        peers, ended = list[Peer](), list[tuple[Recorded, int, bool]]()
        done = 0.0
        while len(ended) < cap and done < work and (left or len(ended) < len(self.forced)):
            number, is_forced = len(ended), len(ended) < len(self.forced)
            found = self.forced[number] if is_forced else self._answer(records, left, seed * 1_000_003 + number)
            budget = str(found.params["budget"])
            curve, steps, pruned = _train(found, budget, never if is_forced else prunes, peers)
            peers.append((budget, curve, not pruned))
            ended.append((found, steps, pruned))
            records.append(_record(number, found, curve, is_forced=is_forced, pruned=pruned))
            done += steps * self._size(found)
        return self._result(ended, done)

    def _answer(self, records: Sequence[TrialRecord], left: list[Recorded], seed: int) -> Recorded:
        params = STRATEGIES["tpe"](records, self.declaration.space, "maximize", seed)
        found = min(left, key=lambda recorded: _distance(params, recorded.params))
        left.remove(found)
        return found

    def _size(self, found: Recorded) -> int:
        return self.parameters[str(found.params["budget"]), str(found.params["style"])]

    def _result(self, ended: Sequence[tuple[Recorded, int, bool]], work: float) -> Searched:
        best = max(found.score for found, _, pruned in ended if not pruned)
        lost = [found.score for found, _, pruned in ended if pruned]
        return Searched(
            steps=sum(steps for _, steps, _ in ended),
            work=work,
            trials=len(ended),
            sampled=len(ended) - len(self.forced),
            pruned=len(lost),
            best=best,
            missed=max(0.0, max(lost, default=best) - best),
        )


def _train(found: Recorded, budget: str, prunes: Prunes, peers: Sequence[Peer]) -> tuple[Curve, int, bool]:
    """Return the curve as far as the trial came, its steps, and whether it was pruned."""
    curve, looks = Curve(), list[tuple[int, float]]()
    for step, auc in found.looks:
        curve = curve.after(step, auc, "maximize")
        looks.append((step, curve.points[-1][1]))
        if step < found.looks[-1][0] and prunes(budget, looks, peers):
            return curve, step, True
    return curve, found.looks[-1][0], False


def _distance(params: Mapping[str, Any], others: Mapping[str, Any]) -> float:
    if (params["budget"], params["style"]) != (others["budget"], others["style"]):
        # Of two that differ in what is no number, the one that differs in less.
        return 10.0 + (params["budget"] != others["budget"]) + (params["style"] != others["style"])
    rate = abs(math.log10(params["learning_rate"] / others["learning_rate"])) / 2
    dropout = abs(params["dropout"] - others["dropout"]) / 0.6
    decay = abs(params["weight_decay"] - others["weight_decay"]) / 0.01
    away = {"learning_rate": rate, "dropout": dropout, "weight_decay": decay}
    return math.hypot(*(_RANGES[name] * each for name, each in away.items()))


def _record(number: int, found: Recorded, curve: Curve, *, is_forced: bool, pruned: bool) -> TrialRecord:
    return TrialRecord(
        number=number,
        slot=number + 1,
        turn=1,
        attempt=1,
        origin=Origin.FORCED if is_forced else Origin.SAMPLED,
        params=found.params,
        seed=1,
        state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
        score=None if pruned else found.score,
        attributes=curve.as_attributes(),
    )


def parameters_of(declaration_values: Sequence[Any]) -> dict[tuple[str, str], int]:
    """Return the estimated parameters by budget and style."""
    return {
        (budget, style): int(derive({"budget": budget, "style": style}, tuple(declaration_values))["estimated_params"])
        for budget in ("750k", "2M")
        for style in ("shallow", "deep")
    }
