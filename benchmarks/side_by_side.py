"""Several ways to do the same thing, measured in turns in one run, and what came out of it.

A benchmark makes `Side`s, lets them take turns, prints the `Result` and, with `--save`, keeps it in
`benchmarks/results/`, from where `benchmarks/page.py` writes BENCHMARKS.md. The machine is shared and noisy: a busy
minute then meets all sides, and only ratios of one run are quoted.
"""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Side:
    """One way to do it: `run` does it once, and returns the figure that is compared."""

    name: str
    run: Callable[[], float]


def machine() -> str:
    """Return what it ran on: processor, cores that may be used, memory, Python and torch."""
    from importlib.metadata import version

    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return (
        f"{processor}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}, "
        f"torch {version('torch').partition('+')[0]}"
    )


def commit() -> str:
    """Return the commit that was measured, with a + where files other than what benchmarks keep had been changed."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout.strip()

    # Of `make bench` every benchmark but the first would otherwise find what the one before it has kept.
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!BENCHMARKS.md", ":!benchmarks/results")
    return git("describe", "--always") + "+" * bool(changed) or "unknown"


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Attributes:
        name: of the file in `benchmarks/`, without its ending.
        title: what was measured, as a heading.
        columns: of the table.
        rows: cells as they are shown.
        notes: what a reader must know to judge the table, and what follows from it; a sentence each.
        quick: whether it was the short form, whose figures are only for a look.
        machine, commit, date: where and when, filled in.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    quick: bool = False
    machine: str = field(default_factory=machine)
    commit: str = field(default_factory=commit)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())


def take_turns(
    sides: Sequence[Side], repeats: int, said: Callable[[str], None] = lambda _line: None
) -> dict[str, list[float]]:
    """Run every side so many times and return their figures; every other turn goes backwards.

    Forwards and backwards, so that no side is always the one that comes after the hungriest.
    """
    figures: dict[str, list[float]] = {side.name: [] for side in sides}
    for turn in range(repeats):
        for side in sides if turn % 2 == 0 else reversed(sides):
            figures[side.name].append(side.run())
            said(f"turn {turn + 1} of {repeats}: {side.name}: {figures[side.name][-1]:.4g}")
    return figures


def ratios(figures: Mapping[str, Sequence[float]], of: str, to: str) -> list[float]:
    """Return the ratio of two sides turn by turn, so that a slow minute is in both its parts."""
    return [a / b for a, b in zip(figures[of], figures[to], strict=True)]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the median, and the least and the largest in brackets."""
    least, middle, largest = (_figure(value, digits) for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least} to {largest})"


def _figure(value: float, digits: int) -> str:
    """Return so many digits, and never a power of ten."""
    return f"{value:,.0f}" if value >= 10**digits else f"{value:#.{digits}g}".rstrip(".")


def show(result: Result, *, save: bool) -> None:
    """Print a result as a table of text; keep it where it is to be saved."""
    print(f"\n{result.title}\n{result.machine}, commit {result.commit}, {result.date}\n")
    rows = [list(result.columns), *map(list, result.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(result.columns))]
    for row in rows:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())
    for note in result.notes:
        print(f"\n{note}")
    if save:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(asdict(result), indent=1, ensure_ascii=False)
        (RESULTS / f"{result.name}.json").write_text(f"{text}\n", encoding="utf-8")
