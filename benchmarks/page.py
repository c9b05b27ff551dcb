"""Write BENCHMARKS.md from what the benchmarks have kept in `benchmarks/results/`.

.venv/bin/python benchmarks/page.py
"""

import json
from collections.abc import Sequence

from side_by_side import RESULTS, Result

# What a reader wants to know first.
_ORDER = ("trials_an_hour", "fleet_memory", "overhead", "control_plane", "utilisation", "pruning", "precision", "gpu")
_PAGE = RESULTS.parent.parent / "BENCHMARKS.md"
_HEAD = """# Benchmarks

How much better this is than what somebody would otherwise use, measured side by side. `make bench` measures all of it
anew and writes this page, `make bench-quick` takes minutes and writes nothing. Both sides of a row take turns in one
run, because a machine is never quiet; a cell is a median, and the least and the largest of the turns stand behind it.
Where the time of a trial goes, and what was tried and did not help: [docs/performance.md](docs/performance.md).
"""


def section(result: Result) -> str:
    """Return one benchmark as Markdown."""
    lines = [_line(result.columns), "|---" + "|---:" * (len(result.columns) - 1) + "|", *map(_line, result.rows)]
    where = f"`benchmarks/{result.name}.py`, commit {result.commit}, {result.date}. {result.machine}."
    quick = ["A quick run: these figures are only for a look."] if result.quick else []
    return "\n\n".join([f"## {result.title}", where, *quick, "\n".join(lines), *result.notes])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def main() -> None:
    """Write the page."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")}
    names = sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    sections = [section(Result(**found[name])) for name in names]
    _PAGE.write_text("\n\n".join([_HEAD.rstrip(), *sections]) + "\n", encoding="utf-8")
    print(f"{_PAGE}: {len(sections)} benchmarks")


if __name__ == "__main__":
    main()
