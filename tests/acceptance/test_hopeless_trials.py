"""Hopeless and diverged trials end early under `hpo run`."""

from collections import Counter

from command import Command, optuna_trials
from optuna.trial import TrialState as OptunaState

SPEC = """
name: quick
objective: objectives:{objective}
budgets: [750k]
trials: {trials}
early_stop: {{patience: 1000}}
"""
# A quarter of the peers ahead is enough: half of all are behind, so that a half would tip to and fro as peers end.
PRUNING = "pruning: {enabled: true, percentile: 75, tolerance: 0.05, min_trials: 2, warmup_steps: 2}\n"


def spec(hpo: Command, objective: str, trials: int, more: str = "") -> str:
    return hpo.write("quick.yaml", SPEC.format(objective=objective, trials=trials) + more)


def test_a_run_ends_hopeless_trials_and_says_so_everywhere(hpo: Command) -> None:
    path = spec(hpo, "hopeless_by_half", 14, PRUNING)
    ran = hpo.run("run", path, "--workers", "2")
    assert ran.code == 0, ran.err
    status = hpo.json("status", "quick")
    pruned, complete = status["trials"]["pruned"], status["trials"]["complete"]
    assert pruned >= 2
    assert (pruned + complete, status["trials"]["failed"], status["state"]) == (14, 0, "finished")
    assert f"quick: finished: the cap of 14 trials is used: {complete} complete, {pruned} pruned" in ran.out
    assert ": pruned in " in ran.err
    assert f"{pruned} pruned" in hpo.run("status", "quick").out

    trials = optuna_trials(hpo, "quick")
    states = {trial.number: trial.state for trial in trials}
    assert Counter(states.values()) == {OptunaState.COMPLETE: complete, OptunaState.PRUNED: pruned}
    for trial in trials:
        if trial.state is OptunaState.PRUNED:
            assert trial.user_attrs["origin"] == "sampled"
            judged_at = int(trial.user_attrs["message"].removeprefix("pruned at step ").partition(":")[0])
            # At the last step there is nothing left to save; on a busy machine the word may arrive a look later.
            assert 3 <= judged_at < 10
            assert judged_at <= len(trial.intermediate_values)
    assert any(len(trial.intermediate_values) < 10 for trial in trials if trial.state is OptunaState.PRUNED)
    report = hpo.run("report", "quick", "--format", "md")
    assert report.code == 0, report.err
    assert f"{pruned} trials were pruned" in " ".join(report.out.split())
    again = hpo.json("run", path)
    assert (again["trials"]["pruned"], len(optuna_trials(hpo, "quick"))) == (pruned, 14), "none is tried again"


def test_a_reported_nan_ends_its_trial_at_once_and_is_told_as_diverged(hpo: Command) -> None:
    ran = hpo.run("run", spec(hpo, "not_a_number", 4), seconds=100)
    assert ran.code == 0, ran.err
    deep = [trial for trial in optuna_trials(hpo, "quick") if trial.params["style"] == "deep"]
    assert deep
    for trial in deep:
        assert (trial.state, trial.user_attrs["cause"]) == (OptunaState.FAIL, "diverged")
        assert trial.user_attrs["message"] == "the score became nan at step 2"
        assert trial.user_attrs["seconds"] < 30


def test_check_prints_every_key_of_pruning_and_a_study_of_unknown_noise_is_refused(hpo: Command) -> None:
    checked = hpo.run("check", "quickstart")
    for line in (
        *(
            "pruning.enabled: false",
            "pruning.percentile: 50",
            "pruning.tolerance: 0.03",
            "pruning.warmup_steps: not set",
        ),
        *("pruning.min_trials: 5", "pruning.patience: 2"),
    ):
        assert line in checked.out
    refused = hpo.run("run", spec(hpo, "score", 14, "pruning: {enabled: true}\n"))
    (line,) = refused.err.splitlines()
    assert refused.code == 2
    assert (
        "pruning needs a tolerance for metric score, whose noise nobody knows, not none: set pruning.tolerance" in line
    )
    assert hpo.json("status")["studies"] == []
