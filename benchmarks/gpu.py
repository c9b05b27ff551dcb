"""Benchmarks a to e on a GPU, and what else is decided there: precision, compiling, workers a card.

    .venv/bin/python benchmarks/gpu.py [--quick] [--save]

Needs a CUDA device that this torch can use; exits with 2 where there is none. The benchmarks of trials an hour, memory,
overhead and the control plane are run as they are, for their trials train on the card by themselves. Beside them:

    workers a card    trials an hour and memory of the card with 1, 2 and 4 workers on it
    utilisation       FLOP/s in training over plain products, in 32-true, tf32 and bf16-mixed
    compiling         whether torch.compile, with CUDA graphs, pays within a trial
    scores            whether they suffer from bf16-mixed

Written without a card at hand: nothing in it has been run on one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from side_by_side import Result, Side, ratios, show, spread, take_turns

from hpo.cards import NvmlCards
from hpo.machine import mps_runs

_HERE = Path(__file__).parent
#: a to d, as they are.
_SHARED = ("trials_an_hour", "fleet_memory", "overhead", "control_plane")
#: e and what else is decided on a card.
_ON_CARD = (
    *(("utilisation", "--device", "cuda", "--precision", name) for name in ("32-true", "tf32", "bf16-mixed")),
    ("compiled_step", "--device", "cuda"),
    ("precision",),
)
_WORKERS = (1, 2, 4)
_COLUMNS = ("workers a card", "trials an hour", "times one worker's", "a worker on the card, MiB", "card in use, MiB")
_LOOK_SECONDS = 0.5


class CardWatch:
    """Notes the most that a card and each process on it take, while it is entered."""

    def __init__(self) -> None:
        self.most_in_use = 0
        self.by_process: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "CardWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        cards = NvmlCards()
        while not self._ended.wait(_LOOK_SECONDS):
            for reading in cards.read()[:1]:
                self.most_in_use = max(self.most_in_use, reading.used_mb)
                for process, used in reading.by_process.items():
                    self.by_process[process] = max(used, self.by_process.get(process, 0))


class Workers:
    """So many workers on the first card."""

    def __init__(self, count: int, trials: int) -> None:
        self._count, self._trials = count, trials
        self.watches: list[CardWatch] = []

    def trials_an_hour(self) -> float:
        """Run the quickstart study with them, start and end included, and return its trials an hour."""
        command = [sys.executable, "-m", "hpo", "run", "quickstart", "--workers", str(self._count), "--json"]
        command += ["--trials", str(self._trials), "--early-stop-patience", str(self._trials + 1)]
        with tempfile.TemporaryDirectory(prefix="g") as home, CardWatch() as watch:
            environment = {"CUDA_VISIBLE_DEVICES": "0", **os.environ, "HPO_HOME": home}
            began = time.perf_counter()
            found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            seconds = time.perf_counter() - began
        self.watches.append(watch)
        return 3600 * int(json.loads(found.stdout)["trials"]["complete"]) / seconds


def workers_a_card(*, quick: bool) -> Result:
    """Compare one, two and four workers on one card."""
    sides = {count: Workers(count, 18) for count in _WORKERS}
    figures = take_turns([Side(str(count), side.trials_an_hour) for count, side in sides.items()], 1 if quick else 5)
    rows = []
    for count, side in sides.items():
        each = [used for watch in side.watches for used in watch.by_process.values()]
        times, used = ratios(figures, str(count), "1"), max(watch.most_in_use for watch in side.watches)
        cells = [spread(figures[str(count)]), spread(times), f"{median(each):.0f}" if each else "unknown", str(used)]
        rows.append([str(count), *cells])
    notes = ["The whole command, `hpo run quickstart`, 18 trials.", f"MPS {'runs' if mps_runs() else 'does not run'}."]
    return Result("gpu", "Workers on one GPU", _COLUMNS, rows, [torch.cuda.get_device_name(0), *notes], quick)


def run(benchmark: Sequence[str], flags: Sequence[str]) -> bool:
    """Run another benchmark, which prints its table; return whether it could."""
    name, *options = benchmark
    print(f"\n{' '.join(benchmark)}", flush=True)
    command = [sys.executable, str(_HERE / f"{name}.py"), *options, *flags]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    """Measure everything; exit with 1 where a benchmark failed, with 2 without a card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        found = f"torch {torch.__version__} sees none"
        print(f"benchmarks/gpu.py needs a CUDA device, {found}: run it where there is one", file=sys.stderr)
        sys.exit(2)
    flags = ["--quick"] * given.quick
    # What these measure is saved under their own names, which on another machine are those of the CPU.
    done = [run((name,), flags) for name in _SHARED if (_HERE / f"{name}.py").exists()]
    show(workers_a_card(quick=given.quick), save=given.save)
    done += [run(benchmark, flags) for benchmark in _ON_CARD]
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
