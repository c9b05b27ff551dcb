"""Phase 2 from a finished Phase 1: the right budgets, corners first, history, once."""

import json
from typing import Any

import pytest
from command import Command, optuna_trials
from optuna.trial import TrialState as OptunaState
from sqlalchemy import text

from hpo.settings import load_settings
from hpo.storage import open_storage

SPEC = """
name: base
objective: objectives:sized
budgets: [750k, 2M, 20M]
trials: {trials}
early_stop: {{patience: 1000}}
"""
CORNERS = [
    *("n_heads=1", "n_heads=16", "learning_rate=5e-06", "learning_rate=0.002"),
    *("weight_decay=0.05", "weight_decay=0.1", "effective_batch=8", "effective_batch=256"),
]


def phase1(hpo: Command, trials: int = 24, more: str = "", workers: str = "auto") -> str:
    path = hpo.write("base.yaml", SPEC.format(trials=trials) + more)
    hpo.json("run", path, "--workers", workers)
    return path


ON_PRICES = """
name: priced
data: {example: indices, tier: a20}
budgets: [750k]
trials: 2
forced_extremes: false
split: {validation: 0.05, test: 0.05}
training: {max_steps: 2, effective_batch: 8, check_every: 2}
phase2: {effective_batch: [4, 16], n_heads: [2, 4]}
"""


def test_a_phase2_on_prices_trains_every_corner_with_its_own_heads_and_batch(hpo: Command) -> None:
    hpo.json("run", hpo.write("priced.yaml", ON_PRICES), "--workers", "1")
    ended = hpo.run("phase2", "priced", "--trials", "9", "--workers", "1")
    assert ended.code == 0, ended.err
    found = hpo.json("status", "priced/phase2/750k")
    assert (found["state"], found["trials"]["complete"], found["trials"]["replaced"]) == ("finished", 9, 0)
    trials = {trial.user_attrs.get("design_id"): trial for trial in optuna_trials(hpo, "priced/phase2/750k")}
    for corner, heads, batch in (("n_heads=4", 4, 8), ("effective_batch=16", 4, 16), ("effective_batch=4", 4, 4)):
        attributes = trials[corner].user_attrs
        assert (attributes["n_heads"], attributes["effective_batch"]) == (heads, batch)
        assert attributes["windows_seen"] == attributes["steps"] * batch


def names(found: Any) -> list[str]:
    return [study["name"] for study in found["studies"]]


def test_phase2_makes_one_study_for_each_of_the_two_best_budgets_and_runs_it(hpo: Command) -> None:
    phase1(hpo)
    found = hpo.json("phase2", "base", "--trials", "12", "--rank-by", "mean")
    # The objective prefers large models.
    assert found["top_budgets"] == ["20M", "2M"]
    assert [ranked["budget"] for ranked in found["ranking"]] == ["20M", "2M", "750k"]
    assert all(len(ranked["scores"]) == 3 for ranked in found["ranking"][:2])
    assert names(found) == ["base/phase2/20M", "base/phase2/2M"]
    for study in found["studies"]:
        assert ([corner["id"] for corner in study["forced"]], study["imported"], study["cap"]) == (CORNERS, 0, 12)
        status = hpo.json("status", study["name"])
        best = status["best"]["params"]
        assert (best["n_heads"], best["effective_batch"]) == (
            2 ** best["n_heads_log2"],
            2 ** best["effective_batch_log2"],
        )
        assert (status["phase"], status["state"], status["trials"]["complete"]) == (2, "finished", 12)
        trials = optuna_trials(hpo, study["name"])
        assert [trial.user_attrs.get("design_id") for trial in trials] == [*CORNERS, None, None, None, None]
        assert {trial.user_attrs["budget"] for trial in trials} == {study["budget"]}
        assert len({(trial.user_attrs["style"], trial.user_attrs["dropout"]) for trial in trials}) == 1


def test_both_phases_carry_a_note_that_says_how_they_stand_and_what_comes_next(hpo: Command) -> None:
    phase1(hpo)
    assert "**Finished**: the cap of 24 trials is used" in note_of(hpo, "base")
    assert "`hpo phase2 base`" in note_of(hpo, "base")
    hpo.json("phase2", "base", "--param-budget", "2M", "--workers", "0")
    assert "Phase 2 goes on in `base/phase2/2M`" in note_of(hpo, "base")
    child = note_of(hpo, "base/phase2/2M")
    assert "**Phase 2** of `base` at the budget 2M" in child
    assert "**Running**" in child
    hpo.json("stop", "base/phase2/2M")
    assert "**Stopped**: stopped by hpo stop" in note_of(hpo, "base/phase2/2M")
    hpo.json("resume", "base/phase2/2M")
    assert "**Running**: resumed" in note_of(hpo, "base/phase2/2M")


def note_of(hpo: Command, study: str) -> str:
    with open_storage(load_settings({"HPO_HOME": str(hpo.home)})) as storage:
        attributes = storage.optuna.get_study_system_attrs(storage.optuna.get_study_id_from_name(study))
        return "".join(str(value) for key, value in sorted(attributes.items()) if "note" in key)


def test_the_corners_stand_around_the_best_trial_one_dimension_at_a_time(hpo: Command) -> None:
    phase1(hpo)
    (study,) = hpo.json("phase2", "base", "--param-budget", "2M", "--workers", "0")["studies"]
    assert study["name"] == "base/phase2/2M"
    trials = [t for t in optuna_trials(hpo, "base") if t.params["budget"] == "2M"]
    best = max(trials, key=lambda trial: trial.value or 0.0)
    centre = {"n_heads": 4, "learning_rate": best.params["learning_rate"], "weight_decay": 0.05, "effective_batch": 64}
    for corner in study["forced"]:
        dimension = corner["id"].partition("=")[0]
        assert {key: corner[key] for key in centre if key != dimension} == {
            key: value for key, value in centre.items() if key != dimension
        }
        assert (corner["style"], corner["dropout"]) == (best.params["style"], best.params["dropout"])


def test_history_that_fits_is_imported_and_does_not_count(hpo: Command) -> None:
    # By default nothing can fit: Phase 1 ends at a weight decay of 0.01 and Phase 2 begins at 0.05.
    phase1(hpo, trials=30, more="phase2: {weight_decay: [0.0, 0.1]}\n")
    (study,) = hpo.json("phase2", "base", "--param-budget", "2M", "--trials", "10")["studies"]
    trials = optuna_trials(hpo, study["name"])
    imported = [trial for trial in trials if "imported_from" in trial.user_attrs]
    assert len(imported) == study["imported"] > 0
    before = optuna_trials(hpo, "base")
    for trial in imported:
        origin = before[trial.user_attrs["imported_from"]]
        assert (trial.value, trial.params["learning_rate"]) == (origin.value, origin.params["learning_rate"])
        assert origin.params["budget"] == "2M"
    own = [trial for trial in trials if "imported_from" not in trial.user_attrs]
    assert [trial.state for trial in own] == [OptunaState.COMPLETE] * 10
    assert hpo.json("status", study["name"])["trials"]["complete"] == 10
    again = hpo.json("phase2", "base", "--param-budget", "2M")
    assert (again["studies"][0]["imported"], again["studies"][0]["cap"]) == (study["imported"], 10)


def test_calling_it_again_or_twice_at_once_makes_one_set(hpo: Command) -> None:
    phase1(hpo)
    processes = [hpo.start("phase2", "base", "--workers", "0", "--json") for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    first, second = (json.loads(out) for out, _ in ended)
    third = hpo.json("phase2", "base", "--workers", "0", "--trials", "99")
    assert first == second == third
    assert len(hpo.json("status")["studies"]) == 3
    for name in names(first):
        assert [trial.state for trial in optuna_trials(hpo, name)] == [OptunaState.WAITING] * 8


def test_workers_that_wait_pick_the_new_studies_up_by_themselves(hpo: Command) -> None:
    phase1(hpo)
    worker = hpo.start("worker", "--idle-exit", "15", HPO_POLL_SECONDS="60")
    hpo.json("phase2", "base", "--workers", "0", "--trials", "9")
    worker.communicate(timeout=120)
    assert worker.returncode == 0
    assert [each["state"] for each in hpo.json("status")["studies"]] == ["finished"] * 3


def test_it_refuses_too_early_and_dry_run_and_force_do_what_they_say(hpo: Command) -> None:
    phase1(hpo, workers="0")
    refused = hpo.run("phase2", "base")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "base is running" in refused.err
    assert "--force" in refused.err
    assert "no complete trial" in hpo.run("phase2", "base", "--force").err
    hpo.json("worker", "--study", "base", "--max-trials", "4")
    hpo.json("stop", "base")
    assert "base is stopped: `hpo resume base`" in hpo.run("phase2", "base").err
    planned = hpo.json("phase2", "base", "--force", "--dry-run")
    assert planned["top_budgets"] == ["2M", "750k"]
    assert len(hpo.json("status")["studies"]) == 1
    shown = hpo.run("phase2", "base", "--force", "--dry-run")
    assert "under 3 configurations" in " ".join(shown.out.split())
    assert "nothing was written" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80


def test_a_trial_under_way_elsewhere_is_waited_for_and_what_was_made_is_gone_on_with(hpo: Command) -> None:
    phase1(hpo)
    made = hpo.json("phase2", "base", "--workers", "0", "--trials", "9")
    with open_storage(load_settings({"HPO_HOME": str(hpo.home)})) as storage, storage.engine.begin() as connection:
        statement = """UPDATE hpo.trial SET state = 'running', score = NULL, worker = 'nobody'
            WHERE study = 'base' AND number IN (3, 4)"""
        connection.execute(text(statement))
        connection.execute(text("UPDATE hpo.worker SET left_at = NULL, beat_at = clock_timestamp()"))
    refused = hpo.run("phase2", "base", "--param-budget", "750k", "--workers", "0")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "2 trials of base are under way: wait until `hpo status base` shows none running" in refused.err
    assert len(hpo.json("phase2", "base", "--param-budget", "750k", "--force", "--dry-run")["studies"]) == 1
    again = hpo.json("phase2", "base", "--workers", "0")
    assert again["studies"] == made["studies"]


def test_a_second_call_says_what_was_there_and_that_its_cap_stays(hpo: Command) -> None:
    phase1(hpo)
    first = hpo.run("phase2", "base", "--param-budget", "2M", "--workers", "0")
    assert "base/phase2/2M, made" in first.out
    again = hpo.run("phase2", "base", "--param-budget", "2M", "--workers", "0")
    assert "base/phase2/2M, there already" in again.out
    assert "its cap stays" not in again.out
    other = hpo.run("phase2", "base", "--param-budget", "2M", "--workers", "0", "--trials", "99")
    assert "its cap stays 25: `hpo resume base/phase2/2M --trials 99`" in other.out


def test_a_corner_equal_to_a_trial_of_phase_1_runs_with_the_next_seed(hpo: Command) -> None:
    phase1(hpo, more="phase2: {weight_decay: [0.001, 0.1], n_heads: [4, 8], effective_batch: [64, 128]}\n")
    (study,) = hpo.json("phase2", "base", "--param-budget", "2M", "--workers", "0")["studies"]
    assert study["imported"] > 0
    trials = optuna_trials(hpo, study["name"])
    seeds: dict[str, list[int]] = {}
    for trial in trials:
        configuration = trial.params or trial.system_attrs["fixed_params"]
        seeds.setdefault(json.dumps(configuration, sort_keys=True), []).append(trial.user_attrs["seed"])
    assert any(len(equal) > 2 for equal in seeds.values())
    assert all(len(equal) == len(set(equal)) for equal in seeds.values())


def test_thresholds_of_alerts_follow_those_of_phase_1(hpo: Command) -> None:
    path = phase1(hpo)
    hpo.json("phase2", "base", "--param-budget", "2M", "--workers", "0")
    with open(path, "a") as file:
        file.write("alerts: {disk_free: 0.99}\n")
    hpo.json("run", path)
    with open_storage(load_settings({"HPO_HOME": str(hpo.home)})) as storage, storage.engine.connect() as connection:
        statement = "SELECT spec -> 'alerts' ->> 'disk_free' FROM hpo.study ORDER BY name"
        assert connection.scalars(text(statement)).all() == ["0.99", "0.99"]


def test_what_phase_2_could_not_do_is_said_before_phase_1_runs(hpo: Command) -> None:
    path = hpo.write("base.yaml", SPEC.format(trials=24))
    wrong = [
        (["--then-phase2", "--param-budget", "200M"], ["--param-budget", "200M", "750k, 2M, 20M"]),
        (["--then-phase2", "--workers", "0"], ["--then-phase2", "--workers 0"]),
        (["--then-phase2", "--supplementary"], ["--then-phase2", "--supplementary"]),
        (["--supplementary", "--budgets", "2M"], ["--supplementary", "--budgets"]),
        (["--supplementary", "--early-stop-patience", "3"], ["--early-stop-patience"]),
        (["--supplementary", "--no-forced-extremes"], ["--forced-extremes"]),
    ]
    for arguments, said in wrong:
        refused = hpo.run("run", path, *arguments)
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1), refused
        assert all(part in refused.err for part in said), refused.err
    assert list(hpo.home.iterdir()) == []


def test_a_phase_1_that_was_stopped_says_that_phase_2_was_not_begun(hpo: Command) -> None:
    path = hpo.write("base.yaml", SPEC.format(trials=24))
    hpo.json("run", path, "--workers", "0")
    hpo.json("stop", "base")
    ended = hpo.run("run", path, "--then-phase2", "--json")
    assert (ended.code, json.loads(ended.out)["state"]) == (1, "stopped")
    (said,) = ended.err.splitlines()
    assert said.startswith("Phase 2 was not begun, for base is stopped: `hpo resume base`, then `")


WRONG = [
    (["--param-budget", "200M"], ["--param-budget", "200M", "750k, 2M, 20M"]),
    (["--param-budget", "many"], ["many"]),
    (["--top-budgets", "0"], ["--top-budgets", "0"]),
    (["--trials", "5"], ["5", "8 corners"]),
    (["--trials", "0"], ["--trials", "0"]),
    (["--rank-by", "luck"], ["luck", "mean", "best"]),
    (["--workers", "some"], ["--workers", "some"]),
]


def test_wrong_input_is_one_line_and_writes_nothing(hpo: Command) -> None:
    phase1(hpo)
    for arguments, said in WRONG:
        refused = hpo.run("phase2", "base", *arguments)
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1), refused
        assert all(part in refused.err for part in said), refused.err
    assert "phase2" not in json.dumps([each["study"] for each in hpo.json("status")["studies"]])
    refused = hpo.run("phase2", "nothing-like-it")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


@pytest.mark.parametrize("how", ["then-phase2", "supplementary"])
def test_one_command_runs_both_phases(hpo: Command, how: str) -> None:
    path = hpo.write("base.yaml", SPEC.format(trials=24))
    if how == "then-phase2":
        ended = hpo.run("run", path, "--then-phase2", "--param-budget", "20M")
    else:
        hpo.json("run", path)
        ended = hpo.run("run", path, "--supplementary", "--param-budget", "20M")
    assert ended.code == 0, ended.err
    assert "budgets of base by the mean of their three best configurations" in ended.out
    assert "hpo phase2 base " not in ended.out or how == "supplementary"
    assert "base/phase2/20M: finished: the cap of 25 trials is used: 25 complete" in ended.out
    assert max(map(len, ended.out.split("next:")[0].splitlines())) <= 80
    states = {each["study"]: each["state"] for each in hpo.json("status")["studies"]}
    assert states == {"base": "finished", "base/phase2/20M": "finished"}
