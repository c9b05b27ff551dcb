"""SIGTERM during real training: the worker leaves in time, and the trial goes on from its checkpoint."""

import signal
import time
from typing import Any

import psutil
from command import Command, optuna_trials
from optuna.trial import TrialState as OptunaState

SPEC = """
name: {name}
data: {{example: indices, tier: a20}}
budgets: [750k]
trials: 1
forced_extremes: false
training: {{max_steps: 40, effective_batch: 8, check_every: 10, patience: 100}}
"""


def make(hpo: Command, name: str) -> None:
    hpo.json("run", hpo.write(f"{name}.yaml", SPEC.format(name=name)), "--workers", "0")


def wait_for_a_look(hpo: Command, study: str) -> None:
    deadline = time.monotonic() + 120
    while not any(trial.intermediate_values for trial in optuna_trials(hpo, study)):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def last(hpo: Command, study: str) -> Any:
    return [trial for trial in optuna_trials(hpo, study) if trial.state is OptunaState.COMPLETE][-1]


def test_sigterm_saves_the_trial_and_the_next_worker_goes_on_from_there(hpo: Command) -> None:
    make(hpo, "whole")
    hpo.json("worker", "--study", "whole", "--max-trials", "1")
    make(hpo, "parts")
    worker = hpo.start("worker", "--study", "parts")
    wait_for_a_look(hpo, "parts")
    asked = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)
    left_after = time.monotonic() - asked
    assert worker.returncode == 0, err
    assert left_after < 30
    assert hpo.json("status", "parts")["trials"]["waiting"] == 1
    hpo.json("worker", "--study", "parts", "--max-trials", "1")
    first, second = optuna_trials(hpo, "parts")
    whole, parts = last(hpo, "whole").user_attrs, last(hpo, "parts").user_attrs
    print(
        f"left {left_after:.1f} s after SIGTERM; steps trained {whole['steps_trained']} without interruption, "
        f"{first.user_attrs['steps_trained']} + {parts['steps_trained']} with one"
    )
    assert parts["resumed_from_step"] == first.user_attrs["steps_trained"] >= 10
    assert parts["resumed_from_step"] + parts["steps_trained"] == parts["steps"] == whole["steps"] == 40
    assert (first.user_attrs["cause"], second.user_attrs["attempt"]) == ("interrupted", 1)
    assert (first.user_attrs["retried_as"], second.user_attrs["retry_of"]) == (1, 0)
    assert last(hpo, "parts").value == last(hpo, "whole").value
    assert not list((hpo.home / "checkpoints").rglob("*.ckpt"))


def test_sigterm_to_every_process_of_a_service_saves_the_trial_all_the_same(hpo: Command) -> None:
    make(hpo, "all")
    worker = hpo.start("worker", "--study", "all")
    wait_for_a_look(hpo, "all")
    # As a service manager does; the steps are quicker than the worker's word to its trial.
    for process in [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]:
        process.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    (first, _) = optuna_trials(hpo, "all")
    assert (first.user_attrs["cause"], first.user_attrs["steps_trained"] >= 10) == ("interrupted", True)
    (path,) = (hpo.home / "checkpoints").rglob("training.ckpt")
    found = hpo.json("inspect", "all#0")
    assert (found["path"], found["step"], found["count_agrees"]) == (str(path), first.user_attrs["steps_trained"], True)
    assert found["parameters"] == first.user_attrs["exact_params"]
    assert hpo.json("compare", "all#0", str(path))["continuing"]["possible"]
    refused = hpo.run("inspect", "all#99")
    assert (refused.code, refused.out) == (2, "")
    assert "has no trial 99" in refused.err


def test_a_trial_that_has_ended_has_no_checkpoint_to_show(hpo: Command) -> None:
    make(hpo, "ended")
    hpo.json("worker", "--study", "ended", "--max-trials", "1")
    refused = hpo.run("inspect", "ended#0")
    assert (refused.code, refused.out) == (2, "")
    assert "trial 0 of ended is complete and has no checkpoint on this machine" in refused.err


def test_a_killed_worker_costs_no_more_than_the_time_since_the_last_checkpoint(hpo: Command) -> None:
    path = hpo.write(
        "killed.yaml", SPEC.format(name="killed").replace("patience", "checkpoint_minutes: 0.01, patience")
    )
    hpo.json("run", path, "--workers", "0")
    worker = hpo.start("worker", "--study", "killed")
    wait_for_a_look(hpo, "killed")
    time.sleep(1)
    worker.kill()
    worker.communicate()
    hpo.json("worker", "--study", "killed", "--max-trials", "1")
    attributes = last(hpo, "killed").user_attrs
    assert attributes["attempt"] == 2
    assert attributes["resumed_from_step"] >= 5
