"""Records learning curves of real trainings on real prices, for `benchmarks/pruning.py`.

    PYTHONPATH=. .venv/bin/python benchmarks/learning_curves.py quickstart 60
    PYTHONPATH=. .venv/bin/python benchmarks/learning_curves.py small 100

Trains the forced configurations of 750k and 2M and then random ones of the search space, one after the other on one
thread, until so many are in `benchmarks/data/`; started again, it goes on. `quickstart` trains as that study does, with
a look every 10 steps; `small` trains models of a tenth of the size for twice as many steps.
"""

import csv
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from curve_sets import DATA, OF_THIS_PROJECT, PARAMETERS, path_of, read_curves, spec_of

from hpo.settings import load_settings
from studies.declaration import Declaration, architecture_values, declare, derive
from studies.objective import DivergedError, TrialContext
from studies.preparation import prepare_prices
from studies.spec import Spec


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


def train(
    spec: Spec, home: Path, sizes: Mapping[str, Any], params: dict[str, Any], number: int
) -> list[tuple[int, float]]:
    """Train one configuration on one thread; return step and validation AUC at every look."""
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
            send=lambda auc, step: bool(looks.append((step, auc))),
        )
        try:
            score({**params, **derive(params, architecture_values(spec))}, context)
        except DivergedError as error:
            print(f"diverged: {error}")
    return looks


def record(name: str, wanted: int) -> None:
    """Train until so many curves are recorded; what is there is kept."""
    spec = spec_of(name)
    home = load_settings().home
    sizes = prepare_prices(spec, home).sizes
    path = path_of(name)
    had = len(read_curves(name)) if path.exists() else 0
    DATA.mkdir(exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not had:
            writer.writerow([*PARAMETERS, "looks"])
        for number, params in zip(range(wanted), configurations(declare(spec)), strict=False):
            if number < had:
                continue
            began = time.process_time()
            looks = train(spec, home, sizes, params, number)
            told = " ".join(f"{step}:{auc:.5f}" for step, auc in looks)
            writer.writerow([*(params[key] for key in PARAMETERS), told])
            file.flush()
            print(f"{number + 1} of {wanted}: {told} in {time.process_time() - began:.1f} s of a core", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if len(sys.argv) != 3 or sys.argv[1] not in OF_THIS_PROJECT:
        raise SystemExit(f"name a set, {' or '.join(OF_THIS_PROJECT)}, and how many curves: quickstart 60")
    record(sys.argv[1], int(sys.argv[2]))
