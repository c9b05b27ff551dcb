"""Trials that do not fit are made to fit: by a limit, and by the kernel; with the same result."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import Command, Ended, optuna_trials
from optuna.trial import FrozenTrial, TrialState

# So many windows that what is over the limit is more than the pages of libraries that no limit counts, about 40 MB.
TRAINED = """
name: {name}
data: {{example: indices, tier: a20}}
budgets: [750k]
trials: 2
training: {{max_steps: 3, effective_batch: 256, micro_batch: 256, check_every: 3}}
"""
HUNGRY = """
name: hungry
objective: objectives:hungry
budgets: [750k]
trials: 2
training: {effective_batch: 16}
max_attempts: 1
"""


def run_with_limit(hpo: Command, limit_mb: float, *arguments: str) -> Ended:
    process = hpo.start("run", *arguments, "--workers", "1", HPO_TRIAL_MEMORY_MB=f"{limit_mb:.0f}")
    out, err = process.communicate(timeout=600)
    return Ended(process.returncode, out, err)


def ends(hpo: Command, study: str) -> dict[str, FrozenTrial]:
    """Return how every design ended at last."""
    return {trial.user_attrs["design"]: trial for trial in optuna_trials(hpo, study)}


def test_a_trial_over_its_limit_ends_with_a_smaller_micro_batch_and_the_same_loss(hpo: Command) -> None:
    assert hpo.run("run", hpo.write("free.yaml", TRAINED.format(name="free")), "--workers", "1").code == 0
    free = ends(hpo, "free")
    start = max(trial.user_attrs["start_memory_mb"] for trial in free.values())
    least = min(trial.user_attrs["peak_memory_mb"] for trial in free.values())
    limited = run_with_limit(
        hpo, start + 0.7 * (least - start), hpo.write("limited.yaml", TRAINED.format(name="limited"))
    )
    assert limited.code == 0, limited.err
    again = ends(hpo, "limited")
    assert again.keys() == free.keys() == {"750k_shallow", "750k_deep"}
    for design, trial in again.items():
        found, expected = trial.user_attrs, free[design].user_attrs
        assert trial.state is free[design].state is TrialState.COMPLETE
        assert found["micro_batch"] < expected["micro_batch"] == 256
        assert found["effective_batch"] == expected["effective_batch"] == 256
        assert found["accumulation"] * found["micro_batch"] == 256
        assert found["windows_seen"] == expected["windows_seen"] == 3 * 256
        # With dropout of a half: its masks are those of the whole batch.
        assert found["last_loss"] == pytest.approx(expected["last_loss"], rel=1e-5)
        assert found["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-4)
        assert found["retry_cause"] == "out_of_memory"
    failed = [trial.user_attrs for trial in optuna_trials(hpo, "limited") if trial.state is TrialState.FAIL]
    assert {each["cause"] for each in failed} == {"out_of_memory"}
    assert all(each["peak_memory_mb"] > each["start_memory_mb"] for each in failed)


def assert_one_fits_and_one_is_infeasible(hpo: Command) -> None:
    found = ends(hpo, "hungry")
    fitting, infeasible = found["750k_shallow"], found["750k_deep"]
    assert fitting.state is TrialState.COMPLETE
    assert fitting.user_attrs["windows_at_once"] == fitting.user_attrs["micro_batch"] < 16
    assert fitting.user_attrs["effective_batch"] == 16
    assert infeasible.state is TrialState.PRUNED
    assert infeasible.user_attrs["micro_batch"] == 1
    assert infeasible.user_attrs["cause"] == "out_of_memory"
    assert infeasible.user_attrs["infeasible"] is True
    assert infeasible.constraints == {"memory": 1.0}
    assert all(
        trial.user_attrs["peak_memory_mb"] > 200
        for trial in optuna_trials(hpo, "hungry")
        if trial.user_attrs.get("cause") == "out_of_memory"
    )
    status = hpo.json("status", "hungry")
    assert (status["state"], status["trials"]["complete"], status["trials"]["failed"]) == ("finished", 1, 1)


def test_what_fits_with_no_micro_batch_is_infeasible_and_the_sampler_is_told(hpo: Command) -> None:
    ended = run_with_limit(hpo, 500, hpo.write("hungry.yaml", HUNGRY))
    assert ended.code == 0, ended.err
    assert_one_fits_and_one_is_infeasible(hpo)


@pytest.fixture
def small_machine() -> Iterator[Path]:
    """A control group that allows 1 GiB, in which the kernel kills what takes more."""
    own = {
        controllers: path
        for _, controllers, path in (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().split())
    }
    if "memory" in own:
        group, limit = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        group = group / own["memory"].lstrip("/") / "hpo-test"
    else:
        group, limit = Path("/sys/fs/cgroup") / own.get("", "/").lstrip("/") / "hpo-test", "memory.max"
    try:
        group.mkdir(exist_ok=True)
        (group / limit).write_text(str(2**30))
    except OSError:
        pytest.skip("control groups can't be made here")
    yield group
    with suppress(OSError):
        group.rmdir()


def test_a_kill_by_the_kernel_is_taken_for_what_it_is(hpo: Command, small_machine: Path) -> None:
    command = f"echo $$ > {small_machine}/cgroup.procs; exec {sys.executable} -m hpo run {{}} --workers 1"
    ended = subprocess.run(
        ["bash", "-c", command.format(hpo.write("hungry.yaml", HUNGRY.replace("batch: 16", "batch: 32")))],
        cwd=hpo.directory,
        env=hpo.environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = ends(hpo, "hungry")
    killed = [trial.user_attrs for trial in optuna_trials(hpo, "hungry") if trial.user_attrs.get("cause")]
    assert killed
    assert all(each["cause"] == "out_of_memory" for each in killed)
    assert all("the kernel killed it" in each["message"] for each in killed)
    assert all(each["peak_memory_mb"] > 400 for each in killed)
    assert found["750k_shallow"].state is TrialState.COMPLETE
    assert found["750k_shallow"].user_attrs["micro_batch"] == 16
    assert found["750k_deep"].constraints == {"memory": 1.0}


@pytest.mark.parametrize(("limit_mb", "said"), [(100, "HPO_TRIAL_MEMORY_MB must be above"), (345, "[memory]")])
def test_a_limit_that_no_trial_can_keep_is_refused_before_anything_is_written(
    hpo: Command, limit_mb: float, said: str
) -> None:
    ended = run_with_limit(hpo, limit_mb, hpo.write("tight.yaml", TRAINED.format(name="tight")))
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1), ended.err
    assert said in ended.err
    assert list(hpo.home.iterdir()) == []
