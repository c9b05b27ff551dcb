"""`hpo run`: once, exactly, again after deaths, and cleanly out of the way."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import psutil
import pytest
from command import Command, optuna_trials
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

SPEC = """
name: quick
objective: objectives:{objective}
budgets: [750k, 2M, 20M, 200M]
trials: {trials}
early_stop: {{patience: 1000}}
"""


def spec(hpo: Command, trials: int = 24, objective: str = "score", more: str = "") -> str:
    return hpo.write("quick.yaml", SPEC.format(trials=trials, objective=objective) + more)


def complete_by_design(trials: list[FrozenTrial]) -> Counter[int]:
    complete = [trial for trial in trials if trial.state is OptunaState.COMPLETE]
    return Counter(trial.user_attrs["design_id"] for trial in complete if "design_id" in trial.user_attrs)


@contextmanager
def running(hpo: Command, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = hpo.start(*arguments, **variables)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_complete(hpo: Command, count: int, seconds: float = 90) -> dict[str, Any]:
    """Return the status as soon as so many trials are complete."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = hpo.run("status", "quick", "--json")
        if ended.code == 0 and (found := json.loads(ended.out))["trials"]["complete"] >= count:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not {count} trials after {seconds} s: {ended.out}{ended.err}")


def test_four_processes_that_start_the_same_study_at_once_share_it_exactly(hpo: Command) -> None:
    path = spec(hpo, trials=24)
    processes = [hpo.start("run", path, "--workers", "2", "--json") for _ in range(4)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], outputs
    for out, _ in outputs:
        found = json.loads(out)
        assert (found["state"], found["trials"]["complete"], found["trials"]["failed"]) == ("finished", 24, 0)
    trials = optuna_trials(hpo, "quick")
    assert complete_by_design(trials) == Counter(range(1, 19))
    assert [trial.state for trial in trials] == [OptunaState.COMPLETE] * 24

    fifth = hpo.json("run", path)
    assert fifth["trials"]["complete"] == 24
    assert len(optuna_trials(hpo, "quick")) == 24
    joint = optuna.search_space.intersection_search_space(trials)
    assert set(joint) == {"budget", "style", "dropout", "learning_rate", "weight_decay"}


def test_a_trial_carries_everything_that_was_derived_and_recorded(hpo: Command) -> None:
    hpo.json("run", spec(hpo, trials=18))
    trial = optuna_trials(hpo, "quick")[4]
    expected = {
        "design_id": 5,
        "design": "20M_shallow",
        "group": "budget_architecture",
        "origin": "forced",
        "d_model": 768,
        "n_layers": 3,
        "n_heads": 8,
        "d_ff": 3072,
        "estimated_params": 21_233_664,
        "attempt": 1,
        "seed": 1,
        "seen_d_model": 768,
    }
    assert expected.items() <= trial.user_attrs.items()
    assert {"seconds", "peak_memory_mb", "fingerprint", "worker"} <= trial.user_attrs.keys()
    assert trial.intermediate_values == {1: 0.5}


def test_a_run_that_is_killed_goes_on_where_it_was(hpo: Command) -> None:
    path = spec(hpo, trials=20, objective="slow")
    with running(hpo, "run", path, "--workers", "2") as process:
        before = wait_for_complete(hpo, 4)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    deadline = time.monotonic() + 30
    while [p for p in psutil.process_iter(["cmdline"]) if str(hpo.home) in str(p.info["cmdline"])]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    after = hpo.json("run", path, "--workers", "2")
    assert (after["trials"]["complete"], after["state"]) == (20, "finished")
    assert before["trials"]["complete"] >= 4
    trials = optuna_trials(hpo, "quick")
    assert complete_by_design(trials) == Counter(range(1, 19))
    states = Counter(trial.state for trial in trials)
    assert states[OptunaState.COMPLETE] == 20
    assert states[OptunaState.RUNNING] == states[OptunaState.WAITING] == 0
    # What was under way was begun again, not lost: its first trial is marked and its successor names it.
    retried = {trial.user_attrs["retry_of"] for trial in trials if "retry_of" in trial.user_attrs}
    assert retried == {trial.number for trial in trials if trial.state is OptunaState.FAIL}


def test_ctrl_c_leaves_cleanly_and_says_how_to_go_on(hpo: Command) -> None:
    path = spec(hpo, trials=20, objective="slow")
    with running(hpo, "run", path, "--workers", "2") as process:
        wait_for_complete(hpo, 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1].startswith("interrupted; the trials that had not ended wait again: `")
    assert "Traceback" not in err
    found = hpo.json("status", "quick")
    assert found["trials"]["running"] == 0
    assert found["workers"] == []


def test_every_bad_end_is_told_apart_and_the_rest_goes_on(hpo: Command) -> None:
    path = spec(hpo, trials=18, objective="misbehaving", more="max_attempts: 2\n")
    ended = hpo.run("run", path, "--workers", "2")
    assert ended.code == 0
    assert "said to the log" not in ended.out + ended.err
    found = hpo.json("status", "quick")
    assert (found["trials"]["complete"], found["trials"]["failed"]) == (14, 4)
    ended_badly = {OptunaState.FAIL, OptunaState.PRUNED}
    failed = [trial for trial in optuna_trials(hpo, "quick") if trial.state in ended_badly]
    causes = {
        (trial.user_attrs["design_id"], trial.user_attrs["attempt"]): trial.user_attrs["cause"] for trial in failed
    }
    assert causes == {
        (4, 1): "failed",
        (9, 1): "failed",
        (9, 2): "failed",
        (10, 1): "diverged",
        (11, 1): "failed",
        (11, 2): "failed",
        # With micro-batches of 64, 32, 16, 8, 4, 2 and 1; that uses up no attempt.
        **{(13, attempt): "out_of_memory" for attempt in range(1, 8)},
    }
    infeasible = next(trial for trial in failed if trial.state is OptunaState.PRUNED)
    assert (infeasible.user_attrs["design_id"], infeasible.user_attrs["micro_batch"]) == (13, 1)
    assert infeasible.constraints == {"memory": 1.0}
    messages = {trial.user_attrs["design_id"]: trial.user_attrs["message"] for trial in failed}
    assert "ValueError: this one always fails" in messages[9]
    assert "killed by signal 9" in messages[11]
    assert "this one always fails" in hpo.run("status", "quick", "--failures").out


def test_what_cannot_be_stored_fails_its_trial_and_harms_no_worker(hpo: Command) -> None:
    ended = hpo.run("run", spec(hpo, trials=18, objective="unstorable", more="max_attempts: 1\n"))
    assert ended.code == 1
    assert "no trial has completed" in ended.err
    assert "a worker ended early" not in ended.err
    causes = Counter(trial.user_attrs["cause"] for trial in optuna_trials(hpo, "quick"))
    assert causes == {"failed": 18}
    said = hpo.run("status", "quick", "--failures").out
    for part in ("can't be stored as JSON", "NUL character", "is a name of the service's own", "a lone surrogate ?"):
        assert part in " ".join(said.split())


def test_numpy_numbers_are_stored_as_numbers_and_odd_attributes_do_not_break_the_table(hpo: Command) -> None:
    ended = hpo.run("run", spec(hpo, trials=18, objective="numpy_numbers"))
    assert ended.code == 0, ended.err
    assert {"a": 1.5, "b": 3}.items() <= optuna_trials(hpo, "quick")[0].user_attrs.items()


def test_workers_0_only_creates_and_a_worker_does_the_work(hpo: Command) -> None:
    path = spec(hpo, trials=19)
    created = hpo.json("run", path, "--workers", "0")
    assert (created["state"], created["trials"]["waiting"], created["trials"]["cap"]) == ("running", 18, 19)
    assert hpo.json("worker", "--study", "quick", "--max-trials", "3") == {"trials": 3}
    assert hpo.json("worker", "--study", "quick", "--idle-exit", "1") == {"trials": 16}
    assert hpo.json("status", "quick")["state"] == "finished"


def test_stop_and_resume(hpo: Command) -> None:
    path = spec(hpo, trials=18)
    hpo.json("run", path, "--workers", "0")
    assert hpo.json("stop", "quick")["state"] == "stopped"
    assert hpo.json("run", path)["trials"]["complete"] == 0
    for wrong in ("-5", "0", "18"):
        refused = hpo.run("resume", "quick", "--trials", wrong)
        assert (refused.code, len(refused.err.splitlines())) == (2, 1), refused.err
    assert hpo.json("resume", "quick", "--trials", "19")["state"] == "running"
    assert "--trials 19 runs it" in hpo.run("run", path).err
    assert hpo.json("run", path, "--trials", "19")["trials"]["complete"] == 19
    assert hpo.run("resume", "quick").code == 2
    assert hpo.json("resume", "quick", "--trials", "20")["trials"]["cap"] == 20


def test_a_worker_ends_its_trial_on_sigterm_and_gives_it_back_on_the_second(hpo: Command) -> None:
    hpo.json("run", spec(hpo, trials=18), "--workers", "0")
    for signals, complete, seconds in ((1, 1, "4"), (2, 1, "60")):
        with running(hpo, "worker", "--study", "quick", TRIAL_SECONDS=seconds) as process:
            deadline = time.monotonic() + 60
            while hpo.json("status", "quick")["trials"]["running"] == 0:
                assert time.monotonic() < deadline
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.1)
            process.communicate(timeout=30)
        found = hpo.json("status", "quick")["trials"]
        assert (process.returncode, found["running"], found["complete"]) == (0, 0, complete)


def test_the_same_name_with_another_specification_is_refused_with_the_difference(hpo: Command) -> None:
    hpo.json("run", spec(hpo, trials=18), "--workers", "0")
    ended = hpo.run("run", spec(hpo, trials=18), "--trials", "19", "--budgets", "750k")
    (line,) = ended.err.splitlines()
    assert ended.code == 2
    assert "budgets" in line
    assert "trials: 18 → 19" in line
    assert "--name" in line
    assert hpo.json("status", "quick")["trials"]["cap"] == 18


def test_the_final_output_is_a_table_the_reason_and_what_to_type_next(hpo: Command) -> None:
    ended = hpo.run("run", spec(hpo, trials=18))
    assert ended.code == 0
    assert "2M_dropout_midlow" in ended.out
    assert "quick: finished: the cap of 18 trials is used: 18 complete" in ended.out
    assert "resume quick --trials" in ended.out
    table = ended.out.split("next:")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "18/18" in ended.err


@pytest.mark.parametrize(
    "command",
    [
        *("run", "phase2", "worker", "fleet up", "fleet drain", "status", "metrics", "dashboard"),
        *("stop", "resume", "reap", "schema"),
        *("db url", "db backup", "db restore", "db upgrade"),
    ],
)
def test_every_command_has_help_with_an_example(hpo: Command, command: str) -> None:
    ended = hpo.run(*command.split(), "--help")
    assert ended.code == 0
    assert f"{'optuna-dashboard' if command == 'db url' else f'hpo {command}'}" in ended.out.split("\n", 2)[2]


def test_the_url_of_the_embedded_postgres_opens_for_any_program_until_it_is_stopped(hpo: Command) -> None:
    hpo.json("run", spec(hpo, trials=18))
    url = hpo.run("db", "url").out.splitlines()[-1]
    storage = optuna.storages.RDBStorage(url)
    assert len(optuna.load_study(study_name="quick", storage=storage).trials) == 18
    storage.remove_session()
    storage.engine.dispose()
    assert hpo.json("db", "stop") == {"state": "stopped"}


def test_nothing_is_left_running(hpo: Command) -> None:
    hpo.json("run", spec(hpo, trials=18))
    deadline = time.monotonic() + 20
    while any(str(hpo.home) in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert os.path.isdir(hpo.home)
