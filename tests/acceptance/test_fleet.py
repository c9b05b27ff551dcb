"""Workers that are killed, stopped, idle and old: over the socket and over TCP with a password."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import optuna
import psutil
import pytest
from command import Command
from objectives import score_of
from optuna.trial import TrialState as OptunaState
from servers import PASSWORD, TcpPostgres, eventually
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from hpo.control import Control
from hpo.presence import is_dead
from hpo.records import StudyState, TrialState, WorkerRecord
from hpo.settings import load_settings
from hpo.storage import Storage, open_storage

T = TypeVar("T")
SPEC = """
name: {name}
objective: objectives:score
budgets: [750k, 2M, 20M, 200M]
trials: {trials}
forced_extremes: {forced}
early_stop: {{patience: 1000}}
max_attempts: 60
"""
QUICK = {"HPO_BEAT_SECONDS": "0.5", "HPO_LOST_AFTER_SECONDS": "4", "HPO_POLL_SECONDS": "1"}


@contextmanager
def started(hpo: Command, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = hpo.start(*arguments, **variables)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def opened(hpo: Command) -> Iterator[Storage]:
    with open_storage(load_settings({"HPO_HOME": str(hpo.home)}), hpo.storage) as storage:
        yield storage


def make(hpo: Command, name: str, trials: int, forced: str = "true") -> None:
    path = hpo.write(f"{name}.yaml", SPEC.format(name=name, trials=trials, forced=forced))
    hpo.json("run", path, "--workers", "0")


class Database:
    """The server behind a command's storage, stopped and started as an administrator does."""

    def __init__(self, hpo: Command, tcp: TcpPostgres | None) -> None:
        self._hpo, self._tcp = hpo, tcp

    def bounce(self, seconds: float) -> None:
        if self._tcp is not None:
            self._tcp.stop()
            time.sleep(seconds)
            self._tcp.start()
            return
        # The embedded one is started again by whoever misses it first.
        pid = int((self._hpo.home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGINT)


@pytest.fixture(params=["socket", "tcp"])
def shared(request: pytest.FixtureRequest, hpo: Command) -> tuple[Command, Database]:
    """The command on either kind of server."""
    if request.param == "socket":
        return hpo, Database(hpo, None)
    tcp: TcpPostgres = request.getfixturevalue("tcp_postgres")
    return Command(hpo.home, hpo.directory, tcp.url_of(tcp.new_database())), Database(hpo, tcp)


def living_workers(storage: Storage) -> list[WorkerRecord]:
    return [worker for worker in Control(storage.engine).workers() if not is_dead(worker, math.inf)]


def looked(look: Callable[[], T]) -> T:
    """Look into the database; wait where it is away."""
    for _ in range(100):
        with suppress(OperationalError):
            return look()
        time.sleep(0.2)
    return look()


def storm(database: Database, control: Control, fleet: subprocess.Popen[str]) -> dict[int, float]:
    """Kill a busy worker every two seconds and bounce the database twice; return trials and when they died."""
    dice, killed, bounces, began = random.Random(7), {}, 0, time.monotonic()
    while (study := looked(lambda: control.study("storm"))) and study.state is StudyState.RUNNING:
        assert time.monotonic() - began < 300, looked(lambda: control.counts("storm"))
        assert fleet.poll() is None, fleet.communicate()
        if bounces < 2 and looked(lambda: control.counts("storm")).complete >= 15 * (bounces + 1):
            database.bounce(3.0)
            bounces += 1
        busy = [worker for worker in looked(control.workers) if worker.trial and not is_dead(worker, math.inf)]
        if busy and len(killed) < 12:
            victim = dice.choice(busy)
            os.kill(victim.pid, signal.SIGKILL)
            assert victim.trial is not None
            killed[victim.trial[1]] = time.time()
        time.sleep(2.0)
    assert bounces == 2
    return killed


def test_a_storm_neither_loses_nor_doubles_a_trial(shared: tuple[Command, Database]) -> None:
    hpo, database = shared
    make(hpo, "storm", 60)
    began = time.monotonic()
    with (
        opened(hpo) as storage,
        started(hpo, "fleet", "up", "--workers", "4", "--study", "storm", TRIAL_SECONDS="1", **QUICK) as fleet,
    ):
        killed = storm(database, Control(storage.engine), fleet)
        fleet.send_signal(signal.SIGTERM)
        _, err = fleet.communicate(timeout=30)
    assert fleet.returncode == 0, err
    assert PASSWORD not in err
    with opened(hpo) as storage:
        trials = optuna.load_study(study_name="storm", storage=storage.optuna).trials
        query = """SELECT l.number, EXTRACT(EPOCH FROM n.started_at)::float FROM hpo.trial l
                   JOIN hpo.trial n ON n.study = l.study AND n.slot = l.slot AND n.turn = l.turn + 1
                   WHERE l.study = 'storm' AND l.cause = 'lost'"""
        with storage.engine.connect() as connection:
            again = dict(connection.execute(text(query)).all())
        states = Counter(record.state.value for record in Control(storage.engine).trials("storm"))
    complete = [trial for trial in trials if trial.state is OptunaState.COMPLETE]
    designs = Counter(trial.user_attrs.get("design_id") for trial in complete)
    delays = [again[number] - moment for number, moment in killed.items() if number in again]
    causes = Counter(trial.user_attrs["cause"] for trial in trials if trial.state is OptunaState.FAIL)
    print(
        f"{len(killed)} workers killed, server stopped and started twice, {time.monotonic() - began:.0f} s: "
        f"{len(complete)} complete, ended otherwise {dict(causes)}, "
        f"from a death to the trial running again at most {max(delays):.1f} s"
    )
    assert len(killed) >= 6
    assert states.keys() == {"complete", "replaced"}
    # A worker may die between asking Optuna and taking a slot: that trial is known to Optuna alone.
    assert (states["complete"], states["replaced"] <= sum(causes.values())) == (60, True)
    assert designs == {**dict.fromkeys(range(1, 19), 1), None: 42}
    assert {trial.state for trial in trials} == {OptunaState.COMPLETE, OptunaState.FAIL}
    assert all(trial.value == pytest.approx(score_of(trial.params)) for trial in complete)
    assert max(delays) < 120
    assert_linked(trials)


def assert_linked(trials: list[optuna.trial.FrozenTrial]) -> None:
    """A trial that ran again names its successor, and that one its predecessor."""
    for trial in trials:
        if "retried_as" in trial.user_attrs:
            assert trials[trial.user_attrs["retried_as"]].user_attrs["retry_of"] == trial.number


def status_of(hpo: Command, study: str) -> Any:
    """Return the status; wait while the server is down."""
    for _ in range(50):
        ended = hpo.run("status", study, "--json")
        if ended.code == 0:
            return json.loads(ended.out)
        assert "Traceback" not in ended.err, ended.err
        time.sleep(0.5)
    raise AssertionError(ended.err)


def test_a_worker_that_was_thought_dead_cannot_finish_a_trial_that_another_has_taken(
    shared: tuple[Command, Database],
) -> None:
    hpo, _ = shared
    make(hpo, "asleep", 1, forced="false")
    with opened(hpo) as storage:
        control = Control(storage.engine)
        with started(hpo, "worker", "--study", "asleep", TRIAL_SECONDS="100", **QUICK) as sleeper:
            assert eventually(lambda: control.counts("asleep").running == 1, 60)
            (worker,) = control.workers()
            # Not while it still holds the study's lock, for which everybody would wait.
            time.sleep(3)
            os.kill(worker.pid, signal.SIGSTOP)
            try:
                other = hpo.start("worker", "--study", "asleep", "--idle-exit", "8", **QUICK)
                _, err = other.communicate(timeout=240)
            finally:
                os.kill(worker.pid, signal.SIGCONT)
            assert other.returncode == 0, err
            assert eventually(lambda: "taken over" in next_line_of(sleeper), 60)
            sleeper.send_signal(signal.SIGTERM)
            sleeper.communicate(timeout=30)
        trials = control.trials("asleep")
        states = [trial.state for trial in optuna.load_study(study_name="asleep", storage=storage.optuna).trials]
    lost, again = trials
    assert (lost.state, lost.score, lost.worker) == (TrialState.REPLACED, None, worker.id)
    assert (again.state, again.score) == (TrialState.COMPLETE, pytest.approx(score_of(again.params)))
    assert again.worker not in {None, worker.id}
    assert states == [OptunaState.FAIL, OptunaState.COMPLETE]


def next_line_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


DIE_BEFORE_THE_FIRST_BEAT = """
import os, signal, sys
from hpo import launch_workers
from hpo.control import Control
from hpo.settings import load_settings
Control.start_trial = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
launch_workers.work(load_settings(), None, studies=(), idle_exit=None, max_trials=None)
"""


def test_a_worker_killed_between_asking_and_its_first_beat_leaves_no_immortal_trial(hpo: Command) -> None:
    make(hpo, "early", 18)
    for _ in range(2):
        died = subprocess.run(
            [sys.executable, "-c", DIE_BEFORE_THE_FIRST_BEAT],
            cwd=hpo.directory,
            env=hpo.environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert died.returncode == -signal.SIGKILL, died.stderr
    hpo.json("worker", "--study", "early", "--idle-exit", "1")
    found = hpo.json("status", "early")
    assert (found["trials"]["complete"], found["trials"]["running"], found["state"]) == (18, 0, "finished")


def statements_in(server: TcpPostgres, seconds: float) -> int:
    before = server.log_size()
    time.sleep(seconds)
    return len(re.findall(r"LOG:  (?:statement|execute)", server.log_since(before)))


def test_sixteen_idle_workers_cost_under_five_queries_a_second_and_wake_at_once(
    hpo: Command, tcp_postgres: TcpPostgres
) -> None:
    database = tcp_postgres.new_database()
    idle = Command(hpo.home, hpo.directory, tcp_postgres.url_of(database))
    make(idle, "first", 18)
    tcp_postgres.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    defaults = {"HPO_POLL_SECONDS": "", "HPO_BEAT_SECONDS": "", "HPO_LOST_AFTER_SECONDS": ""}
    with started(idle, "fleet", "up", "--workers", "16", **defaults) as fleet:
        assert eventually(lambda: status_of(idle, "first")["state"] == "finished", 120)
        with opened(idle) as storage:
            assert eventually(lambda: len(living_workers(storage)) == 16, 60)
        # Sixteen workers begin at once: on two busy cores that takes a while.
        assert eventually(lambda: statements_in(tcp_postgres, 5.0) < 50, 240)
        seconds = 30.0
        statements = statements_in(tcp_postgres, seconds)
        print(f"16 idle workers: {statements / seconds:.1f} statements a second, BEGIN and ROLLBACK included")
        assert 0 < statements < 5 * seconds
        # Their next look is up to 30 s away: they were told.
        make(idle, "second", 18)
        began = time.monotonic()
        assert eventually(lambda: status_of(idle, "second")["trials"]["complete"] > 0, 15)
        print(f"the first trial of a new study is complete {time.monotonic() - began:.1f} s after it was made")
        fleet.send_signal(signal.SIGTERM)
        _, err = fleet.communicate(timeout=60)
    assert fleet.returncode == 0, err
    tcp_postgres.execute(f"ALTER DATABASE {database} RESET log_statement")


def test_a_worker_takes_no_more_memory_after_30_trials_than_after_3(hpo: Command) -> None:
    # Memory is counted at every sixth beat, with two trials between: 60 were over before the thirtieth count.
    make(hpo, "long", 200)
    arguments = ("fleet", "up", "--workers", "1", "--study", "long")
    resident: dict[int, float] = {}
    own: list[float] = []
    with (
        opened(hpo) as storage,
        started(hpo, *arguments, TRIAL_SECONDS="0.5", HPO_BEAT_SECONDS="0.2", HPO_LOST_AFTER_SECONDS="30") as fleet,
    ):
        control, ends_at = Control(storage.engine), time.monotonic() + 120
        while len(own) < 30:
            assert fleet.poll() is None
            assert time.monotonic() < ends_at
            time.sleep(0.1)
            for worker in control.workers():
                own = list(worker.vitals.get("memory_after") or ())
                resident[len(own)] = psutil.Process(worker.pid).memory_info().rss / 2**20
        fleet.send_signal(signal.SIGTERM)
        fleet.communicate(timeout=30)
    # Beats may come less often than trials on a busy machine.
    early, after = min(trials for trials in resident if trials >= 3), len(own)
    print(
        f"memory of a worker after {early} and {after} trials: resident {resident[early]:.1f} and "
        f"{resident[after]:.1f} MiB; "
        f"its own after 3 and 30: {own[2]:.1f} and {own[29]:.1f} MiB"
    )
    assert early < 10
    assert resident[after] <= 1.05 * resident[early]
    # Its own grows a little as pages that it shared are written to for the first time.
    assert own[29] <= 1.1 * own[2]


def test_a_fleet_keeps_logs_drains_and_gives_up_what_keeps_dying(hpo: Command) -> None:
    make(hpo, "logged", 18)
    with started(hpo, "fleet", "up", "--workers", "2", "--json-log", **QUICK) as fleet:
        assert eventually(lambda: status_of(hpo, "logged")["state"] == "finished", 60)
        assert hpo.json("fleet", "drain", "1") == {"asked": 1}
        assert hpo.json("fleet", "drain", "5") == {"asked": 1}
        _, err = fleet.communicate(timeout=30)
    assert fleet.returncode == 0, err
    logs = {path.name: path.read_text().splitlines() for path in (hpo.home / "logs").iterdir()}
    assert sorted(logs) == ["fleet.log", "worker-1.log", "worker-2.log"]
    lines = [json.loads(line) for line in logs["fleet.log"]]
    assert {line["worker"] for line in lines} == {"worker-1", "worker-2"}
    assert sum("begins" in line["message"] for line in lines) == 18
    assert len(lines) == len(logs["worker-1.log"]) + len(logs["worker-2.log"])


def test_a_worker_that_keeps_dying_is_given_up_with_an_alert(hpo: Command) -> None:
    make(hpo, "doomed", 18)
    with started(hpo, "fleet", "up", "--workers", "1", TRIAL_SECONDS="600", **QUICK) as fleet:
        killed: set[int] = set()
        while fleet.poll() is None:
            for worker in status_of(hpo, "doomed")["workers"]:
                if worker["pid"] not in killed:
                    killed.add(worker["pid"])
                    os.kill(worker["pid"], signal.SIGKILL)
            assert len(killed) <= 6
        _, err = fleet.communicate()
    assert fleet.returncode == 1
    assert len(killed) == 6
    assert "worker-1 died 6 times within 10 minutes (killed by signal 9)" in err
    assert any("worker-1 died 6 times" in alert for alert in hpo.json("status", "doomed")["alerts"])


def test_workers_that_die_while_the_database_is_away_are_not_given_up(hpo: Command, tcp_postgres: TcpPostgres) -> None:
    away = Command(hpo.home, hpo.directory, tcp_postgres.url_of(tcp_postgres.new_database()))
    make(away, "outage", 20)
    with (
        opened(away) as storage,
        started(away, "fleet", "up", "--workers", "2", TRIAL_SECONDS="0.5", **QUICK) as fleet,
    ):
        control = Control(storage.engine)
        assert eventually(lambda: control.counts("outage").complete >= 2, 60)
        workers = control.workers()
        tcp_postgres.stop()
        try:
            for worker in workers:
                os.kill(worker.pid, signal.SIGKILL)
            # Six deaths would have been counted after 16 s.
            time.sleep(20)
            assert fleet.poll() is None
        finally:
            tcp_postgres.start()
        assert eventually(lambda: looked(lambda: control.counts("outage")).complete == 20, 90)
        assert (len(living_workers(storage)), control.recent_alerts()) == (2, [])
        # The dead are not asked to leave.
        assert away.json("fleet", "drain", "2") == {"asked": 2}
        _, err = fleet.communicate(timeout=30)
    assert fleet.returncode == 0, err


def test_a_worker_goes_on_when_its_fork_server_is_killed(hpo: Command) -> None:
    make(hpo, "orphan", 18)
    arguments = ("worker", "--study", "orphan", "--max-trials", "10", "--json")
    with opened(hpo) as storage, started(hpo, *arguments, TRIAL_SECONDS="0.5", **QUICK) as worker:
        control = Control(storage.engine)
        assert eventually(lambda: control.counts("orphan").complete >= 3, 60)
        (server,) = psutil.Process(worker.pid).children()
        server.kill()
        out, err = worker.communicate(timeout=60)
        counts = control.counts("orphan")
    assert worker.returncode == 0, err
    assert json.loads(out) == {"trials": 10}
    assert (counts.complete, counts.running, counts.failed) == (10, 0, 0)


def test_a_study_deleted_in_the_dashboard_stops_nobody_and_can_be_stopped(hpo: Command) -> None:
    make(hpo, "deleted", 18)
    make(hpo, "kept", 18)
    with opened(hpo) as storage:
        optuna.delete_study(study_name="deleted", storage=storage.optuna)
    assert hpo.json("worker", "--idle-exit", "1") == {"trials": 18}
    assert hpo.json("reap") == {"reaped": 0}
    assert hpo.json("status", "kept")["state"] == "finished"
    (alert,) = [alert for alert in hpo.json("status", "deleted")["alerts"] if "`hpo stop deleted`" in alert]
    assert "deleted or renamed" in alert
    assert hpo.json("stop", "deleted")["state"] == "stopped"


def test_a_fleet_goes_on_when_its_fork_server_is_killed(hpo: Command) -> None:
    make(hpo, "orphans", 30)
    with started(hpo, "fleet", "up", "--workers", "2", TRIAL_SECONDS="0.5", **QUICK) as fleet:
        assert eventually(lambda: status_of(hpo, "orphans")["trials"]["complete"] >= 4, 60)
        (server,) = psutil.Process(fleet.pid).children()
        server.kill()
        assert eventually(lambda: status_of(hpo, "orphans")["state"] == "finished", 90)
        fleet.send_signal(signal.SIGTERM)
        fleet.communicate(timeout=30)
    found = hpo.json("status", "orphans")["trials"]
    assert (found["complete"], found["failed"], found["running"]) == (30, 0, 0)


def test_a_study_that_cannot_be_worked_on_here_is_left_to_others_with_an_alert(hpo: Command) -> None:
    make(hpo, "elsewhere", 18)
    make(hpo, "here", 18)
    with opened(hpo) as storage, storage.engine.begin() as connection:
        statement = """UPDATE hpo.study SET spec = jsonb_set(spec, '{objective}', '"not_here:score"')
                       WHERE name = 'elsewhere'"""
        connection.execute(text(statement))
    assert hpo.json("worker", "--idle-exit", "1") == {"trials": 18}
    found = hpo.json("status", "elsewhere")
    assert (found["trials"]["waiting"], found["trials"]["replaced"]) == (18, 0)
    assert any("elsewhere can't be worked on here" in alert and "not_here" in alert for alert in found["alerts"])


def test_workers_are_fair_between_studies(hpo: Command) -> None:
    make(hpo, "one", 18)
    make(hpo, "two", 18)
    assert hpo.json("worker", "--max-trials", "10") == {"trials": 10}
    complete = [each["trials"]["complete"] for each in hpo.json("status")["studies"]]
    assert complete == [5, 5]
