"""Which trials may become members: distinct configurations, ranked by the mean over their seeds."""

from typing import Any

from hpo.ensemble_choice import Source, rank_configurations, reason_for
from hpo.records import Origin, StudyRecord, StudyState, TrialRecord, TrialState
from studies.spec import Spec

SHAPE = {"d_model": 192, "n_layers": 2, "n_heads": 4, "effective_batch": 64}


def make_source(name: str = "s", **values: Any) -> Source:
    spec = Spec.model_validate({"name": "s", **values})
    record = StudyRecord(name, 1, spec.as_json(), "", {}, 70, StudyState.RUNNING, "", {}, convergence_off=False)
    return Source(record, spec)


def make_trial(number: int, score: float | None, rate: float = 1e-4, **values: Any) -> TrialRecord:
    params = {"budget": "750k", "dropout": 0.5, "learning_rate": rate, "weight_decay": 0.0}
    given = {"slot": number, "turn": 1, "attempt": 1, "origin": Origin.SAMPLED, "params": params, "seed": 1}
    state = TrialState.COMPLETE if score is not None else TrialState.FAILED
    return TrialRecord(number, **{**given, "state": state, "score": score, "attributes": SHAPE, **values})


def test_configurations_come_the_best_first_and_failures_not_at_all() -> None:
    source = make_source()
    trials = [make_trial(0, 0.6, 1e-4), make_trial(1, None, 2e-4), make_trial(2, 0.7, 3e-4), make_trial(3, 0.7, 4e-4)]
    ranked = rank_configurations([(source, trials)])
    assert [each.trials[0][1].number for each in ranked] == [2, 3, 0]


def test_a_lucky_seed_lifts_its_configuration_by_its_share_of_the_mean_alone() -> None:
    seeds = [make_trial(0, 0.60), make_trial(5, 0.74, seed=2), make_trial(6, 0.61, seed=3)]
    steady = make_trial(1, 0.66, 3e-4)
    ranked = rank_configurations([(make_source(), [*seeds, steady])])
    assert [each.trials[0][1].number for each in ranked] == [1, 0]
    assert round(ranked[1].score, 6) == 0.65
    assert [trial.number for _, trial in ranked[1].trials] == [0, 5, 6]


def test_the_same_configuration_in_phase_2_is_no_second_member() -> None:
    params = {"n_heads_log2": 2, "learning_rate": 1e-4, "weight_decay": 0.0, "effective_batch_log2": 6}
    corner = make_trial(0, 0.62, params=params, attributes={**SHAPE, "dropout": 0.5})
    other = make_trial(1, 0.61, params=params, attributes={**SHAPE, "dropout": 0.5, "n_heads": 8})
    ranked = rank_configurations(
        [(make_source(), [make_trial(0, 0.6)]), (make_source("s/phase2/750k"), [corner, other])]
    )
    assert [len(each.trials) for each in ranked] == [2, 1] or [len(each.trials) for each in ranked] == [1, 2]


def test_what_is_missing_is_said_with_its_remedy() -> None:
    source = make_source(keep_weights=3)
    elsewhere = make_trial(7, 0.6, worker="gpu-box-1-4711-a1b2c3")
    assert "trained on gpu-box-1; copy HPO_HOME/artifacts/s/00007" in reason_for(source, elsewhere, "here", ["x", "y"])
    here = make_trial(7, 0.6, worker="here-4711-a1b2c3")
    assert "best 3 trials (keep_weights)" in reason_for(source, here, "here", ["weights.ckpt"])
