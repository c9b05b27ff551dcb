"""Whether torch.compile pays within a trial: what it costs once, what it saves a step, and from how many steps on.

    .venv/bin/python benchmarks/compiled_step.py [--quick] [--save] [--device cpu|cuda]

Cold is the first time a shape is compiled on a machine, warm a later trial of that shape, which finds the generated
code on the disk. Both are beyond a plain step, forward and backward. Each shape is compiled in processes of their own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch._inductor.config
from bare_step import CPU, TrainingStep, begin_measuring, prices
from side_by_side import Result, Side, ratios, show, spread, take_turns

# The smallest models have the most to gain: most of a step of the others is products.
_SHAPES = [("750k", "shallow"), ("750k", "deep")]
_WINDOWS, _COLUMNS = 32, ("shape", "step, s", "compiled / plain", "cold, s", "warm, s", "pays from steps on")


def compiled(network: torch.nn.Module) -> torch.nn.Module:
    """Return a compiled network; on a card with its steps recorded as CUDA graphs."""
    on_card = next(network.parameters()).is_cuda
    # Dropout draws the numbers that it draws without: its own would be another training, and took 1.3 times as long as
    # no compiling at all.
    torch._inductor.config.fallback_random = True
    found = torch.compile(network, mode="reduce-overhead" if on_card else "default")
    assert isinstance(found, torch.nn.Module)
    return found


def break_even(first_seconds: float, plain: float, fast: float) -> float:
    """Return after how many steps the saving is as large as what compiling cost; infinite where nothing is saved."""
    return first_seconds / (plain - fast) if fast < plain else float("inf")


def measure(home: Path, size: tuple[str, str], device: torch.device, repeats: int) -> dict[str, object]:
    """Return plain and compiled seconds of a step in turns, and those of the first compiled step beyond a plain one."""
    spec, panel = prices(home)
    plain = TrainingStep(spec, panel, size, _WINDOWS, device)
    plain.step()
    fast = TrainingStep(spec, panel, size, _WINDOWS, device, wrap=compiled)
    began = time.perf_counter()
    fast.seconds()
    first = time.perf_counter() - began
    fast.step()
    sides = [Side("plain", lambda: plain.seconds(4)), Side("compiled", lambda: fast.seconds(4))]
    figures = take_turns(sides, repeats)
    return {"figures": figures, "first": max(0.0, first - median(figures["plain"]))}


def in_a_process(home: Path, size: tuple[str, str], device: str, repeats: int) -> dict[str, object]:
    """Measure in a fresh process, with the code that earlier ones have left in this home."""
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor"), "PYTHONPATH": "."}
    command = [sys.executable, __file__, "--one", "/".join(size), "--home", str(home), "--device", device]
    command += ["--repeats", str(repeats)]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found: dict[str, object] = json.loads(said.splitlines()[-1])
    return found


def row(home: Path, size: tuple[str, str], device: str, repeats: int) -> list[str]:
    """Return the cells of a shape."""
    cold, warm = (in_a_process(home, size, device, repeats) for _ in range(2))
    figures = {name: cold["figures"][name] + warm["figures"][name] for name in ("plain", "compiled")}  # type: ignore[index]
    plain, fast = (median(figures[name]) for name in ("plain", "compiled"))
    steps = [break_even(float(each["first"]), plain, fast) for each in (cold, warm)]  # type: ignore[arg-type]
    cells = [" ".join(size), f"{plain:.3g}", spread(ratios(figures, "compiled", "plain"))]
    cells += [f"{cold['first']:.3g}", f"{warm['first']:.3g}", f"{steps[0]:.0f} cold, {steps[1]:.0f} warm"]
    print(*cells, sep="  ", flush=True)
    return cells


def main() -> None:
    """Measure and show, or measure one shape for another process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--device", default=CPU.type)
    parser.add_argument("--one")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    begin_measuring()
    if given.one:
        budget, style = given.one.split("/")
        print(json.dumps(measure(given.home, (budget, style), torch.device(given.device), given.repeats)))
        return
    shapes, repeats = (_SHAPES[:1], 2) if given.quick else (_SHAPES, 5)
    with tempfile.TemporaryDirectory() as home:
        rows = [row(Path(home), size, given.device, repeats) for size in shapes]
    notes = [f"{given.device}, one thread, {_WINDOWS} windows a step, 32-true. The demo's trials take 60 steps."]
    name = "compiled_step" if given.device == CPU.type else "compiled_step_gpu"
    show(Result(name, "torch.compile within a trial", _COLUMNS, rows, notes, given.quick), save=given.save)


if __name__ == "__main__":
    main()
