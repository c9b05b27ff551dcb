"""The time between the end of a trial and the first line of the next, by how many trials are stored.

    python benchmarks/overhead.py [--quick] [--save]

One worker as `hpo run` has it, with a broker, and the fork server of the built-in training, against a script
that calls `study.optimize` with Optuna's TPE on an equal store, both on the embedded Postgres. The objective of both
notes the time in its first and in its last line and waits a second in between: in a process of its own here, in the
script's own there. All that lies between two trials is in the figure: write down the end, decide whether the search
goes on, propose, take a slot, fork. From the first line of the built-in training to the first step of a 750k model its
data is opened and its network and loop are built; that is measured in forks of the same server, in the same turns.
"""

import argparse
from itertools import pairwise
from statistics import median

import optuna
from script import Script
from set_up import SetUp
from side_by_side import Result, Side, ratios, show, spread, take_turns
from stores import Stores, stores, study_of

from hpo.control import Control
from hpo.fleet import Fleet
from hpo.fork_server import ForkServer
from hpo.launch_workers import LOOK_SECONDS
from hpo.worker_options import WorkerOptions

_PRELOAD = ("studies.preload", "hpo.preload", "set_up")
_TRIALS = 6
_NOTES = (
    "The worker starts a process for every trial and the script none: a crash or an out-of-memory kill ends one trial "
    "of the worker, and the whole script. The script has no cap, no convergence rule and no second attempts.",
    "Up to the first step: with opening the data, and building the network and Lightning's loop, of a 750k model. The "
    "script's objective would do so as well; that is not in its figure. What a worker tells Optuna and the dashboard "
    "when the next trial runs already is in none.",
)


class Service:
    """Studies with so many trials stored, searched by a worker of this service."""

    def __init__(self, made: Stores, server: ForkServer, full: str, objective: str) -> None:
        self._made, self._server, self._full, self._objective = made, server, full, f"no_training:{objective}"

    def gap(self) -> float:
        """Return the median milliseconds between two trials."""
        return 1000 * median(self._gaps()[0])

    def lost(self) -> float:
        """Return the share of the worker's time, from its first trial to its last, in which no objective ran."""
        gaps, seconds = self._gaps()
        return sum(gaps) / seconds

    def _gaps(self) -> tuple[list[float], float]:
        url = self._made.copy(self._full, self._objective)
        options = WorkerOptions(url, self._server.address, ("s",), prepared=True, max_trials=_TRIALS)
        fleet = Fleet(self._server, options, self._made.settings, 1)
        while fleet.busy:
            fleet.watch(LOOK_SECONDS)
        with self._made.opened(url) as storage:
            latest = Control(storage.engine).trials("s")[-_TRIALS:]
        moments = [(each.attributes["first_line"], each.attributes["last_line"]) for each in latest]
        return _between(moments), moments[-1][0] - moments[0][0]


class Alone:
    """An equal study, searched by a script."""

    def __init__(self, made: Stores, full: str) -> None:
        self._made, self._full = made, full

    def gap(self) -> float:
        """Return the median milliseconds between two trials."""
        script = Script(1.0)
        with self._made.opened(self._made.copy(self._full, "no_training:one_second")) as storage:
            optuna.load_study(study_name="s", storage=storage.optuna).optimize(script, n_trials=_TRIALS)
        return 1000 * median(_between(script.moments))


def _between(moments: list[tuple[float, float]]) -> list[float]:
    return [after[0] - before[1] for before, after in pairwise(moments)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer stored trials, fewer turns")
    parser.add_argument("--save", action="store_true", help="keep the result for BENCHMARKS.md")
    given = parser.parse_args()
    sizes, turns = ((100, 1000), 3) if given.quick else ((100, 1000, 10_000), 5)
    with stores() as made, ForkServer(_PRELOAD) as server:
        server.wait_until_ready()
        set_up = SetUp(server, made.settings.home)
        sides = [Side("set-up", set_up.milliseconds)]
        full = {stored: made.filled(study_of("no_training:one_second", stored + 100_000), stored) for stored in sizes}
        for stored, url in full.items():
            sides.append(Side(f"worker, {stored:,}", Service(made, server, url, "one_second").gap))
            sides.append(Side(f"script, {stored:,}", Alone(made, url).gap))
        gaps = take_turns(sides, turns, said=lambda line: print(line, flush=True))
        long = sizes[:0] if given.quick else sizes[1:]
        lost = {stored: Service(made, server, full[stored], "twenty_seconds").lost() for stored in long}
    rows = [
        (
            f"{stored:,}",
            spread(gaps[f"worker, {stored:,}"]),
            spread([sum(both) for both in zip(gaps[f"worker, {stored:,}"], gaps["set-up"], strict=True)]),
            spread(gaps[f"script, {stored:,}"]),
            spread(ratios(gaps, f"worker, {stored:,}", f"script, {stored:,}")),
            f"{lost[stored]:.2%}" if stored in lost else "",
        )
        for stored in sizes
    ]
    title = "Overhead: from the end of a trial to the first line of the next"
    columns = ("stored", "a worker, ms", "to the first step", "study.optimize, ms", "ratio", "lost of trials of 20 s")
    show(Result("overhead", title, columns, rows, _NOTES, given.quick), save=given.save)


if __name__ == "__main__":
    main()
