"""Trials an hour on this machine: our fleet against a plain script, one and two of it, and AutoiTransformer.

    .venv/bin/python benchmarks/trials_an_hour.py [--quick] [--turns 9] [--whole] [--steps] [--as-written]
        [--save]

All train the same 18 quickstart-sized configurations (750k and 2M, 60 steps of 32 windows of 80 rows) on the same
data with the same seed, and look once, at the end, at the same validation decisions. The peers are in
`benchmarks/peers/`, as one would write them. A turn trains two of the 18, of equal or similar shape; nine turns train
all of them, and five, in half an hour, ten of every shape. With --whole, which takes hours, each of five turns trains
all. With --steps, one worker of two threads takes part as well: that shows what two workers are worth. Two plain
scripts are told to use one thread each; as one would write them, each uses as many as there are cores, and they wait
for each other by spinning: with --as-written they take part too, which makes a turn three times as long.
"""

import argparse
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import pandas as pd
from peers.configurations import Configuration, all_configurations, in_pairs, key_of
from peers.ground import Ground
from scipy.special import expit
from side_by_side import Result, Side, ratios, show, spread, take_turns

from studies.baseline import validation_clusters
from studies.metrics import Scores, classification_scores

_STEPS: Final = 60
_ALL: Final = 18

OURS: Final = "ours, 2 workers"
ONE_WORKER: Final = "ours, 1 worker of 2 threads"
PLAIN: Final = "(i) plain script"
TWICE_ONE_THREAD: Final = "(ii) plain script, twice, 1 thread each"
TWICE: Final = "(ii) the same, as written"
AUTO: Final = "(iii) AutoiTransformer"
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Trained:
    """A trial as a side left it: when it ran, its AUC, and the interval where that is known."""

    params: Configuration
    auc: float
    start: datetime
    end: datetime
    low: float | None = None
    high: float | None = None

    @property
    def seconds(self) -> float:
        """From when it was given out until its score was written."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True)
class Turn:
    """What a side did in one turn: seconds of the whole command, and the trials that were asked for."""

    whole: float
    trials: Sequence[Trained]

    @property
    def working(self) -> float:
        """Seconds from the start of the first trial to the end of the last one that was asked for."""
        start, end = min(trial.start for trial in self.trials), max(trial.end for trial in self.trials)
        return (end - start).total_seconds()

    @property
    def trials_an_hour(self) -> float:
        """Without start-up and ending."""
        return 3600 * len(self.trials) / self.working


@dataclass
class Contest:
    """The sides over their turns."""

    ground: Ground
    choose: Callable[[int], list[Configuration]]
    turns: dict[str, list[Turn]] = field(default_factory=dict)

    def side(self, name: str, train: Callable[[str, list[Configuration]], Turn]) -> Side:
        """Return a side that trains what its turn is about, and is compared by trials an hour."""
        mine = self.turns.setdefault(name, [])

        def run() -> float:
            study = f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}-{len(mine)}"
            mine.append(train(study, self.choose(len(mine))))
            return mine[-1].trials_an_hour

        return Side(name, run)

    def ours(self, workers: int, study: str, configurations: list[Configuration]) -> Turn:
        """Train with our command."""
        file = self.ground.our_study(study, configurations)
        whole = self._time([self.ground.ours(file, workers)], {})
        return Turn(whole, self._trials(study, len(configurations), None))

    def plain(
        self, processes: int, variables: Mapping[str, str], study: str, configurations: list[Configuration]
    ) -> Turn:
        """Train with so many plain scripts."""
        self.ground.their_study(study, configurations)
        kept = self.ground.home / study
        kept.mkdir()
        command = self.ground.plain(study, len(configurations), kept)
        whole = self._time([command] * processes, variables)
        return Turn(whole, self._trials(study, len(configurations), kept))

    def auto(self, _study: str, configurations: list[Configuration]) -> Turn:
        """Train with AutoiTransformer."""
        began = time.monotonic()
        said = self.ground.finish(self.ground.start(self.ground.auto(configurations)))
        whole = time.monotonic() - began
        trials = [
            Trained(each["params"], each["auc"], *map(datetime.fromisoformat, (each["start"], each["end"])))
            for each in json.loads(said.splitlines()[-1])
        ]
        return Turn(whole, trials)

    def _time(self, commands: Sequence[Sequence[str]], variables: Mapping[str, str]) -> float:
        began = time.monotonic()
        started: list[subprocess.Popen[str]] = [self.ground.start(command, variables) for command in commands]
        for process in started:
            self.ground.finish(process)
        return time.monotonic() - began

    def _trials(self, study: str, asked: int, kept: Path | None) -> list[Trained]:
        """Return the trials that were asked for; two plain scripts run one more."""
        found = []
        for trial in self.ground.study(study).get_trials(deepcopy=False)[:asked]:
            if kept is None:
                low, high = trial.user_attrs["auc_low"], trial.user_attrs["auc_high"]
            else:
                scores = self._scores(pd.read_pickle(kept / f"{trial.number}.pickle"))
                low, high = scores.auc_low, scores.auc_high
            found.append(Trained(trial.params, trial.value, trial.datetime_start, trial.datetime_complete, low, high))
        return found

    def _scores(self, forecasts: pd.DataFrame) -> Scores:
        """Return what our metrics say of a peer's predictions: decision by decision, series by series."""
        ordered = forecasts.sort_values(["ds", "unique_id"])
        probabilities = expit(ordered["iTransformer-logits"].to_numpy(float))
        return classification_scores(ordered["y"], probabilities, validation_clusters(self.ground.panel))


def agreement(ours: Sequence[Turn], theirs: Sequence[Turn]) -> tuple[int, int, float]:
    """Return how many configurations agree, of how many, and the median difference of the AUCs.

    Two agree where the AUC of each lies in the interval of the other; a side that gives no interval is in ours.
    """
    mine = {key_of(trial.params): trial for turn in ours for trial in turn.trials}
    other = {key_of(trial.params): trial for turn in theirs for trial in turn.trials}
    pairs = [(mine[key], other[key]) for key in mine.keys() & other.keys()]
    agree = sum(_holds(a, b.auc) and _holds(b, a.auc) for a, b in pairs)
    return agree, len(pairs), median(abs(a.auc - b.auc) for a, b in pairs)


def _holds(trial: Trained, auc: float) -> bool:
    return trial.low is None or trial.high is None or trial.low <= auc <= trial.high


def compare(ground: Ground, arguments: argparse.Namespace) -> Result:
    """Let the sides take turns; return the table."""
    quick, whole, pairs = arguments.quick, arguments.whole, in_pairs()
    # Every shape early: fewer turns then are a sample of all.
    pairs = pairs[::2] + pairs[1::2]

    def choose(turn: int) -> list[Configuration]:
        return all_configurations() if whole else pairs[turn % len(pairs)]

    contest = Contest(ground, choose)
    sides = [
        contest.side(OURS, partial(contest.ours, 2)),
        contest.side(PLAIN, partial(contest.plain, 1, {})),
        contest.side(TWICE_ONE_THREAD, partial(contest.plain, 2, _ONE_THREAD)),
        contest.side(AUTO, contest.auto),
    ]
    if arguments.as_written:
        sides.append(contest.side(TWICE, partial(contest.plain, 2, {})))
    if arguments.steps:
        sides.append(contest.side(ONE_WORKER, partial(contest.ours, 1)))
    repeats = 1 if quick else 5 if whole else arguments.turns
    figures = take_turns(sides, repeats, lambda line: print(line, flush=True))
    return _result(contest.turns, figures, quick=quick, whole=whole)


_COLUMNS = (
    "side",
    "trials an hour",
    "ours / it",
    "all turns",
    "ours / it",
    "start-up, ending (s)",
    "a trial (s)",
    "AUC agrees",
    "median |AUC - ours|",
)


def rate_of_all(turns: Sequence[Turn]) -> float:
    """Return trials an hour over all turns, each weighted by the time that it took."""
    return 3600 * sum(len(turn.trials) for turn in turns) / sum(turn.working for turn in turns)


def _result(turns: Mapping[str, list[Turn]], figures: Mapping[str, list[float]], *, quick: bool, whole: bool) -> Result:
    rows = []
    for name, mine in turns.items():
        compared = name != OURS
        agree, of, apart = agreement(turns[OURS], mine)
        rows.append(
            (
                name,
                spread(figures[name]),
                spread(ratios(figures, OURS, name)) if compared else "1",
                f"{rate_of_all(mine):.3g}",
                f"{rate_of_all(turns[OURS]) / rate_of_all(mine):.3g}",
                spread([turn.whole - turn.working for turn in mine], 2),
                spread([median(trial.seconds for trial in turn.trials) for turn in mine], 2),
                f"{agree} of {of}" if compared else "",
                f"{apart:.4f}" if compared else "",
            )
        )
    return Result(
        "trials_an_hour", "Trials an hour", _COLUMNS, rows, _notes(len(turns[OURS]), quick=quick, whole=whole), quick
    )


def _notes(turns: int, *, quick: bool, whole: bool) -> list[str]:
    turn = "all 18 configurations" if whole else "2 of the 18" if quick else "2 of the 18; nine turns make all"
    return [
        f"A turn trains {turn}. {turns} were run. Trials an hour count from the start of the first trial to the end of "
        "the last one asked for; in all turns, as if they followed on each other. Start-up and ending: imports, for "
        "us also the fork server and the report in the dashboard at the end, for (ii) the trial too many that "
        "MaxTrialsCallback lets two processes run, for (iii) the training of the best once more.",
        "AUC agrees where each lies in the 95 % interval of the other; AutoiTransformer gives no predictions, so only "
        "whether it lies in ours. Weights begin equal; batches and dropout masks are drawn differently.",
        "Prepared beforehand, in nobody's time: Postgres, the list of configurations, for us the study, for the peers "
        "the 20 indicators as a CSV file. AutoiTransformer has no queue for given configurations: its n-th trial takes "
        "the n-th of the list.",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--quick", "--whole", "--steps", "--as-written", "--save"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    with Ground(_STEPS) as ground:
        result = compare(ground, arguments)
    show(result, save=arguments.save)


if __name__ == "__main__":
    main()
