"""The broker of a fleet, and a worker's line to it: a real process on a real Postgres."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState as OptunaState
from servers import eventually
from sqlalchemy import text

from hpo import broker, control_schema
from hpo.advisory_lock import LockGivenUpError, advisory_lock
from hpo.broker_client import BrokerClient
from hpo.claims import Claim
from hpo.control import Control
from hpo.fork_server import Exited, Fork, ForkServer
from hpo.phase1 import ensure_study
from hpo.presence import this_worker
from hpo.records import Cause, Outcome, TrialState
from hpo.settings import Settings
from hpo.stopping import StopSignals
from hpo.storage import Storage, open_storage
from hpo.trial_source import AskAgainError
from hpo.worker_options import WorkerOptions
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec

CAP = 16


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(("hpo.preload",)) as started:
        started.wait_until_ready()
        yield started


@pytest.fixture
def storage(home: Path) -> Iterator[Storage]:
    with open_storage(Settings(home=home)) as opened:
        control_schema.migrate(opened.engine)
        given = {"name": "s", "objective": "objectives:score", "budgets": ["750k"], "trials": CAP}
        spec = Spec.model_validate({**given, "forced_extremes": False})
        ensure_study(opened, spec, Prepared(architecture_values(spec)))
        yield opened


@pytest.fixture
def start(server: ForkServer, storage: Storage, home: Path) -> Iterator[Callable[[], Fork]]:
    """What starts a broker; one that a test leaves behind is ended."""
    started = []

    def start_one() -> Fork:
        options = WorkerOptions(None, server.address, ("s",), prepared=True)
        started.append(broker.start(server.address, str(home / "broker"), options, Settings(home=home), lambda _: None))
        return started[-1]

    yield start_one
    for each in started:
        each.kill()


@pytest.fixture
def call(home: Path, storage: Storage) -> Callable[..., tuple[BrokerClient, str]]:
    """What makes a line to the broker, and a worker that is known to the storage."""

    def make(stop: StopSignals | None = None) -> tuple[BrokerClient, str]:
        worker = this_worker()
        Control(storage.engine).register(worker)
        return BrokerClient(str(home / "broker"), stop or StopSignals()), worker.id

    return make


def taken(line: tuple[BrokerClient, str]) -> Claim:
    client, worker = line
    claim = client.take(worker)
    assert claim is not None
    return claim


def ends(process: Fork) -> int:
    """Return the exit code of a process that is about to end."""
    while (message := process.receive(10)) is not None:
        if isinstance(message, Exited):
            return message.code
    raise AssertionError("it does not end")


def test_many_workers_get_every_trial_once_and_optuna_hears_of_each(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]], storage: Storage
) -> None:
    start()
    numbers = []

    def work(line: tuple[BrokerClient, str]) -> None:
        client, worker = line
        while (claim := client.take(worker)) is not None:
            numbers.append(claim.trial.number)
            client.report("s", claim.trial.number, 0.25, 1)
            assert client.write_end("s", claim.trial, Outcome(None, score=0.5))
            client.follow_up("s", claim.trial.number)
        assert client.works_on("s")
        assert not client.works_on("another")

    threads = [threading.Thread(target=work, args=(call(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(numbers) == list(range(CAP))
    trials = optuna.load_study(study_name="s", storage=storage.optuna).trials
    assert [(each.state, each.value) for each in trials] == [(OptunaState.COMPLETE, 0.5)] * CAP
    assert [each.intermediate_values for each in trials] == [{1: 0.25}] * CAP


def test_what_is_left_to_give_counts_one_for_every_other_worker_of_the_machine(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]], storage: Storage
) -> None:
    start()
    lines = [call() for _ in range(2)]
    assert taken(lines[0]).left == CAP - 1
    claim = taken(lines[1])
    assert claim.left == CAP - 2 - 1
    # What waits again is to be given once more.
    assert lines[1][0].write_end("s", claim.trial, Outcome(Cause.INTERRUPTED))
    assert taken(lines[1]).left == CAP - 2 - 1


def test_an_end_that_was_written_by_another_is_refused_and_a_study_that_is_gone_is_named(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]], storage: Storage
) -> None:
    start()
    line = call()
    claim = taken(line)
    assert not line[0].write_end("s", replace(claim.trial, worker="another"), Outcome(None, score=0.5))
    with pytest.raises(KeyError, match="study gone is not in the storage any more"):
        line[0].write_end("gone", claim.trial, Outcome(None, score=0.5))
    with pytest.raises(broker.BrokerFailedError, match="can.t adapt type .Claim."):
        line[0].follow_up("s", claim)  # type: ignore[arg-type]
    # None of it has harmed the broker.
    assert line[0].write_end("s", claim.trial, Outcome(None, score=0.5))


def test_a_trial_that_its_worker_did_not_wait_for_waits_for_another(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]], storage: Storage
) -> None:
    start()
    stop = StopSignals()
    client, worker = call(stop)
    refused = []

    def wait() -> None:
        with pytest.raises(LockGivenUpError):
            client.take(worker)
        refused.append(worker)

    with storage.engine.connect() as connection, advisory_lock(connection, "hpo study s"):
        thread = threading.Thread(target=wait)
        thread.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        assert eventually(lambda: connection.execute(waiting).scalar_one() == 1)
        connection.rollback()
        stop.heard("suspend")
        thread.join(10)
    assert refused == [worker]
    control = Control(storage.engine)
    assert eventually(lambda: [each.state for each in control.trials("s")] == [TrialState.REPLACED, TrialState.WAITING])
    first, second = control.trials("s")
    assert (first.cause, first.slot, second.slot) == (Cause.INTERRUPTED, 1, 1)
    assert taken(call()).trial.number == second.number


def test_all_workers_of_a_machine_give_their_trials_back_at_once(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]], storage: Storage
) -> None:
    # More than there are connections: each needs one for the lock, and whoever has that needs another one.
    start()
    lines = [call() for _ in range(14)]
    claims = [taken(line) for line in lines]
    outcome, held = Outcome(Cause.INTERRUPTED, message="its worker was told to go"), []

    def give_back(line: tuple[BrokerClient, str], claim: Claim) -> None:
        held.append(line[0].write_end("s", claim.trial, outcome))

    threads = [threading.Thread(target=give_back, args=pair) for pair in zip(lines, claims, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert held == [True] * 14
    assert Control(storage.engine).counts("s").waiting == 14


def test_a_worker_goes_on_with_the_next_broker(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]], storage: Storage
) -> None:
    first = start()
    line = call()
    claim = taken(line)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    assert ends(first) == -signal.SIGKILL
    for _ in range(2):
        with pytest.raises(AskAgainError, match="the broker of this machine is away"):
            line[0].write_end("s", claim.trial, Outcome(None, score=0.5))
    start()
    assert line[0].write_end("s", claim.trial, Outcome(None, score=0.5))
    line[0].follow_up("s", claim.trial.number)
    states = [trial.state for trial in optuna.load_study(study_name="s", storage=storage.optuna).trials]
    assert states == [OptunaState.COMPLETE]


def test_it_stays_as_long_as_a_worker_has_something_to_say(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]]
) -> None:
    process = start()
    line = call()
    claim = taken(line)
    process.send("leave")
    time.sleep(0.3)
    assert process.pid is not None
    assert psutil.pid_exists(process.pid)
    assert line[0].write_end("s", claim.trial, Outcome(Cause.INTERRUPTED, message="its worker was told to go"))
    line[0].hang_up()
    assert ends(process) == 0


def test_without_a_database_it_says_so_and_serves_when_it_is_back(
    start: Callable[[], Fork], call: Callable[..., tuple[BrokerClient, str]], storage: Storage, home: Path
) -> None:
    start()
    line = call()
    claim = taken(line)
    os.kill(int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGINT)
    assert eventually(lambda: not (home / "postgres" / "postmaster.pid").exists())
    with pytest.raises(AskAgainError, match="the database is away"):
        line[0].write_end("s", claim.trial, Outcome(None, score=0.5))
    assert storage.server is not None
    storage.server.ensure_running()

    def is_written() -> bool:
        try:
            return line[0].write_end("s", claim.trial, Outcome(None, score=0.5))
        except AskAgainError:
            return False

    assert eventually(is_written)
