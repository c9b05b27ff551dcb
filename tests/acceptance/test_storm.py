"""Workers and trials killed at random, and the database once: the count stays exact."""

import random
import subprocess
from collections import Counter
from contextlib import suppress

import psutil
from command import Command, optuna_trials
from optuna.trial import TrialState as OptunaState

SPEC = """
name: storm
objective: objectives:score
budgets: [750k, 2M, 20M, 200M]
trials: 50
early_stop: {patience: 1000}
max_attempts: 50
"""


def forks_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the workers and trials of a run: forks of its one fork server."""
    try:
        return [fork for server in psutil.Process(process.pid).children() for fork in server.children()]
    except psutil.NoSuchProcess:
        return []


def kill_postmaster(hpo: Command) -> None:
    for process in psutil.process_iter(["cmdline"]):
        if f"-D {hpo.home}" in " ".join(process.info["cmdline"] or ()):
            process.kill()
            return


def test_random_kills_neither_lose_nor_double_a_trial(hpo: Command) -> None:
    path = hpo.write("storm.yaml", SPEC)
    dice, kills, runs = random.Random(4), 0, 0
    while True:
        process = hpo.start("run", path, "--workers", "4", TRIAL_SECONDS="0.4")
        runs += 1
        while process.poll() is None:
            try:
                process.wait(1.0)
            except subprocess.TimeoutExpired:
                victims = forks_of(process)
                # Four workers, and trials: on a busy machine the kills must not be spent on workers that only begin.
                if len(victims) > 4 and kills < 12:
                    with suppress(psutil.NoSuchProcess):
                        dice.choice(victims).kill()
                        kills += 1
                    if kills == 4:
                        kill_postmaster(hpo)
        _, err = process.communicate()
        assert "Traceback" not in err
        if process.returncode == 0:
            break
        assert runs < 10, err
    trials = optuna_trials(hpo, "storm")
    complete = [trial for trial in trials if trial.state is OptunaState.COMPLETE]
    slots = Counter(trial.user_attrs["slot"] for trial in complete)
    designs = Counter(trial.user_attrs.get("design_id") for trial in complete)
    causes = Counter(trial.user_attrs["cause"] for trial in trials if trial.state is OptunaState.FAIL)
    print(f"{kills} kills in {runs} runs: {len(complete)} complete, run again {dict(causes)}")
    assert kills >= 4
    assert (len(complete), len(slots)) == (50, 50)
    assert designs == {**dict.fromkeys(range(1, 19), 1), None: 32}
    assert {trial.state for trial in trials} <= {OptunaState.COMPLETE, OptunaState.FAIL}
    assert sum(causes.values()) >= 1
