"""What ending hopeless trials saves, and what it costs in the final score.

    PYTHONPATH=. .venv/bin/python benchmarks/pruning.py [--quick] [--save]

Searches are replayed on learning curves of real trainings (`benchmarks/learning_curves.py`), with the real strategy and
the real rule, with and without pruning from the same seed, and with Optuna's own pruners. Every seed draws its own two
thirds of the recorded configurations. --quick: 10 seeds, otherwise 40.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import optuna
from learning_curves import SETS, path_of, read_curves, spec_of
from replayed_search import Prunes, Searched, World, by_optuna, by_rule, never, parameters_of
from scipy.stats import t as student
from side_by_side import Result, show

from hpo.pruning import Curve, PruningRule
from studies.declaration import architecture_values, declare
from studies.spec import Spec

OFF, OTHER_LUCK, OURS = "no pruning", "no pruning, another seed", "the service's rule"
MORE_TRIALS = "the service's rule, saved work spent on more trials"
_SHOWN, _SEARCHED = 2 / 3, 0.6


def main() -> None:
    """Print the table of every set, and what the rules do to equal trials."""
    quick, rows, notes = "--quick" in sys.argv, list[list[str]](), list[str]()
    seeds = 10 if quick else 40
    for name in SETS:
        if path_of(name).exists():
            searches = replay(name, seeds)
            rows += [[f"{name}: {side}", *_row(side, found, searches[OFF])] for side, found in searches.items()]
            notes.append(_about(name, searches))
    shares = of_equal_trials(seeds * 10)
    rows += [[f"equal trials: {side}", "", "", share, "", "", ""] for side, share in shares.items()]
    columns = ("curves: rule", "steps saved", "work saved", "pruned", "best score", "missed", "best was pruned")
    notes.append(
        "Work is steps times parameters. Best score: difference to no pruning, seed by seed, with a 95 % interval. "
        "Missed: by how much the best pruned trial would have beaten the best complete one, on average; best was "
        "pruned: how often it would have. Equal trials: constant curves that differ by nothing but noise with a "
        "standard deviation of 0.015, the interval of a validation AUC: whoever is pruned there was killed at random."
    )
    show(
        Result("pruning", "Ending hopeless trials", columns, rows, tuple(notes), quick=quick), save="--save" in sys.argv
    )


def rules(spec: Spec) -> dict[str, Prunes]:
    """Return what is compared: the rule as it is set by default, less patient ones, and Optuna's."""
    # The sets train for other numbers of steps than studies do: without one, the first third is warm-up.
    rule = PruningRule.of(spec)
    median = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=spec.training.max_steps // 3)
    return {
        OURS: by_rule(rule),
        "without tolerance": by_rule(replace(rule, tolerance=0.0)),
        "without tolerance, patience 1": by_rule(replace(rule, tolerance=0.0, patience=1)),
        "at the median": by_rule(replace(rule, percentile=50)),
        "at the median, tolerance 0.01": by_rule(replace(rule, percentile=50, tolerance=0.01)),
        "Optuna's MedianPruner, within budgets": by_optuna(median, within_budget=True),
        "Optuna's MedianPruner": by_optuna(median, within_budget=False),
    }


def replay(name: str, seeds: int) -> dict[str, list[Searched]]:
    """Return the searches of every side, seed by seed."""
    spec = spec_of(name)
    declaration, parameters = declare(spec), parameters_of(architecture_values(spec))
    curves = [curve for curve in read_curves(name) if curve.looks]
    forced, others = curves[: len(declaration.forced)], curves[len(declaration.forced) :]
    sides = rules(spec)
    found: dict[str, list[Searched]] = {side: [] for side in (OFF, OTHER_LUCK, *sides, MORE_TRIALS)}
    for seed in range(seeds):
        drawn = np.random.default_rng(seed).permutation(len(others))[: round(_SHOWN * len(others))]
        world = World(declaration, forced, [others[place] for place in sorted(drawn)], parameters)
        cap = len(forced) + round(_SEARCHED * len(drawn))
        off = world.search(never, seed, cap=cap)
        found[OFF].append(off)
        found[OTHER_LUCK].append(world.search(never, seed + 1000, cap=cap))
        for side, prunes in sides.items():
            found[side].append(world.search(prunes, seed, cap=cap))
        found[MORE_TRIALS].append(world.search(sides[OURS], seed, work=off.work))
        print(f"{name}: seed {seed + 1} of {seeds}", file=sys.stderr, flush=True)
    return found


def _row(side: str, found: Sequence[Searched], off: Sequence[Searched]) -> list[str]:
    if side == OFF:
        return ["–", "–", "–", f"{fmean(each.best for each in off):.4f}", "–", "–"]
    saved = [1 - each.steps / without.steps for each, without in zip(found, off, strict=True)]
    work = [1 - each.work / without.work for each, without in zip(found, off, strict=True)]
    pruned = fmean(each.pruned / max(1, each.sampled) for each in found)
    missed = [each.missed for each in found]
    return [
        f"{100 * fmean(saved):.1f} %",
        f"{100 * fmean(work):.1f} %",
        f"{100 * pruned:.0f} %",
        difference([each.best - without.best for each, without in zip(found, off, strict=True)]),
        f"{fmean(missed):.4f}",
        f"{sum(each > 0 for each in missed)} of {len(missed)}",
    ]


def difference(values: Sequence[float]) -> str:
    """Return a mean with its 95 % interval by Student's t."""
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{fmean(values):+.4f} ± {half:.4f}"


def of_equal_trials(times: int) -> dict[str, str]:
    """Return how many of equal trials every rule prunes at the middle of their training, where only noise differs."""
    drawn = np.random.default_rng(1)
    spec = spec_of(SETS[0])
    steps = range(10, 70, 10)
    pruned = dict.fromkeys(rules(spec), 0)
    for _ in range(times):
        values = drawn.normal(0.70, 0.015, 21)
        curves = [Curve(tuple((step, float(value)) for step in steps)) for value in values]
        peers = [("2M", curve, True) for curve in curves[1:]]
        for side, prunes in rules(spec).items():
            looks = [prunes("2M", curves[0].points[:place], peers) for place in range(2, len(steps))]
            pruned[side] += any(looks)
    return {side: f"{100 * found / times:.1f} %" for side, found in pruned.items()}


def _about(name: str, searches: Mapping[str, Sequence[Searched]]) -> str:
    off = searches[OFF]
    return (
        f"{name}: {len(read_curves(name))} recorded trainings; searches of {off[0].trials} trials, {off[0].sampled} of "
        f"them sampled, {len(off)} seeds."
    )


if __name__ == "__main__":
    main()
