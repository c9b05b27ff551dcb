"""Phase 2: which budgets deserve more trials, and the studies that give them these.

A decider: it reads Phase 1 and returns a plan. Making the studies is `hpo.phase1.ensure_study`, as for Phase 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from pydantic import ValidationError

from budgets.errors import InputError
from hpo.control import Control
from hpo.errors import StorageError
from hpo.output import count
from hpo.records import StudyRecord, StudyState, TrialRecord, TrialState
from studies.declaration import decided, declare, history, supplement
from studies.spec import LARGEST_CAP, Spec, phase2_name

RankBy = Literal["mean", "best"]
# The best of many trials is lucky; the mean of three is less so.
_COMPARED = 3
_DEFAULT_CAP = 25


@dataclass(frozen=True)
class Phase2Options:
    """What `hpo phase2` is asked for.

    Attributes:
        trials: the cap of each study, corners included; None is 25, and leaves that of a stored study as it is.
        top_budgets: how many budgets are taken from the top of the ranking.
        param_budgets: these budgets instead, whatever their rank.
        rank_by: `mean` of a budget's three best configurations, or its `best` single score.
        force: also before Phase 1 has ended by itself.
    """

    trials: int | None = None
    top_budgets: int = 2
    param_budgets: tuple[str, ...] = ()
    rank_by: RankBy = "mean"
    force: bool = False

    @property
    def cap(self) -> int:
        """The cap of a study that is made now."""
        return _DEFAULT_CAP if self.trials is None else self.trials


@dataclass(frozen=True)
class RankedBudget:
    """A budget with the numbers that its rank comes from.

    Attributes:
        value: what it is ranked by; None without a complete trial.
        scores: the best distinct configurations' scores, at most three.
        complete: how many of its trials are complete; the more, the luckier the best of them.
        best: its best trial, by the mean of its configuration.
    """

    budget: str
    value: float | None
    scores: tuple[float, ...]
    complete: int
    best: TrialRecord | None

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return {
            "budget": self.budget,
            "value": self.value,
            "scores": list(self.scores),
            "complete": self.complete,
            "best_trial": self.best.number if self.best else None,
        }


@dataclass(frozen=True)
class Phase2Plan:
    """What Phase 2 of a study is.

    Attributes:
        ranking: of all budgets of Phase 1.
        top_budgets: those taken.
        studies: a specification with its history for each of them.
        existing: the names of those that were stored already.
    """

    ranking: tuple[RankedBudget, ...]
    top_budgets: tuple[str, ...]
    studies: tuple[tuple[Spec, Sequence[Mapping[str, Any]]], ...]
    existing: frozenset[str]


def plan_phase2(control: Control, study: StudyRecord, options: Phase2Options) -> Phase2Plan:
    """Return what Phase 2 of this study is; a study of it that exists already stays as it is.

    Before Phase 1 has ended, and without force, only what exists already may be gone on with.

    Raises:
        InputError: Phase 1 has not ended, a budget has no complete trial, or the options forbid each other.
    """
    if study.phase != 1:
        raise StorageError(
            f"Phase 2 supplements a study of Phase 1, and {study.name} is of Phase 2: name {study.parent}"
        )
    spec, trials = Spec.model_validate(study.spec), control.trials(study.name)
    check_options(spec, options)
    existing = frozenset(control.children(study.name))
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    ranking = rank_budgets(spec, complete, options.rank_by)
    obstacle = "" if options.force else _obstacle(study, trials)
    if obstacle:
        stored = [each for each in ranking if phase2_name(spec.name, each.budget) in existing]
        if not _cover(stored, options):
            raise StorageError(obstacle)
    taken = _taken(spec, stored if obstacle else ranking, options)
    # Trials of both phases are compared, and so are trained alike.
    spec = decided(spec, study.prepared.get("derived", ()))
    plans = tuple(_plan_one(control, spec, ranked, complete, options.cap) for ranked in taken)
    return Phase2Plan(ranking, tuple(ranked.budget for ranked in taken), plans, existing)


def rank_budgets(spec: Spec, complete: Sequence[TrialRecord], rank_by: RankBy) -> tuple[RankedBudget, ...]:
    """Return the budgets, the best first; one with too few configurations to compare comes after the others."""
    ranked = [_ranked(spec, budget, complete, rank_by) for budget in spec.budgets]
    sign = -1.0 if spec.direction == "maximize" else 1.0
    needed = _COMPARED if rank_by == "mean" else 1

    def order(each: RankedBudget) -> tuple[bool, float]:
        return len(each.scores) < needed, sign * each.value if each.value is not None else float("inf")

    return tuple(sorted(ranked, key=order))


def _ranked(spec: Spec, budget: str, complete: Sequence[TrialRecord], rank_by: RankBy) -> RankedBudget:
    key = declare(spec).size_key
    own = [trial for trial in complete if trial.params[key] == budget]
    groups: dict[object, list[float]] = {}
    for trial in own:
        groups.setdefault(trial.key, []).append(trial.score or 0.0)
    scores = sorted(map(fmean, groups.values()), reverse=spec.direction == "maximize")[:_COMPARED]
    choose = max if spec.direction == "maximize" else min
    # By its mean over seeds, where it was repeated; the first of them stands for it.
    best = choose(own, key=lambda trial: fmean(groups[trial.key])) if own else None
    luckiest = choose((trial.score or 0.0 for trial in own), default=None)
    value = fmean(scores) if best and rank_by == "mean" else luckiest
    return RankedBudget(budget, value, tuple(scores), len(own), best)


def check_options(spec: Spec, options: Phase2Options) -> None:
    """Raise InputError for what no trial of Phase 1 could make right: so it can be said before one is run."""
    if options.top_budgets < 1:
        raise InputError(f"--top-budgets is 1 or more, not {options.top_budgets}: 2 is the default")
    if not 1 <= options.cap <= LARGEST_CAP:
        raise InputError(f"--trials is from 1 to {LARGEST_CAP:,}, not {options.cap}: {_DEFAULT_CAP} is the default")
    unknown = [budget for budget in options.param_budgets if budget not in spec.budgets]
    if unknown:
        raise InputError(
            f"--param-budget names a budget of study {spec.name}, not {unknown[0]!r}: "
            f"choose among {', '.join(spec.budgets)}"
        )


def _obstacle(study: StudyRecord, trials: Sequence[TrialRecord]) -> str:
    """Return why Phase 2 would begin too early, or nothing.

    A trial that waits in a study that has ended is never given out: only the running ones are waited for.
    """
    name, running = study.name, sum(trial.state is TrialState.RUNNING for trial in trials)
    forced = "or use --force to rank the budgets by what is there"
    if study.ended and running:
        return (
            f"Phase 2 begins when all trials of Phase 1 have ended, and {count(running, 'trial')} of {name} "
            f"{'is' if running == 1 else 'are'} under way: wait until `hpo status {name}` shows none running, {forced}"
        )
    if study.ended:
        return ""
    remedy = f"`hpo resume {name}` and let it end" if study.state is StudyState.STOPPED else "let it end"
    return f"Phase 2 begins when Phase 1 has ended, and {name} is {study.state.value}: {remedy}, {forced}"


def _cover(stored: Sequence[RankedBudget], options: Phase2Options) -> bool:
    """Whether everything that is asked for has been made before."""
    if options.param_budgets:
        return set(options.param_budgets) <= {ranked.budget for ranked in stored}
    return len(stored) >= options.top_budgets


def _taken(spec: Spec, ranking: Sequence[RankedBudget], options: Phase2Options) -> list[RankedBudget]:
    by_budget = {ranked.budget: ranked for ranked in ranking}
    if options.param_budgets:
        taken = [by_budget[budget] for budget in dict.fromkeys(options.param_budgets)]
    else:
        taken = [ranked for ranked in ranking[: options.top_budgets] if ranked.best is not None]
    for ranked in taken:
        if ranked.best is None:
            raise StorageError(
                f"Phase 2 is built around a budget's best trial, and {ranked.budget} has no complete trial in "
                f"{spec.name}: name another with --param-budget, or let Phase 1 go on"
            )
    if not taken:
        raise StorageError(
            f"Phase 2 is built around the best trials of Phase 1, and {spec.name} has no complete trial: "
            f"`hpo status {spec.name} --failures` says why"
        )
    return taken


def _plan_one(
    control: Control, spec: Spec, ranked: RankedBudget, complete: Sequence[TrialRecord], trials: int
) -> tuple[Spec, Sequence[Mapping[str, Any]]]:
    stored = control.study(phase2_name(spec.name, ranked.budget))
    if stored is not None:
        # What decides how it runs is no part of what is searched, and follows Phase 1.
        return Spec.model_validate({**stored.spec, **spec.how_it_runs}), stored.history
    assert ranked.best is not None
    try:
        made = supplement(spec, ranked.budget, ranked.best, trials)
    except ValidationError as error:
        raise InputError(_first_line(error)) from None
    return made, history(spec, made, complete)


def _first_line(error: ValidationError) -> str:
    return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")


def ranking_lines(plan: Phase2Plan, rank_by: RankBy) -> Iterator[str]:
    """Yield one line for each budget: its rank, and the numbers behind it; an arrow where Phase 2 goes on."""
    for place, ranked in enumerate(plan.ranking, 1):
        taken = "→" if ranked.budget in plan.top_budgets else " "
        if ranked.value is None or ranked.best is None:
            yield f"{taken} {place}. {ranked.budget}: no complete trial"
            continue
        scores = ", ".join(f"{score:.4f}" for score in ranked.scores)
        few = f", under {_COMPARED} configurations" if len(ranked.scores) < _COMPARED else ""
        value = f"mean {ranked.value:.4f} of {scores}" if rank_by == "mean" else f"best {ranked.value:.4f}"
        yield (
            f"{taken} {place}. {ranked.budget}: {value} "
            f"(best: trial {ranked.best.number}, complete: {ranked.complete}{few})"
        )
