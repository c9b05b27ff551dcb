"""What a study cannot tell is said, with what that means."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest

from hpo.records import StudyRecord, StudyState
from hpo.report.evidence import Evidence, Kind, Trial, evidence_of
from hpo.report.limits import limits

BEGAN = datetime(2026, 1, 1)


def trial(number: int, score: float | None = 0.5, **changes: Any) -> Trial:
    """A trial of another tool, of a minute, with a configuration of its own."""
    made = Trial(
        study="s",
        number=number,
        kind=Kind.UNKNOWN,
        state="failed" if score is None else "complete",
        score=score,
        params={"x": number},
        began=BEGAN,
        ended=BEGAN + timedelta(seconds=60),
    )
    return replace(made, **changes)


def foreign(*trials: Trial, size_name: str = "") -> Evidence:
    return Evidence("s", "maximize", "score", trials, size_name=size_name)


def own(*trials: Trial, state: StudyState = StudyState.FINISHED) -> Evidence:
    record = StudyRecord("s", 1, {}, "", {}, 10, state, "", {}, False)
    known = tuple(replace(each, kind=Kind.SAMPLED, attributes={"seconds": 1.0, **each.attributes}) for each in trials)
    return Evidence("s", "maximize", "score", known, record, size_name="exact_params")


def said(evidence: Evidence, about: str) -> str:
    return " ".join(limit.sentence for limit in limits(evidence) if limit.about == about)


def test_a_foreign_study_without_seeds_size_or_attributes_says_what_that_means() -> None:
    found = foreign(*(trial(number, number / 100) for number in range(1, 21)))
    assert said(found, "noise").startswith("No configuration was repeated with another seed: the noise is unknown")
    assert said(found, "size").startswith("The size of a trial is unknown: no scaling law; name what it is with --size")
    assert "numeric are x" in said(found, "size")
    assert said(found, "choice").startswith("Who chose 20 trials, a person or a sampler, is not recorded.")
    assert "The best of 20 trials is optimistic" in said(found, "data")
    assert "by the clock alone" in said(found, "cost")
    assert not said(found, "trials") + said(found, "state") + said(found, "failures") + said(found, "repeats")


def test_a_study_of_the_service_with_seeds_and_sizes_says_only_what_its_best_rows_are() -> None:
    trials = [
        trial(2 * x + seed, 0.5 + x / 100 + seed / 1000, params={"x": x}, size=10.0**x, attributes={"seed": seed})
        for x in range(12)
        for seed in range(2)
    ]
    (limit,) = limits(own(*trials))
    assert limit.sentence.startswith("The five best rows are three configurations")


def test_a_study_without_trials_says_that_alone() -> None:
    (limit,) = limits(foreign())
    assert limit.sentence == "s has no trial: there is nothing to conclude."


def test_three_trials_are_few() -> None:
    found = foreign(*(trial(number) for number in range(3)))
    assert said(found, "trials").startswith("Only 3 trials of 3 distinct configurations are complete")
    assert said(foreign(trial(0)), "trials").startswith("Only 1 trial of 1 distinct configuration is complete")


def test_thirty_rows_of_three_configurations_are_few() -> None:
    found = foreign(*(trial(number, 0.5, params={"x": number % 3}) for number in range(30)))
    assert "Only 30 trials of 3 distinct configurations" in said(found, "trials")
    assert "27 of 30 complete trials repeat an earlier one" in said(found, "repeats")
    assert "The five best rows are three configurations" in said(found, "repeats")
    assert said(found, "noise").startswith("No configuration was repeated with another seed")


def test_all_failed_says_so_and_nothing_of_scores() -> None:
    assert said(foreign(*(trial(n, None) for n in range(4))), "trials").startswith(
        "All 4 trials that have ended failed"
    )
    assert "look the same" in said(foreign(trial(0, None)), "trials")
    assert "`hpo status s --failures` says why" in said(own(trial(0, None)), "trials")
    assert {limit.about for limit in limits(foreign(trial(0, None), trial(1, None)))} == {"trials"}


def test_nothing_complete_yet_says_so() -> None:
    assert said(foreign(trial(0, None, state="running")), "trials") == (
        "No trial is complete: there is no score, and nothing to compare."
    )


def test_a_running_study_says_so() -> None:
    running = trial(20, None, state="running")
    assert said(own(trial(0), running, state=StudyState.RUNNING), "state").startswith("The study is still running")
    assert said(own(trial(0)), "state") == ""
    assert "1 of its trials are running and 0 waiting" in said(foreign(trial(0), running), "state")
    assert "or a worker has died" in said(foreign(trial(0), running), "state")


def test_many_failures_and_pruned_trials_are_told() -> None:
    found = foreign(*(trial(n) for n in range(8)), *(trial(n, None) for n in range(8, 10)))
    assert said(found, "failures").startswith("2 of 10 ended trials failed")
    few = foreign(*(trial(n) for n in range(19)), trial(19, None))
    assert said(few, "failures") == ""
    pruned = foreign(*(trial(n) for n in range(9)), trial(9, None, state="pruned"))
    assert said(pruned, "failures").startswith("1 trial was pruned: their last values are no scores")


def test_scores_of_nan_and_infinity_are_told() -> None:
    found = foreign(*(trial(n) for n in range(30)), trial(30, None, no_score=math.inf))
    assert said(found, "failures") == (
        "1 complete trial has reported NaN or infinity: that is no score, and counts as a failure."
    )


def test_noise_without_seeds_is_a_guess() -> None:
    found = foreign(*(trial(n, 0.5 + n / 1000, params={"x": n // 2}) for n in range(30)))
    assert "the noise between seeds is a guess" in said(found, "noise")
    assert "15 configurations ran again and scored differently" in said(found, "repeats")


def test_one_size_two_sizes_and_missing_sizes_are_told() -> None:
    one = foreign(*(trial(n, size=2e6) for n in range(12)), size_name="n")
    assert said(one, "size") == "All trials are of one size: no scaling law, which takes 3 sizes at least."
    assert "of 2 sizes" in said(foreign(*(trial(n, size=1.0 + n % 2) for n in range(12)), size_name="n"), "size")
    some = foreign(*(trial(n, size=float(n) if n > 2 else None) for n in range(12)), size_name="n")
    assert said(some, "size").startswith("3 of 12 complete trials say no size in n: they are left out")


def test_shapes_of_one_budget_are_one_size() -> None:
    shapes = [trial(n, size=1e6 + n % 4, attributes={"budget": "750k"}) for n in range(12)]
    assert said(foreign(*shapes, size_name="exact_params"), "size").startswith("All trials are of one size")


def test_a_missing_cost_is_told() -> None:
    assert said(foreign(trial(0, began=None)), "cost").startswith("No trial says how long it took")
    assert said(foreign(trial(0, ended=BEGAN)), "cost").startswith("All trials end as they begin")
    assert said(foreign(trial(0, attributes={"seconds": 3.0})), "cost") == ""


def test_queued_trials_are_told_from_those_of_unknown_choice() -> None:
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"x": 0.5})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    found = evidence_of(study)
    assert [each.kind for each in found.trials] == [Kind.ENQUEUED, Kind.UNKNOWN, Kind.UNKNOWN]
    assert "Who chose 2 trials" in said(found, "choice")
    assert "but for 1 trial that somebody has queued" in said(found, "choice")


@pytest.mark.parametrize("evidence", [foreign(), foreign(trial(0)), foreign(trial(0, None)), own(trial(0))])
def test_every_limit_ends_with_a_full_stop(evidence: Evidence) -> None:
    assert all(limit.sentence.endswith(".") and "\n" not in limit.sentence for limit in limits(evidence))
