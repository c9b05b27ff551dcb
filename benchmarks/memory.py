"""The memory of a trial as it is estimated before it starts, against the peak that it really reaches on the CPU.

    .venv/bin/python benchmarks/memory.py [words ...]

Every row trains a few steps of a real model on the built-in prices with the training code of a trial, in a fork of a
server as a trial is. Words choose rows: `benchmarks/memory.py tft 200M`. Run it from the root of the repository.

    start       what the fork holds when it begins, in MiB
    estimate    what the trial was estimated to take beyond that: no constant is fitted to a row
    measured    what it took: the highest resident memory less the start
    own         estimate / measured
    whole       (start + estimate) / (start + measured): against the peak of the process

Exits with 1 when either is off by more than 25 % anywhere.
"""

import logging
import math
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budgets import STYLES, compute_budget_aware_extremes
from hpo.fork_server import Channel, ForkServer, call
from studies.declaration import Prepared, derive
from studies.families import FAMILIES
from studies.spec import Spec

TOLERANCE = 0.25
_MIB = 2**20
_STEPS = 3


@dataclass(frozen=True)
class Row:
    """One training: family, budget, style, windows a forward pass, forward passes a step, and what is unusual."""

    model: str
    budget: str
    style: str
    micro: int
    parts: int = 1
    window: int = 80
    tier: str = "a20"
    precision: str = "32-true"
    recompute: bool = False

    def spec(self) -> Spec:
        """Return a study of such trials; a short validation part, to be quick."""
        training = {
            "max_steps": _STEPS,
            "check_every": _STEPS,
            "micro_batch": self.micro,
            "effective_batch": self.micro * self.parts,
            "window": self.window,
            "precision": self.precision,
            "gradient_checkpointing": self.recompute,
        }
        values = {"name": "memory", "model": self.model, "data": {"tier": self.tier}, "training": training}
        values |= {"budgets": [self.budget], "split": {"validation": 0.01}, "trials": 18}
        heads = FAMILIES[self.model].heads
        if heads is not None:
            shapes = {style: _shape(self.budget, style, heads) for style in STYLES}
            values["architectures"] = {self.budget: shapes}
        return Spec.model_validate(values)

    def __str__(self) -> str:
        unusual = [f"{self.parts} parts"] * (self.parts > 1) + [self.tier] * (self.tier != "a20")
        unusual += [f"window {self.window}"] * (self.window != 80) + [self.precision] * (self.precision != "32-true")
        unusual += ["recomputed"] * self.recompute
        return f"{self.model} {self.budget}_{self.style} x{self.micro} {', '.join(unusual)}".rstrip()


def _shape(budget: str, style: str, heads: int) -> dict[str, int]:
    usual = compute_budget_aware_extremes(budget, style)
    return {"d_model": usual.d_model, "n_layers": usual.n_layers, "n_heads": heads}


ROWS = [
    Row("itransformer", "750k", "shallow", 16),
    Row("itransformer", "750k", "deep", 64),
    Row("itransformer", "750k", "deep", 8, tier="a200"),
    Row("itransformer", "2M", "shallow", 64),
    Row("itransformer", "2M", "shallow", 16, parts=4),
    Row("itransformer", "2M", "deep", 64, precision="bf16-mixed"),
    Row("itransformer", "20M", "shallow", 32),
    Row("itransformer", "20M", "deep", 8),
    Row("itransformer", "20M", "deep", 32, recompute=True),
    Row("itransformer", "2M", "shallow", 64, recompute=True),
    Row("vanillatransformer", "750k", "deep", 32, recompute=True),
    Row("itransformer", "200M", "shallow", 2),
    Row("itransformer", "200M", "deep", 2),
    Row("patchtst", "750k", "deep", 64, tier="none"),
    Row("patchtst", "20M", "shallow", 16, window=160, tier="none"),
    Row("vanillatransformer", "2M", "shallow", 16),
    Row("informer", "2M", "deep", 8),
    Row("autoformer", "750k", "shallow", 8),
    Row("fedformer", "2M", "shallow", 8),
    Row("tft", "750k", "shallow", 8),
    Row("timexer", "20M", "shallow", 32),
]


def measure(_channel: Channel, spec: Spec, params: dict[str, Any], sizes: dict[str, Any], home: Path) -> list[float]:
    """Train in this fork; return the resident memory at the beginning and its peak in MiB, and the seconds."""
    start = resident()
    from studies.objective import TrialContext
    from studies.training import score

    quiet()
    context = TrialContext(spec, 0, 1, seed=1, directory=home / "trial", home=home, sizes=sizes, threads=2)
    began = time.perf_counter()
    score(params, context)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [start, peak, time.perf_counter() - began]


def estimate(row_spec: Spec, params: dict[str, Any], sizes: dict[str, Any]) -> float:
    """Return what is estimated for such a trial, in MiB, as it is before a trial starts."""
    from studies.batches import batch_plan
    from studies.memory import stored_estimate

    found = stored_estimate(sizes, params, batch_plan(params, row_spec.training))
    assert found is not None
    return found.total / _MIB


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def run(server: ForkServer, row: Row, home: Path) -> tuple[float, float, float, float]:
    """Return start, estimate and measured memory of a row in MiB, and the seconds of its training."""
    spec = row.spec()
    prepared: Prepared = call(server.address, "benchmarks.memory:prepare", spec, home)
    params: dict[str, Any] = {"budget": row.budget, "style": row.style, "dropout": 0.3}
    params |= {"learning_rate": 1e-4, "weight_decay": 1e-3}
    params |= derive(params, prepared.derived)
    expected = estimate(spec, params, dict(prepared.sizes))
    start, peak, seconds = call(server.address, "benchmarks.memory:measure", spec, params, prepared.sizes, home)
    return start, expected, peak - start, seconds


def prepare(_channel: Channel, spec: Spec, home: Path) -> Prepared:
    """Prepare the study in this fork, as `hpo run` does."""
    from studies.preparation import prepare_prices

    return prepare_prices(spec, home)


def quiet() -> None:
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def compare(rows: list[Row]) -> Iterator[bool]:
    """Print a line for every row; yield whether it is within the tolerance."""
    print(f"{'trial':44}{'start':>6}{'estimate':>9}{'measured':>9}{'own':>6}{'whole':>6}")
    with ForkServer(("studies.preload", "hpo.preload")) as server, tempfile.TemporaryDirectory() as home:
        server.wait_until_ready()
        for row in rows:
            start, expected, measured, _ = run(server, row, Path(home))
            own, whole = expected / measured, (start + expected) / (start + measured)
            fine = all(math.isclose(ratio, 1, abs_tol=TOLERANCE) for ratio in (own, whole))
            mark = "" if fine else " <"
            line = f"{row!s:44}{start:6.0f}{expected:9.0f}{measured:9.0f}{own:6.2f}{whole:6.2f}{mark}"
            print(line, flush=True)
            yield fine


def main() -> None:
    """Compare the rows that the words choose."""
    words = sys.argv[1:]
    rows = [row for row in ROWS if all(word in str(row) for word in words)]
    began = time.perf_counter()
    fine = list(compare(rows))
    print(f"{sum(fine)} of {len(fine)} within {TOLERANCE:.0%}, in {time.perf_counter() - began:.0f} s")
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
