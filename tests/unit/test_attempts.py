"""Whether a trial is tried again, and as what."""

from typing import Any

import optuna
import pytest
from plain_tpe import plain_study

from hpo.attempts import Attempts, final_state, judgement
from hpo.records import Cause, Origin, TrialRecord, TrialState
from studies.declaration import architecture_values, declare, derive
from studies.spec import Spec

SPEC = Spec.model_validate({"name": "s", "objective": "m:f", "training": {"effective_batch": 12}, "max_attempts": 2})
PARAMS = {"budget": "750k", "style": "deep", "dropout": 0.5, "learning_rate": 1e-4, "weight_decay": 0.0}


def attempts(spec: Spec = SPEC) -> Attempts:
    return Attempts(declare(spec), spec.max_attempts, architecture_values(spec))


def trial(**values: Any) -> TrialRecord:
    known = {
        "number": 1,
        "slot": 1,
        "turn": 1,
        "attempt": 1,
        "origin": Origin.SAMPLED,
        "params": PARAMS,
        "seed": 1,
        "state": TrialState.RUNNING,
        "attributes": derive(PARAMS, architecture_values(SPEC)),
    }
    return TrialRecord(**{**known, **values})


def test_memory_halves_the_micro_batch_until_it_is_one_and_then_gives_up() -> None:
    rule, now, seen = attempts(), trial(), []
    while rule.runs_again(now, Cause.OUT_OF_MEMORY):
        now = rule.successor(now, Cause.OUT_OF_MEMORY)
        values = rule.values(now)
        seen.append((values["effective_batch"], values["micro_batch"], values["accumulation"]))
        assert {key: now.attributes[key] for key in ("micro_batch", "accumulation")} == {
            key: values[key] for key in ("micro_batch", "accumulation")
        }
    assert seen == [(12, 6, 2), (12, 3, 4), (12, 1, 12)]
    assert (now.attempt, now.turn, now.attributes["memory_retries"]) == (4, 4, 3)
    assert {key: rule.values(now)[key] for key in PARAMS} == PARAMS


def test_running_out_of_memory_uses_up_no_attempt() -> None:
    rule = attempts()
    smaller = rule.successor(rule.successor(trial(), Cause.OUT_OF_MEMORY), Cause.OUT_OF_MEMORY)
    assert rule.runs_again(smaller, Cause.FAILED)
    again = rule.successor(smaller, Cause.FAILED)
    assert not rule.runs_again(again, Cause.FAILED)
    assert rule.values(again)["micro_batch"] == 3, "it stays as small as it had to become"


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (None, TrialState.COMPLETE),
        (Cause.FAILED, TrialState.FAILED),
        (Cause.DIVERGED, TrialState.FAILED),
        (Cause.PRUNED, TrialState.PRUNED),
        (Cause.OUT_OF_MEMORY, TrialState.FAILED),
    ],
)
def test_what_fits_no_memory_has_failed_and_is_infeasible(cause: Cause | None, state: TrialState) -> None:
    assert final_state(cause) is state
    assert bool(judgement(cause)) is (cause is Cause.OUT_OF_MEMORY)


def test_the_sampler_is_told_by_a_constraint_and_keeps_away() -> None:
    space = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}

    def record(number: int, x: float, **values: Any) -> TrialRecord:
        return trial(number=number, slot=number, params={"x": x}, attributes={}, **values)

    # The score rises with x, and above 0.5 nothing fits.
    complete = [record(n, n / 40, state=TrialState.COMPLETE, score=n / 40) for n in range(20)]
    beyond = [record(20 + n, 0.5 + n / 40, state=TrialState.FAILED, cause=Cause.OUT_OF_MEMORY) for n in range(1, 20)]
    infeasible = [TrialRecord(**{**vars(each), "attributes": judgement(Cause.OUT_OF_MEMORY)}) for each in beyond]
    study = plain_study([*complete, *infeasible], space, "maximize", 1)
    assert [trial.constraints for trial in study.get_trials()] == [{}] * 20 + [{"memory": 1.0}] * 19
    proposed = [
        plain_study([*complete, *infeasible], space, "maximize", seed).ask(space).params["x"] for seed in range(20)
    ]
    assert sum(x > 0.6 for x in proposed) <= 3


def test_a_late_score_keeps_the_batch_that_it_was_reached_with() -> None:
    rule = attempts()
    first = rule.successor(trial(), Cause.OUT_OF_MEMORY)
    second = rule.successor(first, Cause.OUT_OF_MEMORY)
    found = {**second.attributes, **rule.as_run(first, second)}
    assert (found["micro_batch"], found["accumulation"]) == (6, 2)
    assert found["made_lighter"] == first.attributes["made_lighter"]
    assert rule.as_run(first, rule.successor(first, Cause.LOST)) == {}
