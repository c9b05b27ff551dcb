"""The benchmark of pruning replays searches with the real strategy and the real rule."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPLAY = """
from curve_sets import curve_sets
from pruning import rules
from replayed_search import World, never

curves = curve_sets()[0]
world = World(curves, (), curves.curves)
for rule in (never, rules(curves)["the service's rule"]):
    found = world.search(rule, 1, cap=12)
    print(found.trials)
"""


def test_a_replayed_search_ends_as_many_trials_as_it_may() -> None:
    found = subprocess.run(
        [sys.executable, "-c", REPLAY], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == ["12", "12"], found.stderr
