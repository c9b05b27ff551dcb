"""Learning curves of real trainings, and the search that each set of them is one of.

- `quickstart` and `small`: transformers of this project on real prices, see `benchmarks/learning_curves.py`.
- `language models`: the 335 trainings of scan-bench (MIT) that were looked at five times or more, of 16 M to 1.0 B
  parameters with random hyperparameters; thirds by size stand for budgets. A step is a per cent of its training.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hpo.pruning import PruningRule
from studies.declaration import architecture_values, declare, derive
from studies.reading import read_spec
from studies.spec import Direction, Spec

DATA = Path(__file__).parent / "data"
PARAMETERS = ("budget", "style", "dropout", "learning_rate", "weight_decay")
_SMALL = {
    "750k": {
        "shallow": {"d_model": 64, "n_layers": 2, "n_heads": 4},
        "deep": {"d_model": 32, "n_layers": 4, "n_heads": 4},
    },
    "2M": {
        "shallow": {"d_model": 96, "n_layers": 2, "n_heads": 4},
        "deep": {"d_model": 64, "n_layers": 5, "n_heads": 4},
    },
}
_CHANGES: dict[str, dict[str, Any]] = {
    "quickstart": {"training": {"check_every": 10, "patience": 1000}},
    "small": {
        "training": {"max_steps": 120, "check_every": 15, "effective_batch": 16, "patience": 1000},
        "architectures": _SMALL,
    },
}
OF_THIS_PROJECT = tuple(_CHANGES)
_LANGUAGE_MODELS = "language models"
_LEAST_LOOKS = 5
# The loss of a language model differs by about 0.01 between seeds.
_LOSS_TOLERANCE = 0.02
# Of every third, as many as are forced of a budget of this project on average.
_FORCED_OF_THIRD = 5


@dataclass(frozen=True)
class Recorded:
    """One training.

    Attributes:
        params: those of the search space, `budget` among them.
        looks: step and score at every look; none after it diverged.
        cost: of a step, in any unit that all of a set share.
    """

    params: Mapping[str, Any]
    looks: tuple[tuple[int, float], ...]
    cost: float = 1.0


@dataclass(frozen=True)
class CurveSet:
    """A set of trainings.

    Attributes:
        forced: how many of the curves, from the first on, a search trains first and never prunes.
        scales: how far a parameter goes, in its own units or in decades, over what it is worth in a comparison.
        rule: as a study would have it by default.
    """

    name: str
    curves: Sequence[Recorded]
    forced: int
    space: Mapping[str, BaseDistribution]
    scales: Mapping[str, float]
    rule: PruningRule

    @property
    def direction(self) -> Direction:
        """Maximize or minimize."""
        return self.rule.direction

    @property
    def better(self) -> Callable[..., float]:
        """Return the better of some scores."""
        return max if self.direction == "maximize" else min

    def score(self, recorded: Recorded) -> float:
        """Return what a training ends with: its best look."""
        return self.better(value for _, value in recorded.looks)

    def distance(self, params: Mapping[str, Any], others: Mapping[str, Any]) -> float:
        """Return how far apart two configurations are; those that differ in a category are further than all others."""
        apart = sum(10.0 for name in params if isinstance(params[name], str) and params[name] != others[name])
        return apart + math.hypot(*(self._away(name, params, others) for name in self.scales))

    def _away(self, name: str, params: Mapping[str, Any], others: Mapping[str, Any]) -> float:
        distribution = self.space[name]
        assert isinstance(distribution, FloatDistribution)
        here, there = float(params[name]), float(others[name])
        return (math.log10(here / there) if distribution.log else here - there) / self.scales[name]


def curve_sets() -> list[CurveSet]:
    """Return all sets that are there."""
    own = [_of_this_project(name) for name in OF_THIS_PROJECT if path_of(name).exists()]
    return [*own, *([_language_models()] if find_spec("scan_bench") else [])]


def spec_of(name: str) -> Spec:
    """Return the study that a set of this project's curves comes from."""
    return read_spec("quickstart", {**_CHANGES[name], "trials": 1000, "keep_weights": 0})


def path_of(name: str) -> Path:
    """Where a set of this project's curves is."""
    return DATA / f"{name}_curves.csv"


def read_curves(name: str) -> list[Recorded]:
    """Return the recorded curves of a set of this project, the forced configurations first."""
    rules = architecture_values(spec_of(name))
    with path_of(name).open(newline="", encoding="utf-8") as file:
        return [_recorded(row, rules) for row in csv.DictReader(file)]


def _recorded(row: Mapping[str, str], rules: Any) -> Recorded:  # noqa: ANN401  what `architecture_values` returns
    numbers = {key: float(row[key]) for key in PARAMETERS[2:]}
    params = {"budget": row["budget"], "style": row["style"], **numbers}
    pairs = (look.split(":") for look in row["looks"].split())
    looks = tuple((int(step), float(auc)) for step, auc in pairs)
    return Recorded(params, looks, float(derive(params, rules)["estimated_params"]))


def _of_this_project(name: str) -> CurveSet:
    spec = spec_of(name)
    declaration = declare(spec)
    # Weight decay changes nothing in trainings this short (docs/log.md), and dropout less than the learning rate.
    scales = {"learning_rate": 2.0, "dropout": 1.2, "weight_decay": 0.1}
    curves = [curve for curve in read_curves(name) if curve.looks]
    return CurveSet(name, curves, len(declaration.forced), declaration.space, scales, PruningRule.of(spec))


def _language_models() -> CurveSet:
    import pandas as pd

    found = find_spec("scan_bench")
    assert found is not None
    assert found.origin is not None
    table = pd.read_csv(Path(found.origin).with_name("llm") / "configs_intermediate_summary.csv")
    runs = [run for _, run in table.groupby("config_id") if len(run) >= _LEAST_LOOKS and run.step_fraction.max() > 0.99]
    bounds = np.quantile([run.n_params.iloc[0] for run in runs], [1 / 3, 2 / 3])
    curves = [_run(run, f"third {int(np.searchsorted(bounds, run.n_params.iloc[0])) + 1}") for run in runs]
    first = [
        curve
        for third in ("third 1", "third 2", "third 3")
        for curve in [each for each in curves if each.params["budget"] == third][:_FORCED_OF_THIRD]
    ]
    others = [curve for curve in curves if curve not in first]
    space: dict[str, BaseDistribution] = {
        "budget": CategoricalDistribution(("third 1", "third 2", "third 3")),
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "weight_decay": FloatDistribution(1e-3, 0.2, log=True),
        "width_to_depth": FloatDistribution(8.0, 450.0, log=True),
    }
    rule = PruningRule(50, _LOSS_TOLERANCE, None, min_trials=5, patience=2, direction="minimize")
    scales = {"learning_rate": 3.0, "weight_decay": 4.6, "width_to_depth": 3.5}
    return CurveSet(_LANGUAGE_MODELS, [*first, *others], len(first), space, scales, rule)


def _run(run: Any, third: str) -> Recorded:  # noqa: ANN401  a table of one training
    row, ordered = run.iloc[0], run.sort_values("step_fraction")
    params = {
        "budget": third,
        "learning_rate": float(row.lr),
        "weight_decay": float(row.weight_decay),
        "width_to_depth": float(row.d_model / row.n_layers),
    }
    looks = {round(100 * look.step_fraction): float(look.valid_loss) for look in ordered.itertuples()}
    return Recorded(params, tuple(looks.items()), float(row.flops))
