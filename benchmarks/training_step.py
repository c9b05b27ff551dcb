"""Where the gain in a training step comes from: one optimizer step of 32 windows, from NeuralForecast's to ours.

    .venv/bin/python benchmarks/training_step.py [--quick] [--save]

The same model in four loops, on one thread, for the four shapes of the quickstart:

    its trainer     NeuralForecast's fit: its windows, its network, Lightning with an epoch a step
    its step        its windows and its network in a bare loop: what Lightning takes is gone
    our windows     its network in a bare loop, on windows cut from our panel
    ours            the network as a trial of ours builds and trains it, in a bare loop, on our windows
"""

import argparse
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from neuralforecast.common._base_model import BaseModel
from neuralforecast.tsdataset import TimeSeriesDataModule, TimeSeriesDataset
from peers.configurations import Configuration
from peers.frame import long_frame
from peers.plain_script import SHAPES, be_quiet, make_model
from pytorch_lightning import Callback
from side_by_side import Result, Side, ratios, show, spread, take_turns

from budgets import Architecture
from studies.data.panel import Panel, build_panel, cut_before_test
from studies.families import FAMILIES
from studies.preparation import load_table, panel_options, window_shape
from studies.reading import read_spec
from studies.training import WindowClassifier
from studies.windows import Windows

_BATCH: Final = 32
_HYPER: Final = {"dropout": 0.5, "learning_rate": 1e-4, "weight_decay": 1e-3}
LOOPS: Final = ("its trainer", "its step", "our windows", "ours")

Step = Callable[[], None]


class _Clock(Callback):
    """Notes when each training step has ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


class Loops:
    """The loops for one shape: each returns milliseconds a step."""

    def __init__(self, panel: Panel, configuration: Configuration, steps: int) -> None:
        self._panel, self._configuration, self._steps = panel, configuration, steps
        self._frame = long_frame(panel)
        self._held_back = len(panel.splits.validation)
        self._dataset, *_ = TimeSeriesDataset.from_df(self._frame)
        self._bare: dict[str, Step] = {}

    def run(self, loop: str) -> float:
        """Return what a step takes in a loop."""
        if loop == "its trainer":
            return self._its_trainer()
        if loop not in self._bare:
            make = {"its step": self._its_step, "our windows": self._our_windows, "ours": self._ours}[loop]
            self._bare[loop] = make()
            self._bare[loop]()
        began = time.perf_counter()
        for _ in range(self._steps):
            self._bare[loop]()
        return 1000 * (time.perf_counter() - began) / self._steps

    def _model(self, **others: object) -> BaseModel:
        return make_model(self._frame, self._configuration, self._steps + 1, **others)

    def _its_trainer(self) -> float:
        clock = _Clock()
        self._model(callbacks=[clock]).fit(self._dataset, test_size=self._held_back)
        return 1000 * (clock.ends[-1] - clock.ends[0]) / self._steps

    def _its_step(self) -> Step:
        model = self._model()
        model.val_size, model.test_size = 0, self._held_back
        # There is no trainer to log to.
        model.log = lambda *_, **__: None
        loader = TimeSeriesDataModule(self._dataset, batch_size=_BATCH, valid_batch_size=_BATCH).train_dataloader()
        optimizer = model.configure_optimizers()["optimizer"]

        def step() -> None:
            (batch,) = loader
            _descend(optimizer, model.training_step(batch, 0))

        return step

    def _our_windows(self) -> Step:
        model, draw = self._model(), _Draw(self._panel)
        optimizer = model.configure_optimizers()["optimizer"]

        def step() -> None:
            inputs, labels = draw()
            logits = model(inputs)[:, -1]
            _descend(optimizer, torch.nn.functional.binary_cross_entropy_with_logits(logits, labels))

        return step

    def _ours(self) -> Step:
        width, layers, heads = SHAPES[self._configuration["budget"], self._configuration["style"]]
        architecture, shape = Architecture(width, layers, heads), window_shape(self._panel)
        network = FAMILIES["itransformer"].build(architecture, shape, _HYPER["dropout"], 1)
        model = WindowClassifier(network, _HYPER["learning_rate"], _HYPER["weight_decay"])
        optimizer, draw = model.configure_optimizers(), _Draw(self._panel)

        def step() -> None:
            _descend(optimizer, model.training_step(draw(), 0))

        return step


class _Draw:
    """Draws windows of the train part."""

    def __init__(self, panel: Panel) -> None:
        self._windows, self._random = Windows(panel), np.random.default_rng(1)
        self._decisions = np.asarray(panel.splits.train, dtype=np.int64)

    def __call__(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return self._windows.at(self._random.choice(self._decisions, _BATCH))


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def compare(steps: int, repeats: int, *, quick: bool) -> Result:
    """Let all loops of all shapes take turns; return the table."""
    spec = read_spec("quickstart", {})
    panel = cut_before_test(build_panel(load_table(spec), **panel_options(spec)))
    sides = []
    for budget, style in SHAPES:
        loops = Loops(panel, {"budget": budget, "style": style, **_HYPER}, steps)
        sides += [Side(f"{budget} {style} {loop}", lambda loops=loops, loop=loop: loops.run(loop)) for loop in LOOPS]
    figures = take_turns(sides, repeats)
    rows = []
    for budget, style in SHAPES:
        names = [f"{budget} {style} {loop}" for loop in LOOPS]
        times = [spread(figures[name]) for name in names]
        rows.append((f"{budget} {style}", *times, spread(ratios(figures, names[0], names[-1]))))
    columns = ("shape", *(f"{loop} (ms)" for loop in LOOPS), "its trainer / ours")
    return Result("training_step", "A training step, from NeuralForecast's to ours", columns, rows, _NOTES, quick)


_NOTES: Final = (
    "One optimizer step of 32 windows of 80 rows, 42 tokens each, on one thread, dropout 0.5, AdamW.",
    "Its trainer is NeuralForecast's fit, its step the same without Lightning, our windows its network on windows cut "
    "from the memory-mapped panel, ours the network as a trial of ours builds and trains it.",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--quick", "--save"):
        parser.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    be_quiet()
    steps, repeats = (4, 1) if arguments.quick else (15, 5)
    show(compare(steps, repeats, quick=arguments.quick), save=arguments.save)


if __name__ == "__main__":
    main()
