"""Which trials are hopeless: never one that somebody asked for, never within the noise, never too early."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from plain_tpe import plain_study

from hpo.pruning import Curve, PruningRule, may_be_pruned, stored_curve
from hpo.records import Origin, TrialRecord, TrialState
from studies.declaration import declare
from studies.errors import SpecError
from studies.reading import read_spec
from studies.spec import Spec

RULE = PruningRule(50, 0.03, None, min_trials=5, patience=2, direction="maximize")
STEPS = range(10, 100, 10)


def curve(*values: float, every: int = 10, direction: str = "maximize") -> Curve:
    found = Curve()
    for place, value in enumerate(values, 1):
        found = found.after(place * every, value, direction)  # type: ignore[arg-type]
    return found


def flat(value: float, looks: int = 9) -> Curve:
    return curve(*[value] * looks)


PEERS = [flat(0.70 + number / 1000) for number in range(10)]


def looks_of(found: Curve, steps: Sequence[int]) -> list[tuple[int, float]]:
    return [(step, value) for step in steps if (value := found.at(step)) is not None]


def test_a_trial_far_behind_its_peers_at_two_looks_is_hopeless_and_the_verdict_says_why() -> None:
    verdict = RULE.judge([(30, 0.50), (40, 0.52)], PEERS)
    assert verdict is not None
    assert str(verdict) == (
        "pruned at step 40: 0.52 at best, where 10 of 10 comparable trials were ahead by more than 0.03"
    )


def test_one_bad_look_is_forgiven() -> None:
    assert RULE.judge([(30, 0.70), (40, 0.70)], PEERS) is None
    assert RULE.judge([(40, 0.50)], PEERS) is None
    assert replace(RULE, patience=1).judge([(40, 0.50)], PEERS) is not None


def test_within_the_noise_nobody_is_hopeless() -> None:
    # The worst of all, and behind the best by 0.034: but by more than 0.03 it is behind four of ten alone.
    assert RULE.judge([(30, 0.675), (40, 0.675)], PEERS) is None
    assert replace(RULE, tolerance=0.0).judge([(30, 0.675), (40, 0.675)], PEERS) is not None


def test_equal_trials_are_never_behind_each_other_even_without_a_tolerance() -> None:
    equal = [flat(0.7)] * 20
    assert replace(RULE, tolerance=0.0).judge([(30, 0.7), (40, 0.7)], equal) is None


def test_of_nothing_but_noise_hardly_any_trial_is_pruned() -> None:
    # The interval of a validation AUC is ±0.03, two standard deviations, and here nothing else tells trials apart.
    drawn, pruned = np.random.default_rng(1), 0
    for _ in range(200):
        peers = [flat(value) for value in drawn.normal(0.70, 0.015, 20)]
        own = flat(float(drawn.normal(0.70, 0.015)))
        pruned += RULE.judge(looks_of(own, [30, 40]), peers) is not None
    naive = replace(RULE, tolerance=0.0)
    of_naive = sum(
        naive.judge([(40, own), (50, own)], [flat(value) for value in drawn.normal(0.70, 0.015, 20)]) is not None
        for own in drawn.normal(0.70, 0.015, 200)
    )
    assert pruned <= 12
    assert of_naive >= 70, "which is what the tolerance is for: half of equal trials would be killed at random"


def test_nobody_is_judged_in_the_warm_up() -> None:
    hopeless = [(10, 0.50), (20, 0.50)]
    assert RULE.judge(hopeless, PEERS) is None, "a third of the longest, 90 steps, is warm-up"
    assert RULE.judge([(20, 0.50), (30, 0.50)], PEERS) is None, "of two looks both must lie behind it"
    assert RULE.judge([(30, 0.50), (40, 0.50)], PEERS) is not None
    assert replace(RULE, warmup_steps=10).judge(hopeless, PEERS) is not None
    assert replace(RULE, warmup_steps=50).judge([(30, 0.50), (40, 0.50)], PEERS) is None


def test_at_its_last_step_a_trial_is_let_go_on() -> None:
    assert RULE.judge([(80, 0.50), (90, 0.50)], PEERS) is None


def test_of_few_peers_nobody_learns_who_is_hopeless() -> None:
    assert RULE.judge([(30, 0.50), (40, 0.50)], PEERS[:4]) is None
    assert RULE.judge([(30, 0.50), (40, 0.50)], PEERS[:5]) is not None
    assert RULE.judge([(30, 0.50), (40, 0.50)], []) is None


def test_peers_are_compared_at_the_same_step_or_the_last_before_it() -> None:
    # They end at 0.9, but at step 40 they stood where this trial stands.
    late = [curve(0.5, 0.5, 0.5, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9)] * 10
    assert RULE.judge([(30, 0.50), (40, 0.50)], late) is None
    assert RULE.judge([(50, 0.50), (60, 0.50)], late) is not None
    # Looks at other steps: 45 is after their look at 40 and before that at 50.
    assert RULE.judge([(35, 0.50), (45, 0.50)], late) is None
    # Who looks for the first time later can't be compared.
    assert RULE.judge([(30, 0.50), (40, 0.50)], [Curve(((50, 0.9), (90, 0.9)))] * 10) is None


def test_a_pruned_trial_stays_a_peer_so_that_the_threshold_does_not_creep() -> None:
    pruned = [curve(0.50, 0.50, 0.50, 0.50)] * 11
    assert RULE.judge([(50, 0.55), (60, 0.55)], PEERS) is not None
    assert RULE.judge([(50, 0.55), (60, 0.55)], [*PEERS, *pruned]) is None


def test_a_score_to_be_minimized_is_hopeless_above_its_peers() -> None:
    rule = replace(RULE, direction="minimize")
    peers = [curve(*[0.3 + number / 1000] * 9, direction="minimize") for number in range(10)]
    assert rule.judge([(30, 0.50), (40, 0.50)], peers) is not None
    assert rule.judge([(30, 0.10), (40, 0.10)], peers) is None


def test_a_curve_is_the_best_so_far_and_keeps_only_where_that_changed() -> None:
    found = curve(0.5, 0.7, 0.6, 0.6, 0.6)
    assert found.points == ((10, 0.5), (20, 0.7), (50, 0.7))
    assert [found.at(step) for step in (9, 10, 19, 20, 35, 999)] == [None, 0.5, 0.5, 0.7, 0.7, 0.7]
    assert curve(0.5, 0.7, 0.4, direction="minimize").points == ((10, 0.5), (30, 0.4))
    assert stored_curve(found.as_attributes()["best_so_far"]) == found
    assert (stored_curve(None), Curve().as_attributes()) == (Curve(), {})


def test_a_curve_of_many_looks_stays_short_and_never_says_more_than_was_reached() -> None:
    found = curve(*[step / 10_000 for step in range(1, 5001)], every=1)
    assert len(found.points) <= 400
    assert all(found.at(step) <= step / 10_000 for step in range(1, 5001) if found.at(step) is not None)  # type: ignore[operator]
    assert (found.at(5000), found.at(1)) == (0.5, 0.0001)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_and_what_comes_again_changes_no_curve(value: float) -> None:
    found = curve(0.5, 0.6)
    assert found.after(30, value, "maximize") == found
    assert found.after(20, 0.9, "maximize") == found


SPEC = Spec.model_validate({"name": "s", "budgets": ["750k"], "pruning": {"enabled": True}})


def record(number: int = 1, **values: object) -> TrialRecord:
    params = {"budget": "750k", "style": "deep", "dropout": 0.5, "learning_rate": 1e-4, "weight_decay": 0.0}
    known = TrialRecord(number, number, 1, 1, Origin.SAMPLED, params, 1, TrialState.RUNNING)
    return replace(known, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("origin", list(Origin))
def test_only_what_a_sampler_proposed_may_be_pruned(origin: Origin) -> None:
    assert may_be_pruned(record(origin=origin), 1) is (origin is Origin.SAMPLED)


def test_a_proposal_that_repeats_a_configuration_with_another_seed_is_not_pruned() -> None:
    assert not may_be_pruned(record(seed=2), 1)


def test_trials_are_compared_within_their_budget_and_in_phase_2_within_the_study() -> None:
    assert declare(SPEC).compared_within == "budget"
    assert declare(Spec.model_validate({"name": "s", "objective": "m:f"})).compared_within == "budget"


def test_the_sampler_ranks_pruned_trials_by_how_far_they_came_and_how_well_and_below_the_complete_ones() -> None:
    complete = record(0, state=TrialState.COMPLETE, score=0.1)
    pruned = [
        record(number, state=TrialState.PRUNED, attributes=curve(*values).as_attributes())
        for number, values in enumerate([(0.5, 0.6), (0.5, 0.7, 0.7), (0.8,)], 1)
    ]
    study = plain_study([complete, *pruned], declare(SPEC).space, "maximize", 1)
    looks = [trial.intermediate_values for trial in study.trials]
    assert looks == [{}, {20: 0.6}, {30: 0.7}, {10: 0.8}]


def test_pruning_is_off_unless_it_is_asked_for_and_its_defaults_are_patient() -> None:
    plain = Spec.model_validate({"name": "s"})
    assert plain.pruning.enabled is False
    rule = PruningRule.of(SPEC)
    assert (rule.percentile, rule.tolerance, rule.warmup_steps, rule.min_trials, rule.patience) == (
        50,
        0.03,
        None,
        5,
        2,
    )
    pruning = Spec.model_validate({"name": "s", "pruning": {"enabled": True}})
    assert plain.fingerprint != pruning.fingerprint, "it decides which trials are complete"


@pytest.mark.parametrize(
    ("pruning", "said"),
    [
        ("{enabled: true, percentile: 0}", "pruning.percentile should be greater than 0, not 0"),
        ("{enabled: true, min_trials: 1}", "pruning.min_trials should be greater than or equal to 2, not 1"),
        ("{enabled: true, tolerance: -1}", "pruning.tolerance should be greater than or equal to 0, not -1"),
        ("{enabled: true, patience: 0}", "pruning.patience should be greater than or equal to 1, not 0"),
        ("{enable: true}", "unknown key 'pruning.enable', did you mean 'enabled'?"),
    ],
)
def test_a_mistake_in_the_key_is_one_line_with_its_place(tmp_path: object, pruning: str, said: str) -> None:
    path = tmp_path / "study.yaml"  # type: ignore[operator]
    path.write_text(f"name: mine\npruning: {pruning}\n")
    with pytest.raises(SpecError) as refused:
        read_spec(str(path))
    assert said in str(refused.value)
    assert "study.yaml line 2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_whose_noise_nobody_knows_is_not_pruned_without_a_tolerance() -> None:
    given = {"objective": "m:f", "metric": "sharpe"}
    with pytest.raises(SpecError, match="pruning needs a tolerance for metric sharpe, whose noise nobody knows"):
        read_spec("quickstart", {**given, "pruning": {"enabled": True}})
    spec = read_spec("quickstart", {**given, "pruning": {"enabled": True, "tolerance": 0.2}})
    assert spec.pruning_tolerance == 0.2
    assert read_spec("quickstart", {**given, "metric": "auc", "pruning": {"enabled": True}}).pruning_tolerance == 0.03
