"""How often the report claims effects that aren't there, and finds those that are.

    PYTHONPATH=.:tests .venv/bin/python benchmarks/effects.py [RUNS]

Every run simulates a study: the 18 forced configurations, then a sampler, and noise of one standard deviation. Prints
in how many of RUNS (200) studies of nothing but noise any effect, surprise or importance was claimed, and in how many
a planted one was found.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from simulated_studies import DRAWS, Simulation, deep_is_better, dropout_matters

from hpo.report.effects import effects
from hpo.report.importances import Standing, importances
from hpo.report.significance import Verdict
from hpo.report.surprises import surprises

_CLAIMS = {Verdict.BETTER, Verdict.WORSE}
_FEWER = 3


def main() -> None:
    """Print the rates."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{'nothing but noise':44}{'effects':>12}{'surprises':>12}{'importances':>14}")
    for simulation in _noise_alone():
        _print_false_claims(simulation, runs)
    print(f"\n{'planted, by effect':44}{'found':>12}")
    for truth in (dropout_matters, deep_is_better):
        for sampler in ("random", "tpe"):
            _print_found(Simulation(truth, sampler=sampler), runs)
    _print_seconds()


def _noise_alone() -> Iterable[Simulation]:
    for sampler, trials in (("random", 18), ("random", 48), ("random", 70), ("tpe", 70)):
        for seeds in (1, 5):
            yield Simulation(trials=trials, sampler=sampler, seeds=seeds)
    for noise in list(DRAWS)[1:]:
        for seeds in (1, 5):
            yield Simulation(seeds=seeds, noise=noise)


def _print_false_claims(simulation: Simulation, runs: int) -> None:
    false: Counter[str] = Counter()
    # They take longer than all else here, and know nothing of seeds.
    few = runs // _FEWER if simulation.noise == "normal" and simulation.seeds == 1 else 0
    for seed in range(runs):
        evidence, noise = simulation.run(seed)
        false["effects"] += any(each.verdict in _CLAIMS for each in effects(evidence, noise).effects)
        false["surprises"] += any(each.verdict in _CLAIMS for each in surprises(evidence, noise))
        if seed < few:
            rows = (row for each in importances(evidence) for row in each.parameters)
            false["importances"] += any(row.standing is Standing.IMPORTANT for row in rows)
    name = f"{simulation.sampler}, {simulation.trials} trials, {simulation.noise}, seeds {simulation.seeds}"
    told = [f"{false[key]}/{of}" for key, of in (("effects", runs), ("surprises", runs), ("importances", few))]
    print(f"{name:44}{told[0]:>12}{told[1]:>12}{told[2] if few else '–':>14}", flush=True)


def _print_found(simulation: Simulation, runs: int) -> None:
    found: Counter[str] = Counter()
    for seed in range(runs):
        evidence, noise = simulation.run(seed)
        found.update(each.contrast for each in effects(evidence, noise).effects if each.verdict in _CLAIMS)
    print(f"{simulation.truth.__name__}, {simulation.sampler}, {simulation.trials} trials, seeds {simulation.seeds}")
    for contrast, times in found.most_common():
        if times > runs / 20:
            print(f"    {contrast:40}{f'{times}/{runs}':>12}", flush=True)


def _print_seconds() -> None:
    evidence, noise = replace(Simulation(), seeds=5).run(0)
    started = time.process_time()
    effects(evidence, noise)
    surprises(evidence, noise)
    middle = time.process_time()
    importances(evidence)
    print(f"\nseconds of one processor for 70 trials: effects and surprises {middle - started:.2f}, ", end="")
    print(f"importances {time.process_time() - middle:.2f}")


if __name__ == "__main__":
    main()
