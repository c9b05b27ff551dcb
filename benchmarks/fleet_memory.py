"""Memory of 1, 2, 4 and 8 workers while they train 750k trials: our fleet against as many plain scripts.

    .venv/bin/python benchmarks/fleet_memory.py [--quick] [--micro-batch 32] [--save]

What is added up is the proportional set size of all processes that a command has started, its own included: of a page
that n processes share each counts one n-th. The highest sum while they train is compared. For us that is the command,
the fork server, the workers and their trials; for the peers the scripts. Postgres is in neither; nor is it in the
processes that are looked at, for it runs already. --micro-batch is that of our trials, which changes no result; by
default it is what `hpo run` plans on a CPU.
"""

import argparse
import contextlib
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from peers.configurations import Configuration, all_configurations
from peers.ground import Ground
from side_by_side import Result, Side, ratios, show, spread, take_turns

from studies.memory import MOST_WINDOWS_ON_A_CPU

_STEPS: Final = 25
_LOOK_SECONDS: Final = 0.3
_MOST_FOR_ONE_MORE: Final = 150
# One thread each, and none that waits by spinning: eight trainings on two cores would hardly move.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def proportional_mb(processes: Iterable[psutil.Process]) -> float:
    """Return the proportional set size of processes in MB (10⁶ bytes); one that has ended has none."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total / 1e6


def tree_of(roots: Sequence["subprocess.Popen[str]"]) -> list[psutil.Process]:
    """Return the processes that were started, and all that they have started."""
    found = []
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(root.pid)
            found += [process, *process.children(recursive=True)]
    return found


@dataclass
class Measurement:
    """The trainings of both kinds, and how many processes there were at each peak."""

    ground: Ground
    micro_batch: int
    processes: dict[str, list[int]] = field(default_factory=dict)
    _count: int = 0

    def ours(self, name: str, workers: int) -> float:
        """Return the peak of a fleet with a trial a worker, in MB."""
        file = self.ground.our_study(self._study(), _configurations(workers), micro_batch=self.micro_batch)
        return self._peak(name, [self.ground.ours(file, workers)])

    def plain(self, name: str, scripts: int) -> float:
        """Return the peak of plain scripts with a trial each, in MB."""
        commands = []
        for configuration in _configurations(scripts):
            study = self._study()
            self.ground.their_study(study, [configuration])
            commands.append(self.ground.plain(study, 1))
        return self._peak(name, commands)

    def _study(self) -> str:
        self._count += 1
        return f"memory-{self._count}"

    def _peak(self, name: str, commands: Sequence[Sequence[str]]) -> float:
        started = [self.ground.start(command, _ONE_THREAD) for command in commands]
        peak, at_peak = 0.0, 0
        while any(process.poll() is None for process in started):
            processes = tree_of(started)
            if (now := proportional_mb(processes)) > peak:
                peak, at_peak = now, len(processes)
            time.sleep(_LOOK_SECONDS)
        for process in started:
            self.ground.finish(process)
        self.processes.setdefault(name, []).append(at_peak)
        return peak


def _configurations(count: int) -> list[Configuration]:
    """Return so many different configurations of 750k."""
    small = [each for each in all_configurations() if each["budget"] == "750k"]
    return [{**small[place % len(small)], "dropout": 0.1 + 0.05 * place} for place in range(count)]


def compare(measured: Measurement, sizes: Sequence[int], repeats: int, *, quick: bool) -> Result:
    """Let both kinds of each size take turns; return the table."""
    kinds = (("fleet", measured.ours), ("plain", measured.plain))
    names = {(kind, size): f"{kind} {size}" for size in sizes for kind, _ in kinds}
    sides = [Side(names[kind, size], partial(peak, names[kind, size], size)) for size in sizes for kind, peak in kinds]
    figures = take_turns(sides, repeats, lambda line: print(line, flush=True))
    rows, further = [], []
    for place, size in enumerate(sizes):
        ours, theirs = names["fleet", size], names["plain", size]
        cells = [str(size), spread(figures[ours]), spread(figures[theirs]), spread(ratios(figures, ours, theirs))]
        if place:
            before, added = sizes[place - 1], size - sizes[place - 1]
            for kind, _ in kinds:
                pairs = zip(figures[names[kind, size]], figures[names[kind, before]], strict=True)
                cells.append(spread([(now - then) / added for now, then in pairs]))
        else:
            cells += ["", ""]
        rows.append((*cells, str(int(median(measured.processes[ours])))))
    first, last = names["fleet", sizes[0]], names["fleet", sizes[-1]]
    further = [(b - a) / (sizes[-1] - sizes[0]) for a, b in zip(figures[first], figures[last], strict=True)]
    columns = ("workers", "fleet (MB)", "plain (MB)", "ratio", "one more", "one more plain", "our processes")
    return Result("fleet_memory", "Memory of a fleet", columns, rows, _notes(further, measured.micro_batch), quick)


def _notes(further: Sequence[float], micro_batch: int) -> list[str]:
    return [
        "Highest sum of proportional set sizes (Pss of /proc/PID/smaps_rollup, MB of 10⁶ bytes) over all processes of "
        f"a command, seen every {_LOOK_SECONDS} s while each worker trains a 750k trial ({_STEPS} steps of 32 windows, "
        f"ours {micro_batch} at once, then the validation part). Postgres is counted on neither side.",
        f"A further worker with its trial costs {spread(further)} MB, from the fewest to the most; at most "
        f"{_MOST_FOR_ONE_MORE} is the aim, and a third of the plain scripts with 8.",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--quick", "--save"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("--micro-batch", type=int, default=MOST_WINDOWS_ON_A_CPU)
    arguments = parser.parse_args()
    sizes, repeats = ((1, 2), 1) if arguments.quick else ((1, 2, 4, 8), 5)
    with Ground(_STEPS) as ground:
        result = compare(Measurement(ground, arguments.micro_batch), sizes, repeats, quick=arguments.quick)
    show(result, save=arguments.save)


if __name__ == "__main__":
    main()
