"""When a search counts as converged, edge by edge."""

import json
import math
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.errors import InputError
from hpo.convergence import Convergence, check_early_stopping_convergence

FLAT = [0.70] * 15 + [0.71, 0.712, 0.714, 0.716, 0.718]
FINITE = st.floats(min_value=-1e6, max_value=1e6)


def test_a_flat_top_after_enough_trials_has_converged() -> None:
    verdict = check_early_stopping_convergence(FLAT)
    assert verdict
    assert verdict.converged
    assert verdict.complete == 20
    assert verdict.best == (0.718, 0.716, 0.714, 0.712, 0.71)
    assert verdict.spread == pytest.approx(0.008)
    assert verdict.reason == "the best 5 lie within 0.008, at most 0.02"


def test_the_defaults_are_patience_20_threshold_two_hundredths_and_the_best_five() -> None:
    verdict = check_early_stopping_convergence([])
    assert (verdict.patience, verdict.threshold, verdict.top_k) == (20, 0.02, 5)


def test_patience_threshold_and_top_k_may_be_given_by_position() -> None:
    verdict = check_early_stopping_convergence([0.5, 0.6, 0.7], 3, 0.1, 2)
    assert verdict
    assert (verdict.patience, verdict.threshold, verdict.top_k) == (3, 0.1, 2)


def test_nothing_complete_has_not_converged() -> None:
    verdict = check_early_stopping_convergence([])
    assert not verdict
    assert (verdict.complete, verdict.best, verdict.spread) == (0, (), None)
    assert verdict.reason == "0 of 20 trials needed are complete"


def test_one_trial_fewer_than_the_patience_is_too_few() -> None:
    verdict = check_early_stopping_convergence(FLAT[1:])
    assert not verdict
    assert verdict.reason == "19 of 20 trials needed are complete"


def test_a_patience_above_the_cap_is_never_reached() -> None:
    cap = 70
    assert not check_early_stopping_convergence([0.7] * cap, patience=cap + 1)
    assert check_early_stopping_convergence([0.7] * cap, patience=cap)


@pytest.mark.parametrize("low", [0.70, 0.71, 0.50, 0.98, 0.0, -0.02, 100.0])
def test_a_spread_equal_to_the_threshold_has_converged_in_spite_of_binary_fractions(low: float) -> None:
    assert check_early_stopping_convergence([low] * 4 + [low + 0.02], patience=5)


def test_the_case_that_binary_fractions_get_wrong_is_among_those() -> None:
    assert 0.72 - 0.70 > 0.02
    assert check_early_stopping_convergence([0.70, 0.72], 2, 0.02, 2)


def test_a_spread_just_above_the_threshold_has_not_converged_and_the_sentence_shows_the_difference() -> None:
    verdict = check_early_stopping_convergence([0.70] * 4 + [0.7200001], patience=5)
    assert not verdict
    assert verdict.reason == "the best 5 lie within 0.0200001, more than 0.02"


def test_a_spread_well_above_the_threshold_is_named_in_three_digits() -> None:
    verdict = check_early_stopping_convergence([0.70, 0.71, 0.715, 0.72, 0.7312345], patience=5)
    assert verdict.reason == "the best 5 lie within 0.0312, more than 0.02"


def test_a_threshold_of_zero_asks_for_equal_scores() -> None:
    assert check_early_stopping_convergence([0.7, 0.7], 2, 0.0, 2)
    assert not check_early_stopping_convergence([0.7, 0.7001], 2, 0.0, 2)


def test_only_the_best_count_and_the_rest_may_lie_anywhere() -> None:
    assert check_early_stopping_convergence([-1e9, 0.1, *FLAT])


def test_equal_configurations_count_once() -> None:
    scores = [0.73] * 5 + [0.70] + [0.6] * 14
    keys = ["repeated"] * 5 + [f"other {i}" for i in range(15)]
    assert check_early_stopping_convergence(scores), "five rows alone look like convergence"
    verdict = check_early_stopping_convergence(scores, configurations=keys)
    assert not verdict
    assert verdict.best == (0.73, 0.70, 0.6, 0.6, 0.6)
    assert verdict.complete == 20, "repeats are complete trials nevertheless"


def test_equal_configurations_score_their_mean_and_not_their_luckiest_seed() -> None:
    verdict = check_early_stopping_convergence([0.80, 0.70, 0.74], 3, 0.02, 2, configurations=["a", "b", "a"])
    assert verdict.best == (0.77, 0.70)


def test_a_failed_repeat_leaves_the_mean_of_its_configuration_alone() -> None:
    verdict = check_early_stopping_convergence([0.7, None, 0.7], 2, 0.02, 2, configurations=["a", "a", "b"])
    assert verdict.best == (0.7, 0.7)


def test_configurations_may_be_any_hashable_thing() -> None:
    keys: list[Hashable] = [("2M", 0.5), ("2M", 0.3), frozenset({("budget", "2M")})]
    assert check_early_stopping_convergence([0.7, 0.7, 0.7], 3, 0.02, 3, configurations=keys)


def test_fewer_distinct_configurations_than_top_k_have_not_converged() -> None:
    keys = [i % 4 for i in range(20)]
    verdict = check_early_stopping_convergence([0.7] * 20, configurations=keys)
    assert not verdict
    assert verdict.spread is None
    assert verdict.best == (0.7,) * 4
    assert verdict.reason == "4 of 5 distinct configurations needed are complete"


def test_a_top_k_above_the_patience_waits_for_its_scores() -> None:
    assert not check_early_stopping_convergence([0.7] * 4, patience=3)
    assert check_early_stopping_convergence([0.7] * 5, patience=3)


@pytest.mark.parametrize("absent", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_trials_without_a_finite_score_count_for_nothing(absent: float | None, direction: str) -> None:
    alone = check_early_stopping_convergence(FLAT[1:], direction=direction)
    with_absent = check_early_stopping_convergence([absent, *FLAT[1:], absent], direction=direction)
    assert with_absent == alone
    assert with_absent.complete == 19


def test_an_open_forced_trial_keeps_the_search_open() -> None:
    verdict = check_early_stopping_convergence(FLAT, open_forced=1)
    assert not verdict
    assert verdict.reason == "1 forced trial has not ended"
    assert check_early_stopping_convergence(FLAT, open_forced=2).reason == "2 forced trials have not ended"


def test_an_open_search_shows_its_best_all_the_same() -> None:
    verdict = check_early_stopping_convergence(FLAT, open_forced=2)
    assert verdict.best == (0.718, 0.716, 0.714, 0.712, 0.71)
    assert verdict.spread == pytest.approx(0.008)


def test_minimize_takes_the_lowest_scores_as_the_best() -> None:
    losses = [3.0, 0.31, 2.0, 0.30]
    verdict = check_early_stopping_convergence(losses, 4, 0.02, 2, direction="minimize")
    assert verdict
    assert verdict.best == (0.30, 0.31)
    assert not check_early_stopping_convergence(losses, 4, 0.02, 2, direction="maximize")


def test_a_spread_below_the_noise_between_seeds_is_noted_in_evidence_and_sentence() -> None:
    verdict = check_early_stopping_convergence(FLAT, seed_noise=0.015)
    assert verdict.evidence()["below_seed_noise"] is True
    assert verdict.evidence()["seed_noise"] == 0.015
    assert verdict.reason == "the best 5 lie within 0.008, at most 0.02, and below the noise of 0.015 between seeds"


@pytest.mark.parametrize("noise", [None, 0.001])
def test_without_a_noise_above_the_spread_nothing_is_said_to_be_below_it(noise: float | None) -> None:
    verdict = check_early_stopping_convergence(FLAT, seed_noise=noise)
    assert "below_seed_noise" not in verdict.evidence()
    assert "noise" not in verdict.reason


def test_the_noise_is_in_the_evidence_wherever_it_is_known() -> None:
    assert check_early_stopping_convergence(FLAT, seed_noise=0.001).evidence()["seed_noise"] == 0.001
    assert "seed_noise" not in check_early_stopping_convergence(FLAT).evidence()


def test_a_spread_equal_to_the_noise_is_not_below_it() -> None:
    verdict = check_early_stopping_convergence([0.5, 0.75], 2, 1.0, 2, seed_noise=0.25)
    assert not verdict.below_seed_noise
    assert "noise" not in verdict.reason


def test_the_noise_changes_no_verdict() -> None:
    wide = [0.70, 0.71, 0.715, 0.72, 0.74]
    assert not check_early_stopping_convergence(wide, patience=5, seed_noise=0.5)
    assert check_early_stopping_convergence(FLAT, seed_noise=0.0)


def test_the_evidence_is_json_with_every_number_of_the_rule() -> None:
    evidence = check_early_stopping_convergence([0.5, 0.75], 2, 0.5, 2).evidence()
    assert json.loads(json.dumps(evidence)) == {
        "count": 2,
        "scores": [0.75, 0.5],
        "spread": 0.25,
        "threshold": 0.5,
        "patience": 2,
        "top_k": 2,
    }


def test_the_evidence_of_an_empty_search_is_json_too() -> None:
    evidence = check_early_stopping_convergence([]).evidence()
    assert json.loads(json.dumps(evidence, allow_nan=False))["spread"] is None


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({"patience": 0}, "0"),
        ({"threshold": -0.01}, "-0.01"),
        ({"threshold": math.nan}, "nan"),
        ({"threshold": math.inf}, "inf"),
        ({"top_k": 1}, "1"),
        ({"open_forced": -1}, "-1"),
        ({"direction": "up"}, "'up'"),
        ({"configurations": ["a", "b"]}, "2 for 1"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line_that_names_it(arguments: dict[str, object], value: str) -> None:
    with pytest.raises(InputError) as refused:
        check_early_stopping_convergence([0.7], **arguments)  # type: ignore[arg-type]
    assert value in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_smallest_legal_arguments_are_accepted() -> None:
    assert isinstance(check_early_stopping_convergence([0.7], 1, 0.0, 2, open_forced=0), Convergence)


def test_huge_equal_scores_do_not_overflow_in_the_mean() -> None:
    verdict = check_early_stopping_convergence([1e308, 1e308, 1e308], 1, 0.0, 2, configurations=["a", "a", "b"])
    assert verdict.best == (1e308, 1e308)


@given(st.lists(FINITE, min_size=2, max_size=30), st.floats(min_value=0, max_value=10), st.data())
def test_the_order_of_trials_does_not_matter(scores: list[float], threshold: float, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(scores))
    assert check_early_stopping_convergence(scores, 2, threshold, 2) == check_early_stopping_convergence(
        shuffled, 2, threshold, 2
    )


@given(st.lists(FINITE, max_size=30), st.integers(1, 30), st.floats(min_value=0, max_value=10))
def test_minimizing_is_maximizing_the_negative(scores: list[float], patience: int, threshold: float) -> None:
    up = check_early_stopping_convergence(scores, patience, threshold, 3)
    down = check_early_stopping_convergence([-s for s in scores], patience, threshold, 3, direction="minimize")
    assert (up.converged, up.reason, up.best) == (down.converged, down.reason, tuple(-s for s in down.best))


@given(st.lists(FINITE, max_size=30), st.floats(min_value=0, max_value=10), st.floats(min_value=0, max_value=10))
def test_a_wider_threshold_never_undoes_convergence(scores: list[float], one: float, two: float) -> None:
    narrow, wide = sorted([one, two])
    if check_early_stopping_convergence(scores, 3, narrow, 3):
        assert check_early_stopping_convergence(scores, 3, wide, 3)
