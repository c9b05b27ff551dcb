"""How the process of a trial ends near its memory limit, and what that is taken for."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from servers import eventually

from hpo.claims import Claim
from hpo.fork_server import Exited, Fork, ForkServer, Returned, Started, call, spare_fork
from hpo.records import Cause, Origin, Outcome, TrialRecord, TrialState
from hpo.trial import TrialLimits, TrialProcess
from hpo.trial_memory import check_limit
from studies.spec import Spec

HERE = Path(__file__).parent
HEAD_MB = 100.0


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
        with ForkServer(("studies.objective", "hpo.trial", "numpy")) as running:
            running.wait_until_ready()
            yield running


def begin(
    server: ForkServer,
    home: Path,
    objective: str,
    head_mb: float = HEAD_MB,
    threads: int = 1,
    spare: Fork | None = None,
) -> TrialProcess:
    start = call(server.address, "hpo.trial_memory:measure_start")
    spec = Spec.model_validate({"name": "s", "objective": "m:f", "budgets": ["750k"]})
    trial = TrialRecord(0, 1, 1, 1, Origin.SAMPLED, {}, 1, TrialState.RUNNING, worker="w")
    limits = TrialLimits(threads, start + head_mb)
    claim = Claim("s", spec, trial, {}, {}, left=0)
    return TrialProcess(claim, f"hungry_objectives:{objective}", server.address, home, limits, spare)


def end(process: TrialProcess) -> Outcome:
    for _ in range(200):
        if outcome := process.wait(0.2, lambda *_: None):
            return outcome
    raise AssertionError("the trial has not ended")


def test_a_kill_is_not_taken_for_a_want_of_memory_however_full_the_process_is(
    server: ForkServer, tmp_path: Path
) -> None:
    outcome = end(begin(server, tmp_path, "killed_when_full"))
    assert outcome.cause is Cause.FAILED
    assert "signal 9" in outcome.message
    assert outcome.attributes["peak_memory_mb"] > 100


def test_a_process_that_dies_at_its_limit_has_run_out_of_memory(server: ForkServer, tmp_path: Path) -> None:
    outcome = end(begin(server, tmp_path, "aborts_when_full"))
    assert (outcome.cause, "at its limit" in outcome.message) == (Cause.OUT_OF_MEMORY, True)
    assert outcome.attributes["peak_memory_mb"] > 100


def test_stacks_of_threads_are_not_taken_for_memory(server: ForkServer, tmp_path: Path) -> None:
    outcome = end(begin(server, tmp_path, "many_threads", head_mb=30, threads=32))
    assert (outcome.cause, outcome.score) == (None, 31.0)


def test_an_operating_system_that_has_no_memory_says_so_in_its_own_way(server: ForkServer, tmp_path: Path) -> None:
    assert end(begin(server, tmp_path, "no_memory_to_fork")).cause is Cause.OUT_OF_MEMORY


def test_what_begins_above_the_limit_has_failed_and_fits_no_worse_for_its_batch(
    server: ForkServer, tmp_path: Path
) -> None:
    outcome = end(begin(server, tmp_path, "waits", head_mb=-20))
    assert (outcome.cause, "HPO_TRIAL_MEMORY_MB" in outcome.message) == (Cause.FAILED, True)


def test_a_trial_that_is_killed_by_its_worker_leaves_its_peak(server: ForkServer, tmp_path: Path) -> None:
    process = begin(server, tmp_path, "waits")
    while process.pid is None:
        process.wait(0.2, lambda *_: None)
    outcome = process.kill("told to stop at once")
    assert (outcome.cause, outcome.message) == (Cause.INTERRUPTED, "told to stop at once")
    assert outcome.attributes["peak_memory_mb"] > 0


def test_a_limit_that_lets_no_trial_begin_is_wrong_input() -> None:
    check_limit(None, 400)
    check_limit(401, 400)
    with pytest.raises(ValueError, match="must be above the 400 MiB that a trial begins with, not 100: raise"):
        check_limit(100, 400)


def test_a_spare_fork_runs_what_it_is_given_later_and_one_that_is_dismissed_ends(server: ForkServer) -> None:
    spare, dismissed = spare_fork(server.address), spare_fork(server.address)
    pids = [each.pid for each in (spare, dismissed) if isinstance(each.receive(20), Started)]
    assert all(pid is not None and psutil.pid_exists(pid) for pid in pids)
    dismissed.dismiss()
    assert eventually(lambda: not psutil.pid_exists(pids[1] or 0))
    spare.begin("hpo.trial_memory:measure_start")
    said = [spare.receive(20), spare.receive(20)]
    assert isinstance(said[0], Returned)
    assert said[0].value > 0
    assert said[1] == Exited(0)


def test_a_trial_whose_spare_fork_was_killed_while_it_waited_runs_in_another(
    server: ForkServer, tmp_path: Path
) -> None:
    spare = spare_fork(server.address)
    assert isinstance(spare.receive(20), Started)
    assert spare.pid is not None
    psutil.Process(spare.pid).kill()
    # The server closes the line when it has buried it; until then what is sent is read by nobody.
    assert isinstance(spare.receive(20), Exited)
    process = begin(server, tmp_path, "many_threads", threads=32, spare=spare)
    assert end(process).cause is None
    assert process.pid != spare.pid


def test_the_last_words_of_a_trial_are_its_outcome_before_its_process_is_gone(
    server: ForkServer, tmp_path: Path
) -> None:
    process = begin(server, tmp_path, "many_threads", threads=32)
    while process.last_words is None:
        assert process.wait(20, lambda *_: None) is None
    assert process.last_words == end(process)
