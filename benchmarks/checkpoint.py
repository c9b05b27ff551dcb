"""How long a checkpoint takes, against one training step of the same model.

    .venv/bin/python benchmarks/checkpoint.py [budget ...]

Default: 750k and 200M, the deep shape of each, on the built-in prices with 20 indicators and 64 windows a step. The
step that is timed is the second: the first also allocates. Reading is what a resumed trial does before it trains.
"""

import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
from torch.utils.data import DataLoader

from studies.batches import batch_plan
from studies.checkpoints import CheckpointFile
from studies.data.panel import cut_before_test
from studies.families import FAMILIES
from studies.objective import TrialContext
from studies.precision import resolve_precision
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.training import WindowClassifier, make_trainer
from studies.windows import TrainingWindows, Windows

_BUDGETS = ["750k", "200M"]
_TRAINING = {"max_steps": 2, "micro_batch": 8}


class Stopwatch(lightning.Callback):
    """Times the last optimizer step and one save after it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = 0.0
        self._step = 0
        self.step_seconds = 0.0
        self.save_seconds = 0.0

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object, **__: object) -> None:
        """Note the time whenever a step is done."""
        if trainer.global_step == self._step:
            return
        self._step, now = trainer.global_step, time.perf_counter()
        self.step_seconds, self._began = now - self._began, now
        if self._step == trainer.max_steps:
            trainer.save_checkpoint(self._path)
            self.save_seconds = time.perf_counter() - now


def measure(budget: str, home: Path) -> tuple[int, Stopwatch, float, int]:
    """Train two steps and save; return parameters, times, the seconds of reading and the bytes on the disk."""
    spec = read_spec("quickstart", {"training": _TRAINING, "budgets": [budget]})
    sizes = prepare_prices(spec, home).sizes
    context = TrialContext(spec, 0, 1, seed=1, directory=home / budget, home=home, sizes=sizes)
    panel = cut_before_test(open_panel(spec, home, sizes["panel"]))
    params: dict[str, Any] = {"budget": budget, "style": "deep"}
    network = FAMILIES[spec.model].build(spec.architecture(budget, "deep"), window_shape(panel), 0.3, 1)
    model = WindowClassifier(network, 1e-4, 1e-3)
    saved, batches = CheckpointFile(params, context), batch_plan(params, spec.training)
    watch = Stopwatch(saved.path)
    trainer = make_trainer(spec.training.max_steps, batches, resolve_precision("auto"), saved, [watch])
    trainer.fit(model, DataLoader(TrainingWindows(Windows(panel), batches, 1), batch_size=None))
    began = time.perf_counter()
    assert saved.find() == spec.training.max_steps
    reading = time.perf_counter() - began
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return count, watch, reading, saved.path.stat().st_size


def main() -> None:
    """Print a line for every budget."""
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    print(f"{'budget':8}{'parameters':>13}{'save s':>9}{'read s':>9}{'on disk MB':>12}{'step s':>9}{'save / step':>13}")
    for budget in sys.argv[1:] or _BUDGETS:
        with tempfile.TemporaryDirectory() as home:
            count, watch, reading, size = measure(budget, Path(home))
        ratio = watch.save_seconds / watch.step_seconds
        print(
            f"{budget:8}{count:13,}{watch.save_seconds:9.2f}{reading:9.2f}{size / 1e6:12.1f}"
            f"{watch.step_seconds:9.2f}{ratio:13.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
