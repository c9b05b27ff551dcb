"""How much of the machine's arithmetic training uses: FLOP/s in a training step over those of plain matrix products.

    .venv/bin/python benchmarks/utilisation.py [--quick] [--save] [--device cpu|cuda] [--precision 32-true]

On one thread, as a worker has it. A step is that of a trial: windows gathered, forward, backward, AdamW. It is
compared with a large square product, what the machine can do at best, and with the products of the model's own layers,
forward and backward: what it can do at these shapes. `Done` are all products that torch's own counter sees, embeddings
included; nominal operations are those that trials record (`Family.training_flops`).
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bare_step import CPU, TrainingStep, begin_measuring, prices, seconds_of
from side_by_side import Result, Side, ratios, show, spread, take_turns
from torch.utils.flop_counter import FlopCounterMode

from studies.precision import MIXED, begin

_STYLES = ("shallow", "deep")
#: Windows a step and steps a turn.
_SIZES = {"750k": (32, 8), "2M": (32, 4), "20M": (32, 1), "200M": (4, 1)}
_QUICK = ("750k", "2M")
_SQUARE = 2048
_COLUMNS = (
    *("budget, style", "step, s", "GFLOP done", "done / nominal"),
    *("GFLOP/s", "square", "own shapes", "of square", "of own shapes"),
)


def _attention(query: Any, key: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401  shapes
    """Return the operations of attention, forward: torch's counter knows those of cards alone."""
    batch, heads, queries, width = (int(size) for size in query)
    return 4 * batch * heads * queries * int(key[-2]) * width


def _attention_backward(_gradient: Any, query: Any, key: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401  shapes
    """Return those of its backward pass: the scores again, and the gradients of four factors."""
    return _attention(query, key) * 5 // 2


_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def flops_done(training: TrainingStep) -> int:
    """Return the operations of all products of a step, counted while it runs."""
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        training.step()
    return int(counter.get_total_flops())


class Products:
    """Plain products in the precision of a training: (rows, inner, columns), and how often each."""

    def __init__(self, shapes: dict[tuple[int, int, int], int], device: torch.device, precision: str) -> None:
        begin(precision)
        kind = torch.bfloat16 if precision == MIXED else torch.float32
        self._device = device
        self._factors = [
            (torch.rand(rows, inner, device=device, dtype=kind), torch.rand(inner, columns, device=device, dtype=kind))
            for (rows, inner, columns), times in shapes.items()
            for _ in range(times)
        ]
        self.flops = sum(2 * a * b * c * times for (a, b, c), times in shapes.items())
        self._multiply()

    def speed(self) -> float:
        """Return operations a second."""
        return self.flops / seconds_of(self._multiply, self._device)

    def _multiply(self) -> None:
        for left, right in self._factors:
            left @ right


def own_shapes(training: TrainingStep) -> dict[tuple[int, int, int], int]:
    """Return the products of one layer, forward and backward: (rows, inner, columns) and how many."""
    rows, width, inner = training.windows * training.tokens, training.architecture.d_model, training.architecture.d_ff
    shapes: dict[tuple[int, int, int], int] = {}
    for of_in, of_out, times in ((width, width, 4), (width, inner, 1), (inner, width, 1)):
        # Output, gradient of the input, gradient of the weights.
        for shape in ((rows, of_in, of_out), (rows, of_out, of_in), (of_in, rows, of_out)):
            shapes[shape] = shapes.get(shape, 0) + times
    return shapes


def measure(training: TrainingStep, steps: int, repeats: int) -> list[str]:
    """Return the cells of a model: training, square and own shapes take turns."""
    device, precision = training.device, training.precision
    training.step()
    done = flops_done(training)
    square = Products({(_SQUARE, _SQUARE, _SQUARE): 1}, device, precision)
    own = Products(own_shapes(training), device, precision)
    sides = [
        Side("training", lambda: done / training.seconds(steps)),
        Side("square", square.speed),
        Side("own shapes", own.speed),
    ]
    figures = take_turns(sides, repeats)
    return [
        f"{done / median(figures['training']):.3g}",
        f"{done / 1e9:.3g}",
        f"{done / training.nominal_flops:.2f}",
        *(f"{median(figures[side.name]) / 1e9:.3g}" for side in sides),
        *(spread([100 * each for each in ratios(figures, "training", to)]) + " %" for to in ("square", "own shapes")),
    ]


def rows(
    home: Path, budgets: tuple[str, ...], repeats: int, device: torch.device, precision: str
) -> Iterator[list[str]]:
    spec, panel = prices(home)
    for budget in budgets:
        for style in _STYLES:
            windows, steps = _SIZES[budget]
            training = TrainingStep(spec, panel, (budget, style), windows, device, precision)
            cells = [f"{budget} {style}", *measure(training, steps, repeats)]
            print(*cells, sep="  ", flush=True)
            yield cells


def utilisation(device: torch.device, precision: str, *, quick: bool) -> Result:
    """Measure all budgets, or the two small ones."""
    budgets, repeats = (_QUICK, 3) if quick else (tuple(_SIZES), 5)
    begin_measuring()
    with tempfile.TemporaryDirectory() as home:
        found = list(rows(Path(home), budgets, repeats, device, precision))
    sizes = ", ".join(f"{budget} {_SIZES[budget][0]}" for budget in budgets)
    notes = [
        f"{precision} on {device.type}, one thread. Windows a step: {sizes}. Square: one product of {_SQUARE} by "
        f"{_SQUARE}; own shapes: all products of a layer, forward and backward; both in the precision of the training.",
    ]
    name = "utilisation" if device.type == "cpu" else "utilisation_gpu"
    return Result(name, "Utilisation: FLOP/s in training over plain products", _COLUMNS, found, notes, quick)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--device", default=CPU.type)
    parser.add_argument("--precision", default="32-true")
    given = parser.parse_args()
    show(utilisation(torch.device(given.device), given.precision, quick=given.quick), save=given.save)


if __name__ == "__main__":
    main()
