"""Which configuration is trained again, when, and with which seed."""

from dataclasses import replace

import pytest

from hpo.records import Origin, TrialRecord, TrialState
from hpo.repeats import Repeat, Repeats, Role, Step, fresh_seed, once_each

RULE = Repeats(seeds=3, first_seed=1, direction="maximize", has_reference=True)
WAITS = Step(holds=True)


def trial(
    number: int, x: float, score: float | None = None, origin: Origin = Origin.SAMPLED, **more: object
) -> TrialRecord:
    state = TrialState.RUNNING if score is None else TrialState.COMPLETE
    made = TrialRecord(number, number + 1, 1, 1, origin, {"x": x}, 1, state, score=score)
    return replace(made, **more)  # type: ignore[arg-type]


def forced(number: int, score: float | None, params: int, **more: object) -> TrialRecord:
    attributes = {"estimated_params": params, **dict(more.pop("attributes", {}))}  # type: ignore[call-overload]
    return trial(number, number / 100, score, Origin.FORCED, attributes=attributes, **more)


def add(records: list[TrialRecord], repeat: Repeat | None, score: float | None, **more: object) -> TrialRecord:
    """Put a repeat that was asked for among the records."""
    assert repeat is not None
    state = TrialState.RUNNING if score is None else TrialState.COMPLETE
    made = replace(repeat.as_trial(len(records) + 1, {}), number=len(records), score=score, state=state)
    records.append(replace(made, **more))  # type: ignore[arg-type]
    return records[-1]


def run_repeats(records: list[TrialRecord], cap: int, scores: list[float], *, converged: bool = False) -> None:
    for score in scores:
        add(records, RULE.step(records, cap, converged=converged).repeat, score)


FORCED = [forced(0, 0.6, 2000), forced(1, 0.5, 1000), forced(2, 0.7, 1000)]


def with_reference() -> list[TrialRecord]:
    records = list(FORCED)
    run_repeats(records, 20, [0.5, 0.51])
    return records


def test_one_seed_repeats_nothing_whatever_has_happened() -> None:
    once = replace(RULE, seeds=1)
    for converged in (True, False):
        assert once.step(FORCED, 3, converged=converged) == Step()
        assert once.step([*FORCED, trial(3, 0.9)], 4, converged=converged) == Step()


def test_the_reference_is_the_cheapest_forced_configuration_once_all_forced_have_ended() -> None:
    assert RULE.step([*FORCED[:2], forced(2, None, 1000)], 20, converged=False) == Step()
    assert RULE.step(FORCED, 20, converged=False) == Step(Repeat(FORCED[1], 2, Role.REFERENCE))


def test_the_reference_gets_its_seeds_at_once_and_no_more() -> None:
    records = list(FORCED)
    first = add(records, RULE.step(records, 20, converged=False).repeat, None)
    second = add(records, RULE.step(records, 20, converged=False).repeat, None)
    assert (first.seed, second.seed) == (2, 3)
    assert first.origin is Origin.REPEAT
    assert first.attributes == {"repeat_of": 1, "repeat_role": "reference", "design": "repeat of trial 1"}
    assert RULE.step(records, 20, converged=False) == Step()


def test_operations_say_what_is_cheap_before_parameters_do_and_a_collapsed_reference_only_where_all_are() -> None:
    flops = [forced(0, 0.6, 1000, attributes={"flops": 9e9}), forced(1, 0.6, 2000, attributes={"flops": 8e9})]
    assert RULE.step(flops, 20, converged=False).repeat == Repeat(flops[1], 2, Role.REFERENCE)
    collapsed = [forced(0, 0.6, 1000, attributes={"collapsed": True}), forced(1, 0.6, 2000)]
    assert RULE.step(collapsed, 20, converged=False).repeat == Repeat(collapsed[1], 2, Role.REFERENCE)
    assert RULE.step(collapsed[:1], 20, converged=False).repeat == Repeat(collapsed[0], 2, Role.REFERENCE)


def test_where_every_forced_configuration_failed_there_is_no_reference() -> None:
    failed = [replace(each, state=TrialState.FAILED, score=None) for each in FORCED]
    assert RULE.step(failed, 20, converged=False) == Step()


def test_the_incumbent_is_repeated_when_the_search_has_converged() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8)]
    assert RULE.step(records, 20, converged=False) == Step()
    assert RULE.step(records, 20, converged=True) == Step(Repeat(records[5], 2, Role.INCUMBENT))
    run_repeats(records, 20, [0.79], converged=True)
    add(records, RULE.step(records, 20, converged=True).repeat, None)
    assert RULE.step(records, 20, converged=True) == WAITS, "the end is decided when the last repeat has ended"
    records[-1] = replace(records[-1], state=TrialState.COMPLETE, score=0.77)
    assert RULE.step(records, 20, converged=True) == Step()


def test_the_seeds_that_were_due_are_trained_though_the_first_of_them_undid_the_convergence() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8)]
    run_repeats(records, 20, [0.3], converged=True)
    assert RULE.step(records, 20, converged=False) == Step(Repeat(records[5], 3, Role.INCUMBENT))
    run_repeats(records, 20, [0.3])
    assert RULE.step(records, 20, converged=False) == Step()


def test_the_incumbent_is_chosen_when_nothing_else_is_under_way() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8), trial(6, 0.8)]
    assert RULE.step(records, 20, converged=True) == WAITS
    records[-1] = replace(records[-1], state=TrialState.COMPLETE, score=0.85)
    assert RULE.step(records, 20, converged=True).repeat == Repeat(records[-1], 2, Role.INCUMBENT)


def test_the_last_slots_of_the_cap_are_for_the_incumbent() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8), trial(6, 0.8, 0.6)]
    assert RULE.step(records, 10, converged=False) == Step()
    assert RULE.step(records, 9, converged=False).repeat == Repeat(records[5], 2, Role.INCUMBENT)
    assert RULE.step(records, 8, converged=False).repeat == Repeat(records[5], 2, Role.INCUMBENT)
    assert RULE.step(records, 7, converged=False) == Step(), "without room they are left out"
    assert RULE.step([*records, trial(7, 0.7)], 10, converged=False) == WAITS, "what runs may become the incumbent"


def test_while_forced_trials_run_the_slots_of_both_are_kept() -> None:
    running = [*FORCED[:2], forced(2, None, 1000)]
    assert RULE.step(running, 8, converged=False) == Step()
    assert RULE.step(running, 7, converged=False) == WAITS
    assert replace(RULE, has_reference=False).step(running, 6, converged=False) == Step()
    assert replace(RULE, has_reference=False).step(running, 5, converged=False) == WAITS


def test_a_search_in_which_nothing_completes_goes_on_to_its_cap() -> None:
    failed = [replace(trial(number, number), state=TrialState.FAILED) for number in range(4)]
    assert replace(RULE, has_reference=False).step(failed, 5, converged=False) == Step()


def test_the_incumbent_stays_though_another_leads_after_its_repeats() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8), trial(6, 0.8, 0.79)]
    run_repeats(records, 20, [0.6, 0.6], converged=True)
    assert RULE.step(records, 20, converged=True) == Step()
    assert RULE.incumbent(records) == records[5]
    assert RULE.leader(records) == records[6]
    evidence = RULE.evidence(records)
    assert evidence["incumbent"] == {
        "trial": 5,
        "scores": [0.8, 0.6, 0.6],
        "mean": pytest.approx(2 / 3),
        "leads": False,
    }
    assert evidence["seeds"] == {"configurations": 2, "degrees_of_freedom": 4}


def test_a_search_that_went_on_after_the_repeats_chooses_anew() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8)]
    run_repeats(records, 20, [0.8, 0.8], converged=True)
    better = trial(8, 0.7, 0.9)
    assert RULE.step([*records, better], 20, converged=True).repeat == Repeat(better, 2, Role.INCUMBENT)
    assert RULE.step([*records, replace(better, score=0.1)], 20, converged=True) == Step()


def test_a_search_trial_that_runs_again_after_a_failure_is_no_search_that_went_on() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8)]
    run_repeats(records, 20, [0.5, 0.5], converged=True)
    again = trial(8, 0.7, 0.75, slot=1, turn=2)
    assert RULE.incumbent([*records, again]) == records[5]


def test_a_reference_that_is_also_the_incumbent_has_its_seeds_already() -> None:
    records = with_reference()[:2]
    records[0] = replace(records[0], score=0.4)
    run_repeats(records, 20, [0.5, 0.5])
    assert RULE.step(records, 20, converged=True) == Step()


def test_a_repeat_that_failed_for_good_is_not_made_up_for() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8)]
    add(records, RULE.step(records, 20, converged=True).repeat, None, state=TrialState.FAILED)
    second = add(records, RULE.step(records, 20, converged=True).repeat, None, state=TrialState.FAILED)
    assert second.seed == 3
    assert RULE.step(records, 20, converged=True) == Step()
    assert RULE.evidence(records)["incumbent"]["scores"] == [0.8]


def test_a_replaced_attempt_uses_no_seed_and_no_slot() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8)]
    lost = add(records, RULE.step(records, 20, converged=True).repeat, None, state=TrialState.REPLACED)
    again = replace(lost, number=7, turn=2, state=TrialState.WAITING)
    assert RULE.step([*records, again], 8, converged=False).repeat == Repeat(records[5], 3, Role.INCUMBENT)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_incumbent_has_the_best_mean_and_not_the_luckiest_seed(direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    rule = replace(RULE, direction=direction, has_reference=False)  # type: ignore[arg-type]
    lucky = [trial(0, 0.1, 0.9 * sign), trial(1, 0.1, 0.1 * sign, seed=2), trial(2, 0.2, 0.6 * sign)]
    assert rule.step(lucky, 20, converged=True).repeat == Repeat(lucky[2], 2, Role.INCUMBENT)


def test_a_fresh_seed_fills_gaps_and_passes_over_those_of_the_history() -> None:
    key = (("x", 0.5),)
    assert fresh_seed(1, key, []) == 1
    assert fresh_seed(1, key, [trial(0, 0.5, 0.1, seed=1), trial(1, 0.5, 0.1, seed=3)]) == 2
    assert fresh_seed(1, key, [trial(0, 0.5, 0.1, seed=1), trial(1, 0.4, 0.1, seed=2)]) == 2
    imported = trial(-1, 0.9, 0.8, Origin.IMPORTED, slot=0, seed=2)
    records = [*with_reference(), trial(5, 0.9, 0.8)]
    repeat = replace(RULE, history=[imported]).step(records, 20, converged=True).repeat
    assert repeat is not None
    assert repeat.seed == 3


def test_a_sampler_is_shown_a_repeated_configuration_once_by_its_mean() -> None:
    records = [*with_reference(), trial(5, 0.9, 0.8), trial(6, 0.3)]
    add(records, RULE.step([*records[:6]], 20, converged=True).repeat, 0.6)
    add(records, Repeat(records[5], 3, Role.INCUMBENT), None)
    shown = once_each(records)
    assert [each.number for each in shown] == [0, 1, 2, 5, 6]
    assert [each.score for each in shown] == pytest.approx([0.6, (0.5 + 0.5 + 0.51) / 3, 0.7, 0.7, None])


def test_of_what_was_imported_a_sampler_is_shown_each_configuration_once_too() -> None:
    imported = [trial(-1, x, score, Origin.IMPORTED, slot=0) for x, score in ((0.1, 0.5), (0.1, 0.7), (0.2, 0.4))]
    shown = once_each([*imported, *FORCED])
    assert shown[0].score == pytest.approx(0.6)
    assert shown[1:] == [imported[2], *FORCED]


def test_without_repeats_there_is_nothing_to_say_and_nothing_to_change() -> None:
    assert RULE.evidence(FORCED) == {}
    assert once_each(FORCED) == FORCED
