"""Records learning curves of real trainings on real prices, for `benchmarks/pruning.py`.

    PYTHONPATH=. .venv/bin/python benchmarks/learning_curves.py quickstart 60
    PYTHONPATH=. .venv/bin/python benchmarks/learning_curves.py small 200

Trains the forced configurations of 750k and 2M and then random ones of the search space, one after the other on one
thread, until so many are in `benchmarks/data/`; started again, it goes on. `quickstart` trains as that study does, with
a look every 10 steps; `small` trains models of a tenth of the size for twice as many steps.
"""

import csv
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.records import Key
from hpo.settings import load_settings
from studies.declaration import Declaration, architecture_values, declare, derive
from studies.objective import DivergedError, TrialContext
from studies.preparation import prepare_prices
from studies.reading import read_spec
from studies.spec import Spec

DATA = Path(__file__).parent / "data"
_PARAMETERS = ("budget", "style", "dropout", "learning_rate", "weight_decay")
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
SETS = tuple(_CHANGES)


@dataclass(frozen=True)
class Recorded:
    """One training: its parameters, and step and validation AUC at every look; no look after it diverged."""

    params: dict[str, Any]
    looks: tuple[tuple[int, float], ...]

    @property
    def key(self) -> Key:
        """Equal for equal configurations."""
        return tuple(sorted(self.params.items()))

    @property
    def score(self) -> float:
        """What the trial ends with: its best look."""
        return max(auc for _, auc in self.looks)


def spec_of(name: str) -> Spec:
    """Return the study that a set of curves comes from."""
    return read_spec("quickstart", {**_CHANGES[name], "trials": 1000, "keep_weights": 0})


def path_of(name: str) -> Path:
    return DATA / f"{name}_curves.csv"


def read_curves(name: str) -> list[Recorded]:
    """Return the recorded curves of a set, the forced configurations first."""
    with path_of(name).open(newline="", encoding="utf-8") as file:
        return [_recorded(row) for row in csv.DictReader(file)]


def _recorded(row: dict[str, str]) -> Recorded:
    numbers = {key: float(row[key]) for key in _PARAMETERS[2:]}
    pairs = (look.split(":") for look in row["looks"].split())
    looks = tuple((int(step), float(auc)) for step, auc in pairs)
    return Recorded({"budget": row["budget"], "style": row["style"], **numbers}, looks)


def configurations(declaration: Declaration) -> Iterator[dict[str, Any]]:
    """Yield the forced configurations, then random ones, equal in every run."""
    yield from (dict(design.params) for design in declaration.forced)
    drawn = np.random.default_rng(20261126)
    while True:
        yield {
            "budget": str(drawn.choice(["750k", "2M"])),
            "style": str(drawn.choice(["shallow", "deep"])),
            "dropout": round(float(drawn.uniform(0.1, 0.7)), 4),
            "learning_rate": float(f"{10 ** drawn.uniform(-5, -3):.4g}"),
            "weight_decay": round(float(drawn.uniform(0.0, 1e-2)), 6),
        }


def train(spec: Spec, home: Path, sizes: Mapping[str, Any], params: dict[str, Any], number: int) -> Recorded:
    """Train one configuration on one thread."""
    from studies.training import score

    looks: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        context = TrialContext(
            spec,
            number,
            attempt=1,
            seed=spec.seed,
            directory=Path(folder),
            home=home,
            sizes=sizes,
            send=lambda auc, step: looks.append((step, auc)) is not None,
        )
        try:
            score({**params, **derive(params, architecture_values(spec))}, context)
        except DivergedError as error:
            print(f"diverged: {error}")
    return Recorded(params, tuple(looks))


def record(name: str, wanted: int) -> None:
    """Train until so many curves are recorded; what is there is kept."""
    spec = spec_of(name)
    home = load_settings().home
    sizes = prepare_prices(spec, home).sizes
    path = path_of(name)
    had = len(read_curves(name)) if path.exists() else 0
    DATA.mkdir(exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not had:
            writer.writerow([*_PARAMETERS, "looks"])
        for number, params in zip(range(wanted), configurations(declare(spec)), strict=False):
            if number < had:
                continue
            began = time.process_time()
            found = train(spec, home, sizes, params, number)
            looks = " ".join(f"{step}:{auc:.5f}" for step, auc in found.looks)
            writer.writerow([*(params[key] for key in _PARAMETERS), looks])
            file.flush()
            best = found.score if found.looks else math.nan
            print(f"{number + 1} of {wanted}: {best:.4f} in {time.process_time() - began:.1f} s of a core", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if len(sys.argv) != 3 or sys.argv[1] not in SETS:
        raise SystemExit(f"name a set, {' or '.join(SETS)}, and how many curves: quickstart 60")
    record(sys.argv[1], int(sys.argv[2]))
