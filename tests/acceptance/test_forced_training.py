"""All 18 forced configurations train for real, the four of 200 M parameters included."""

import math

import pytest
from command import Command, optuna_trials

# Two windows a step and a short validation part: what counts here is that every one of them trains.
SPEC = """
name: all-eighteen
data: {example: indices, tier: a20}
trials: 18
split: {validation: 0.03, test: 0.03}
training: {max_steps: 2, effective_batch: 2, check_every: 2}
"""


@pytest.mark.timeout(1200)
def test_all_eighteen_forced_configurations_train_for_real(hpo: Command) -> None:
    found = hpo.json("run", hpo.write("all.yaml", SPEC))
    assert (found["trials"]["complete"], found["trials"]["failed"], found["trials"]["replaced"]) == (18, 0, 0)
    trials = {trial.user_attrs["design_id"]: trial for trial in optuna_trials(hpo, "all-eighteen")}
    assert sorted(trials) == list(range(1, 19))
    assert all(math.isfinite(trial.value or math.nan) for trial in trials.values())
    assert all(trial.user_attrs["steps"] == 2 for trial in trials.values())
    assert trials[7].user_attrs["exact_params"] == 226_907_137


def test_the_quickstart_beats_chance_and_stores_what_a_trial_was(hpo: Command) -> None:
    found = hpo.json("run", "quickstart", "--budgets", "750k", "--trials", "3", "--name", "short")
    trial = optuna_trials(hpo, "short")[found["best"]["number"]]
    assert trial.value == found["best"]["score"] == trial.user_attrs["auc"]
    assert trial.user_attrs["auc_low"] > 0.5
    assert not trial.user_attrs["collapsed"]
    stored = {
        *("d_model", "n_layers", "n_heads", "d_ff", "estimated_params", "exact_params", "flops"),
        *("effective_batch", "micro_batch", "precision", "steps", "windows_seen", "best_step"),
        *("log_loss", "brier", "average_precision", "base_rate", "recall_at_base_rate", "precision_at_base_rate"),
        *("prediction_min", "prediction_max", "seconds", "peak_memory_mb", "fingerprint", "seed", "worker"),
    }
    assert stored <= trial.user_attrs.keys()
    assert 0 < len(trial.intermediate_values) <= 3
    ended = hpo.run("run", "quickstart", "--budgets", "750k", "--trials", "3", "--name", "short")
    assert "best trials by validation AUC" in ended.out
    assert max(map(len, ended.out.split("next:")[0].splitlines())) <= 80
