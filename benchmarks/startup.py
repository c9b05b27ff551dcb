"""How soon the command line answers, against an interpreter that imports torch.

    .venv/bin/python benchmarks/startup.py

Both sides alternate in one run, so that a busy machine slows both.
"""

import statistics
import subprocess
import sys
import time

_REPEATS = 7
_SIDES = {
    "hpo --help": [sys.executable, "-m", "hpo", "--help"],
    "hpo schema": [sys.executable, "-m", "hpo", "schema"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import neuralforecast": [sys.executable, "-c", "import neuralforecast"],
}


def main() -> None:
    """Print the median, the spread and the ratio to `hpo --help`."""
    seconds: dict[str, list[float]] = {name: [] for name in _SIDES}
    for _ in range(_REPEATS):
        for name, command in _SIDES.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["hpo --help"])
    print(f"{'command':24}{'median s':>10}{'min':>8}{'max':>8}{'ratio':>8}")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:24}{median:10.2f}{min(taken):8.2f}{max(taken):8.2f}{median / base:8.1f}")


if __name__ == "__main__":
    main()
