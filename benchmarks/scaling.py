"""How well losses of large language models are predicted from small runs that somebody else has recorded.

    .venv/bin/python benchmarks/scaling.py

The table is that of scan-bench (MIT): 1,194 trainings of 16 M to 1.0 B parameters with random hyperparameters, and five
of 1.0 to 1.7 B that were tuned. Runs of at most 1e19 FLOPs, the largest of them 33 to 82 times smaller than the five,
predict these. Truth is `objective_to_minimize`: `test_loss` of one of the five is its validation loss.

The row `bracket over E` is what the report says, with the defaults of the package; it was fixed before it was first run
on the five. The other cut-offs were looked at afterwards, and only there to show how far luck goes.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hpo.report.power_law import fit_points
from hpo.report.scaling import analyse_sizes
from hpo.report.size_findings import SizeFindings
from hpo.report.size_groups import group_points

CUTOFF = 1e19
_COLUMNS = ["config_id", "flops", "step_fraction", "objective_to_minimize"]


class Runs(NamedTuple):
    """FLOPs and final losses."""

    flops: np.ndarray
    losses: np.ndarray

    def up_to(self, flops: float) -> "Runs":
        """Return those of at most so many FLOPs."""
        return Runs(self.flops[self.flops <= flops], self.losses[self.flops <= flops])


class Prediction(NamedTuple):
    """What an approach expects of the five; no interval where it has none."""

    approach: str
    central: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def read_tables() -> tuple[Runs, Runs]:
    """Return the small and the large runs, from the files of the installed package; importing it would need torch."""
    found = find_spec("scan_bench")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("scan-bench is not installed: make setup, or pip install --no-deps scan-bench")
    folder = Path(found.submodule_search_locations[0]) / "llm"
    small = pd.read_csv(folder / "configs_intermediate_summary.csv", usecols=_COLUMNS)
    last = small.sort_values("step_fraction", kind="stable").groupby("config_id").tail(1)
    large = pd.read_csv(folder / "large_runs_final_runs.csv").sort_values("flops")
    return _runs(last), _runs(large)


def _runs(table: pd.DataFrame) -> Runs:
    return Runs(table["flops"].to_numpy(float), table["objective_to_minimize"].to_numpy(float))


def analyse(small: Runs) -> SizeFindings:
    """Return what the report would say of the small runs."""
    grouped = group_points(small.flops.tolist(), small.losses.tolist())
    return analyse_sizes(grouped, maximizes=False, noise=None, size_name="FLOPs")


def bracket(small: Runs, flops: np.ndarray) -> Prediction:
    """Return what the report would say of larger runs."""
    curve = analyse(small).expects(flops.tolist())
    assert curve is not None, "no law was found"
    return Prediction("bracket over E", *(np.array(each) for each in (curve.central, curve.low, curve.high)))


def predictions(small: Runs, flops: np.ndarray) -> list[Prediction]:
    """Return what each approach says of larger runs."""
    every = fit_points(small.flops, small.losses)
    found = analyse(small).law
    assert found is not None, "no law was found"
    band, points = found.at(flops), every.at(flops)
    return [
        Prediction("best loss seen", np.full(flops.size, small.losses.min())),
        Prediction("free law, every run", every.best.losses(flops), points.bootstrap_low, points.bootstrap_high),
        Prediction("free law, equal n", found.best.losses(flops), band.bootstrap_low, band.bootstrap_high),
        Prediction("law with E = 0, equal n", found.floorless.losses(flops)),
        bracket(small, flops),
    ]


def relative_errors(prediction: Prediction, truth: np.ndarray) -> np.ndarray:
    """Return predicted over true loss, minus 1."""
    return prediction.central / truth - 1


def held(prediction: Prediction, truth: np.ndarray) -> np.ndarray | None:
    """Return which true losses lie in the interval."""
    if prediction.low is None or prediction.high is None:
        return None
    return (prediction.low <= truth) & (truth <= prediction.high)


def _row(name: str, prediction: Prediction, truth: np.ndarray) -> str:
    errors = 100 * relative_errors(prediction, truth)
    inside = held(prediction, truth)
    each = "".join(
        f"{error:+7.1f}{' ' if inside is None else '·' if yes else '✗'}"
        for error, yes in zip(errors, np.zeros(errors.size) if inside is None else inside, strict=True)
    )
    line = f"{name:26}{np.abs(errors).mean():9.1f}  {each}"
    if prediction.low is None or prediction.high is None or inside is None:
        return f"{line}{'–':>8}{'–':>9}"
    width = 100 * np.mean((prediction.high - prediction.low) / truth)
    return f"{line}{f'{inside.sum()} of {inside.size}':>8}{width:9.1f}"


def main() -> None:
    """Print the table, and the bracket from other cut-offs."""
    small, large = read_tables()
    used = small.up_to(CUTOFF)
    times = large.flops / used.flops.max()
    print(
        f"{used.flops.size} runs of at most {CUTOFF:.0e} FLOPs predict {large.flops.size} that are "
        f"{times.min():.0f} to {times.max():.0f} times larger than the largest of them, with losses of "
        f"{large.losses.min():.3f} to {large.losses.max():.3f}"
    )
    print(
        f"\n{'approach':26}{'mean |%|':>9}  {'error of each in %, · inside, ✗ outside':<40}{'inside':>8}{'width %':>9}"
    )
    for prediction in predictions(used, large.flops):
        print(_row(prediction.approach, prediction, large.losses))
    print("\nbracket over E, from runs of at most")
    for cutoff in (1e18, 3e18, 1e19, 3e19, 1e20):
        prediction = bracket(small.up_to(cutoff), large.flops)
        print(_row(f"  {cutoff:.0e} FLOPs", prediction, large.losses))
    print()
    print(*analyse(used).sentences, sep="\n")


if __name__ == "__main__":
    main()
