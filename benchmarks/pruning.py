"""What ending hopeless trials saves, and what it costs in the final score.

    .venv/bin/python benchmarks/pruning.py [--quick] [--save]

Searches are replayed on learning curves of real trainings (`benchmarks/curve_sets.py`), with the real strategy and the
real rule, with and without pruning from the same seed, and with Optuna's own pruner. Every seed draws its own two
thirds of the recorded configurations. --quick: 10 seeds, otherwise 40.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import optuna
from curve_sets import CurveSet, curve_sets
from replayed_search import Ended, Prunes, Recorded, Searched, World, by_optuna, by_rule, never
from scipy.stats import t as student
from side_by_side import Result, show

from hpo.pruning import Curve

OFF, OTHER_LUCK, OURS = "no pruning", "no pruning, another seed", "the service's rule"
MORE_TRIALS = "the service's rule, the work saved spent on more trials"
_SHOWN, _SEARCHED, _MOST_TRIALS = 2 / 3, 0.6, 70


def main() -> None:
    """Print the table of every set, and what the rules do to equal trials."""
    quick, rows, notes = "--quick" in sys.argv, list[list[str]](), list[str]()
    seeds, found = 10 if quick else 40, curve_sets()
    for curves in found:
        searches = replay(curves, seeds)
        better = 1.0 if curves.direction == "maximize" else -1.0
        rows += [
            [f"{curves.name}: {side}", *_row(side, runs, searches[OFF], better)] for side, runs in searches.items()
        ]
        off, pruned = replay_after_forced(curves, seeds)
        rows.append([f"{curves.name}: {OURS}, after the forced configurations", *_row(OURS, pruned, off, better)])
        notes.append(_about(curves, searches[OFF][0], off[0], seeds))
    for side, share in of_equal_trials(found[0], 200 if quick else 1000).items():
        rows.append([f"equal trials: {side}", "", "", share, "", "", ""])
    columns = ("curves: rule", "steps saved", "work saved", "pruned", "final score", "missed", "best was pruned")
    notes.append(
        "Work is steps times parameters, for language models operations. Pruned: of the trials that the sampler "
        "proposed. Final score: how much better than without pruning, seed by seed, with a 95 % interval. Missed: by "
        "how much the best pruned trial would have beaten the best complete one, on average; best was pruned: how "
        "often it would. Equal trials: nothing but noise of 0.015, a quarter of the interval of a validation AUC, "
        "tells them apart, and whoever is pruned is killed at random."
    )
    show(
        Result("pruning", "Ending hopeless trials", columns, rows, tuple(notes), quick=quick), save="--save" in sys.argv
    )


def rules(curves: CurveSet) -> dict[str, Prunes]:
    """Return what is compared: the rule as it is set by default, less patient ones, and Optuna's."""
    rule = curves.rule
    longest = max(curve.looks[-1][0] for curve in curves.curves)
    median = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=longest // 3)
    return {
        OURS: by_rule(rule),
        "percentile 25": by_rule(replace(rule, percentile=25)),
        "patience 1": by_rule(replace(rule, patience=1)),
        "no tolerance": by_rule(replace(rule, tolerance=0.0)),
        "Optuna's MedianPruner, within budgets": by_optuna(median, curves.direction, within_budget=True),
        "Optuna's MedianPruner": by_optuna(median, curves.direction, within_budget=False),
    }


def replay(curves: CurveSet, seeds: int) -> dict[str, list[Searched]]:
    """Return the searches of every side, seed by seed; without forced configurations, which nobody prunes."""
    sides = rules(curves)
    found: dict[str, list[Searched]] = {side: [] for side in (OFF, OTHER_LUCK, *sides, MORE_TRIALS)}
    for seed in range(seeds):
        world, cap = _world(curves, [], curves.curves, seed)
        off = world.search(never, seed, cap=cap)
        found[OFF].append(off)
        found[OTHER_LUCK].append(world.search(never, seed + 1000, cap=cap))
        for side, prunes in sides.items():
            found[side].append(world.search(prunes, seed, cap=cap))
        found[MORE_TRIALS].append(world.search(sides[OURS], seed, work=off.work))
        print(f"{curves.name}: seed {seed + 1} of {seeds}", file=sys.stderr, flush=True)
    return found


def replay_after_forced(curves: CurveSet, seeds: int) -> tuple[list[Searched], list[Searched]]:
    """Return searches without and with pruning that train the forced configurations first, as studies do."""
    forced, others = curves.curves[: curves.forced], curves.curves[curves.forced :]
    worlds = [(*_world(curves, forced, others, seed), seed) for seed in range(seeds)]
    off = [world.search(never, seed, cap=cap) for world, cap, seed in worlds]
    return off, [world.search(by_rule(curves.rule), seed, cap=cap) for world, cap, seed in worlds]


def _world(curves: CurveSet, forced: Sequence[Recorded], others: Sequence[Recorded], seed: int) -> tuple[World, int]:
    """Return what a search of this seed may find, and its cap."""
    drawn = np.random.default_rng(seed).permutation(len(others))[: round(_SHOWN * len(others))]
    world = World(curves, forced, [others[place] for place in sorted(drawn)])
    return world, min(_MOST_TRIALS, len(forced) + round(_SEARCHED * len(drawn)))


def _row(side: str, found: Sequence[Searched], off: Sequence[Searched], better: float) -> list[str]:
    if side == OFF:
        return ["–", "–", "–", f"{fmean(each.best for each in off):.4f}", "–", "–"]
    saved = [1 - each.steps / without.steps for each, without in zip(found, off, strict=True)]
    work = [1 - each.work / without.work for each, without in zip(found, off, strict=True)]
    missed = [each.missed for each in found]
    return [
        f"{100 * fmean(saved):.1f} %",
        f"{100 * fmean(work):.1f} %",
        f"{100 * fmean(each.pruned / max(1, each.sampled) for each in found):.0f} %",
        difference([better * (each.best - without.best) for each, without in zip(found, off, strict=True)]),
        f"{fmean(missed):.4f}",
        f"{sum(each > 0 for each in missed)} of {len(missed)}",
    ]


def difference(values: Sequence[float]) -> str:
    """Return a mean with its 95 % interval by Student's t."""
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{fmean(values):+.4f} ± {half:.4f}"


def of_equal_trials(curves: CurveSet, times: int) -> dict[str, str]:
    """Return how many of equal trials every rule prunes: constant curves of normal scores, one against 20."""
    drawn, steps = np.random.default_rng(1), range(10, 70, 10)
    sides = rules(replace(curves, curves=[Recorded({}, tuple((step, 0.7) for step in steps))]))
    pruned = dict.fromkeys(sides, 0)
    for _ in range(times):
        looks = [tuple((step, float(value)) for step in steps) for value in drawn.normal(0.70, 0.015, 21)]
        peers = [Ended(Recorded({"budget": "2M"}, each), Curve(each), pruned=False) for each in looks[1:]]
        for side, prunes in sides.items():
            pruned[side] += any(prunes("2M", looks[0][:place], peers) for place in range(1, len(steps)))
    return {side: f"{100 * found / times:.1f} %" for side, found in pruned.items()}


def _about(curves: CurveSet, free: Searched, after_forced: Searched, seeds: int) -> str:
    return (
        f"{curves.name}: {len(curves.curves)} recorded trainings, {seeds} seeds; searches of {free.trials} trials, all "
        f"of them sampled, and of {after_forced.trials}, {after_forced.sampled} of them sampled after the forced ones."
    )


if __name__ == "__main__":
    main()
