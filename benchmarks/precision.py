"""Whether the score suffers from bfloat16: the same trials in 32 bits and in bf16-mixed, pair by pair.

    .venv/bin/python benchmarks/precision.py [--quick] [--save] [--pairs 8] [--precision bf16-mixed]

A pair is one configuration and one seed, trained as a trial is on the built-in prices: equal initial weights, windows
and dropout. Rounding is that of the hardware also where bfloat16 is emulated: products of rounded factors, added in 32
bits. Only the seconds are those of an emulation then. The score suffers where the interval of the mean difference
reaches below the margin.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from scipy.stats import t as student
from side_by_side import Result, Side, show, spread, take_turns

from studies.objective import TrialContext
from studies.precision import FULL, MIXED, has_bf16
from studies.preparation import prepare_prices
from studies.reading import read_spec
from studies.training import score

MARGIN = 0.005
"""AUC: a quarter of the spread that counts as converged; an interval of the prices is 0.04 to either side."""

# What differs between the pairs, beside the seed: shapes and learning rates of the small budgets.
_CONFIGURATIONS = [("750k", "shallow", 1e-3), ("750k", "deep", 3e-4), ("2M", "shallow", 3e-4)]
_TRAINING = {"max_steps": 60, "effective_batch": 32, "check_every": 20}


class Pairs:
    """Trains the pairs; each side goes through them in the same order."""

    def __init__(self, home: Path, steps: int) -> None:
        self._home, self._steps = home, steps
        self.scores: dict[str, list[float]] = {}
        self.seconds: dict[str, list[float]] = {}

    def train(self, precision: str) -> float:
        """Train the next pair's side and return its AUC."""
        done = self.scores.setdefault(precision, [])
        budget, style, rate = _CONFIGURATIONS[len(done) % len(_CONFIGURATIONS)]
        training = {**_TRAINING, "max_steps": self._steps, "precision": precision}
        spec = read_spec("quickstart", {"training": training})
        prepared = prepare_prices(spec, self._home)
        seed, directory = 1 + len(done), self._home / f"{precision}-{len(done)}"
        context = TrialContext(spec, len(done), 1, seed, directory, self._home, prepared.sizes, threads=1)
        shape = spec.architecture(budget, style)
        params: dict[str, Any] = {"d_model": shape.d_model, "n_layers": shape.n_layers, "n_heads": shape.n_heads}
        began = time.perf_counter()
        found = score({**params, "dropout": 0.3, "learning_rate": rate, "weight_decay": 1e-3}, context)
        assert context.attributes["precision"] == precision
        self.seconds.setdefault(precision, []).append(time.perf_counter() - began)
        done.append(found)
        return found


def interval(differences: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences (Student's t)."""
    half = float(student.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
    return mean(differences) - half, mean(differences) + half


def verdict(low: float, high: float) -> str:
    """Return what the interval of the differences says."""
    if low >= -MARGIN:
        return f"the score does not suffer: it loses less than {MARGIN} at most"
    if high < -MARGIN:
        return f"the score suffers: it loses more than {MARGIN}"
    return f"not decided: more pairs are needed to rule out a loss of {MARGIN}"


def compare(precision: str, pairs: int, *, quick: bool) -> Result:
    """Train so many pairs and compare."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as home:
        trained = Pairs(Path(home), 20 if quick else int(_TRAINING["max_steps"]))
        sides = [Side(name, lambda name=name: trained.train(name)) for name in (FULL, precision)]  # type: ignore[misc]
        figures = take_turns(sides, pairs, lambda line: print(line, flush=True))
    differences = [mixed - full for full, mixed in zip(figures[FULL], figures[precision], strict=True)]
    low, high = interval(differences)
    slower = [mixed / full for full, mixed in zip(trained.seconds[FULL], trained.seconds[precision], strict=True)]
    emulated = "" if has_bf16() or precision != MIXED else "; bfloat16 is emulated here, so the times say nothing"
    rows = [
        *([name, spread(figures[name], 4), f"{median(trained.seconds[name]):.3g}"] for name in (FULL, precision)),
        ["difference, pair by pair", f"{mean(differences):+.5f} (95 %: {low:+.5f} to {high:+.5f})", ""],
        ["largest difference of a pair", f"{max(map(abs, differences)):.5f}", ""],
        ["times as long, pair by pair", "", spread(slower)],
    ]
    notes = [
        f"{pairs} pairs of {len(_CONFIGURATIONS)} configurations: {verdict(low, high)}{emulated}.",
        "Validation AUC of the built-in prices, 750k and 2M, one thread; the sides differ in the precision alone.",
    ]
    return Result("precision", f"Scores: {precision} against {FULL}", ("", "AUC", "seconds"), rows, notes, quick)


def main() -> None:
    """Compare and show."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--precision", default=MIXED)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs = given.pairs or (2 if given.quick else 8)
    show(compare(given.precision, pairs, quick=given.quick), save=given.save)


if __name__ == "__main__":
    main()
