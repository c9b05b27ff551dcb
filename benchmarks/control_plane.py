"""Finished trials a second of an objective that does nothing, by how many workers share one study on one Postgres.

    python benchmarks/control_plane.py [--quick] [--workers 8 64] [--save]

Three sides: workers as they are, with a process for every trial; their claims alone, that is the same claims in as
many processes that call the objective themselves; and as many processes that call `study.optimize` with TPE and
`MaxTrialsCallback`, the cap that Optuna's documentation recommends. The clock runs from the word to begin, when all
are ready, to the end of the last trial. Beyond the cap: what was trained for nothing.
"""

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import optuna
from optuna.trial import TrialState
from side_by_side import Result, Side, ratios, show, spread, take_turns
from stores import Stores, stores, study_of

from hpo import broker
from hpo.control import Control
from hpo.fork_server import Exited, Fork, ForkServer, Raised, Said, fork
from hpo.phase1 import ensure_study
from hpo.records import StudyRecord, StudyState
from hpo.storage import Storage
from hpo.worker_options import WorkerOptions
from studies.declaration import Prepared, architecture_values

_PRELOAD = ("studies.objective", "hpo.preload", "script", "claims_alone")
# Five for each of 64 workers: with 100 it is their start that is measured.
_CAP = 320
_STORED = 100
_NOTES = (
    "Here a trial is nothing but its process: on two cores the first column is how many processes a second can be "
    "started and ended. A trial of a second or more hides all of it.",
    "Claims are given out one at a time, under a lock of the study: that is what keeps the cap exact.",
)


@dataclass
class Plane:
    """A fork server, a Postgres, and what went beyond the cap so far, by side."""

    made: Stores
    server: ForkServer
    beyond: dict[str, list[int]] = field(default_factory=dict)

    def workers(self, count: int) -> float:
        """Return how many trials a second these workers end."""
        url = self.made.new()
        with self.made.opened(url) as storage:
            options = WorkerOptions(url, self.server.address, ("s",), prepared=True)
            settings = replace(self.made.settings, storage=url)
            options = replace(options, broker=str(self.made.settings.home / "broker"))
            shared = _hear(broker.start(self.server.address, options.broker, options, settings, lambda _line: None))
            workers = [_hear(each) for each in self._forks(count, "hpo.worker:work_in_fork", options, settings)]
            control, before = Control(storage.engine), self._warm_up(storage, count)
            study = control.study("s")
            assert study is not None
            began = time.time()
            control.resume(replace(study, cap=before + _CAP), "on")
            _wait_until_ended(control)
            for each in (*workers, shared):
                each.fork.send("leave")
            # The broker serves those that leave, and is the last.
            for each in (*workers, shared):
                each.reader.join()
            return self._rate(storage, f"workers {count}", began, before)

    def _warm_up(self, storage: Storage, count: int) -> int:
        """Let every worker end a trial, and all together a hundred, and stop; return how many trials that took.

        A proposal takes longer the more trials are stored: 8 workers must not begin with fewer than 64 do.
        """
        control = Control(storage.engine)
        _make(storage, _STORED + 100 * count)
        while len(workers := [trial.worker for trial in control.trials("s")]) < _STORED or len({*workers}) < count:
            time.sleep(0.5)
        control.decide("s", StudyState.STOPPED, "everybody is here", {})
        while control.counts("s").running:
            time.sleep(0.1)
        return control.counts("s").complete

    def claims(self, count: int) -> float:
        """Return the same of their claims alone."""
        url = self.made.new()
        with self.made.opened(url) as storage:
            _make(storage, _CAP)
            forks = self._forks(count, "claims_alone:work", url, self.made.settings)
            began = _begin(forks)
            _wait_until_gone(forks)
            return self._rate(storage, f"claims {count}", began)

    def script(self, count: int) -> float:
        """Return the same of Optuna alone."""
        url = self.made.new()
        with self.made.opened(url) as storage:
            optuna.create_study(study_name="s", storage=storage.optuna, direction="maximize")
            address = storage.url.render_as_string(hide_password=False)
            forks = self._forks(count, "script:search", address, _CAP)
            began = _begin(forks)
            _wait_until_gone(forks)
            return self._rate(storage, f"script {count}", began)

    def _rate(self, storage: Storage, name: str, began: float, before: int = 0) -> float:
        trials = optuna.load_study(study_name="s", storage=storage.optuna).get_trials(deepcopy=False)
        complete = [each for each in trials if each.state is TrialState.COMPLETE]
        cap = before + _CAP
        self.beyond.setdefault(name, []).append(len(complete) - cap)
        ended = sorted(each.datetime_complete.timestamp() for each in complete if each.datetime_complete)
        # Those beyond the cap are no work that was asked for.
        return _CAP / (ended[cap - 1] - began)

    def _forks(self, count: int, target: str, *arguments: object) -> list[Fork]:
        forks = [fork(self.server.address, target, *arguments) for _ in range(count)]
        for each in forks:
            while not isinstance(message := each.receive(), Said):
                assert not isinstance(message, Exited | Raised), message
        return forks


def _make(storage: Storage, cap: int) -> None:
    spec = study_of("no_training:at_once", cap)
    ensure_study(storage, spec, Prepared(architecture_values(spec)))


def _begin(forks: Sequence[Fork]) -> float:
    began = time.time()
    for each in forks:
        each.send("begin")
    return began


def _wait_until_ended(control: Control) -> StudyRecord:
    while (study := control.study("s")) is None or study.state is StudyState.RUNNING:
        time.sleep(0.1)
    return study


@dataclass(frozen=True)
class _Heard:
    """A fork whose words are read as they come: one that nobody hears waits when its socket is full."""

    fork: Fork
    reader: threading.Thread


def _hear(fork: Fork) -> _Heard:
    reader = threading.Thread(target=_wait_until_gone, args=([fork],), daemon=True)
    reader.start()
    return _Heard(fork, reader)


def _wait_until_gone(forks: Sequence[Fork]) -> None:
    for each in forks:
        while not isinstance(each.receive(), Exited):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 and 64 workers alone, two turns")
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 2, 4, 8, 16, 32, 64), help="8 and 64 among them")
    parser.add_argument("--save", action="store_true", help="keep the result for BENCHMARKS.md")
    given = parser.parse_args()
    counts, turns = ((8, 64), 2) if given.quick else (given.workers, 5)
    with stores() as made, ForkServer(_PRELOAD) as server:
        server.wait_until_ready()
        plane = Plane(made, server)
        kinds: list[tuple[str, Callable[[int], float], Sequence[int]]] = [
            ("workers", plane.workers, counts),
            ("claims", plane.claims, [count for count in counts if count in {1, 8, 64}]),
            ("script", plane.script, counts),
        ]
        sides = [
            Side(f"{name} {count}", lambda run=run, count=count: run(count)) for name, run, of in kinds for count in of
        ]
        rates = take_turns(sides, turns, said=lambda line: print(line, flush=True))
    show(_result(counts, rates, plane, quick=given.quick), save=given.save)


def _result(counts: Sequence[int], rates: dict[str, list[float]], plane: Plane, *, quick: bool) -> Result:
    rows = [
        (
            f"{count}",
            *(spread(rates[name]) if name in rates else "" for name in (f"workers {count}", f"claims {count}")),
            spread(rates[f"script {count}"]),
            spread(ratios(rates, f"workers {count}", f"script {count}")),
            *(spread(plane.beyond[f"{name} {count}"]) for name in ("workers", "script")),
        )
        for count in counts
    ]
    kept = f"64 workers end {median(ratios(rates, 'workers 64', 'workers 8')):.2f} times what 8 do"
    kept += f", their claims alone {median(ratios(rates, 'claims 64', 'claims 8')):.2f} times."
    columns = ("workers", "trials/s", "claims alone", "study.optimize", "ratio", "beyond the cap", "study.optimize")
    title = f"The control plane: {_CAP} trials that do nothing, by workers"
    return Result("control_plane", title, columns, rows, (kept, *_NOTES), quick)


if __name__ == "__main__":
    main()
