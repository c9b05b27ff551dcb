"""What smaller micro-batches cost: an optimizer step of 32 windows at once, in 2 parts and in 4.

    .venv/bin/python benchmarks/micro_batch.py [--quick] [--save]

On one thread. What they save is measured by `benchmarks/fleet_memory.py --micro-batch`.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from bare_step import TrainingStep, begin_measuring, prices
from side_by_side import Result, Side, ratios, show, spread, take_turns

_WINDOWS: Final = 32
_PARTS: Final = (1, 2, 4)
_SHAPES: Final = [("750k", "shallow"), ("750k", "deep"), ("2M", "shallow"), ("2M", "deep")]


def row(home: Path, size: tuple[str, str], turns: int) -> list[str]:
    """Return the cells of a shape: a step of the whole, and how many times as long it takes in parts."""
    spec, panel = prices(home)
    sides = []
    for parts in _PARTS:
        step = TrainingStep(spec, panel, size, _WINDOWS, parts=parts)
        step.step()
        sides.append(Side(f"{parts}", partial(step.seconds, 3)))
    figures = take_turns(sides, turns)
    whole = spread([1000 * seconds for seconds in figures["1"]])
    cells = [" ".join(size), whole, *(spread(ratios(figures, f"{parts}", "1")) for parts in _PARTS[1:])]
    print(*cells, sep="  ", flush=True)
    return cells


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--quick", "--save"):
        parser.add_argument(option, action="store_true")
    given = parser.parse_args()
    begin_measuring()
    with tempfile.TemporaryDirectory() as home:
        rows = [row(Path(home), size, 3 if given.quick else 15) for size in _SHAPES]
    columns = ("shape", f"{_WINDOWS} windows at once, ms", *(f"{_WINDOWS // parts} at once" for parts in _PARTS[1:]))
    title, notes = "A step in parts", ["Times the step of all windows at once; the results are the same."]
    show(Result("micro_batch", title, columns, rows, notes, given.quick), save=given.save)


if __name__ == "__main__":
    main()
