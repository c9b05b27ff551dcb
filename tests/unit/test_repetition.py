"""Equal configurations: duplicates and noise, and never convergence."""

import math
from statistics import stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.report.evidence import Evidence, Kind, Trial
from hpo.report.repetition import (
    Cause,
    find_repeats,
    pooled_deviation,
    repeat_sentences,
    top_rows,
)


def trial(number: int, x: Any, score: float | None, seed: int | None = None, study: str = "s") -> Trial:
    attributes = {} if seed is None else {"seed": seed}
    state = "failed" if score is None else "complete"
    return Trial(study, number, Kind.UNKNOWN, state, score, {"x": x}, attributes)


def evidence(*trials: Trial, direction: str = "maximize") -> Evidence:
    return Evidence("s", direction, "AUC", trials)


def rows(*scored: tuple[Any, float] | tuple[Any, float, int]) -> list[Trial]:
    return [trial(number, *each) for number, each in enumerate(scored)]


def test_equal_parameters_with_an_equal_score_are_duplicates() -> None:
    found = find_repeats(rows((1, 0.7), (2, 0.6), (1, 0.7), (1, 0.7)))
    assert (found.complete, found.distinct, found.duplicates) == (4, 2, 2)
    (group,) = found.groups
    assert (group.cause, group.deviation, [each.number for each in group.trials]) == (Cause.NOTHING, None, [0, 2, 3])


def test_a_recorded_search_of_300_with_80_repeats_says_so() -> None:
    # As in six recorded studies: one configuration again and again, with a fixed seed.
    trials = rows(*((i, i / 1000) for i in range(220)), *((219, 0.219) for _ in range(80)))
    (said,) = repeat_sentences(find_repeats(trials))
    assert said.startswith("80 of 300 complete trials repeat an earlier one, score included")
    assert "220 distinct configurations" in said
    assert top_rows(evidence(*trials)).sentence.startswith("The five best rows are one configuration: repetition")


def test_differing_scores_without_a_seed_are_noise_of_an_unknown_cause() -> None:
    found = find_repeats(rows((1, 0.70), (1, 0.72), (1, 0.70), (2, 0.5)))
    (group,) = found.groups
    assert (group.cause, group.duplicates, group.scores) == (Cause.UNKNOWN, 1, (0.70, 0.72))
    duplicate, noise = repeat_sentences(found)
    assert duplicate.startswith("1 of 4 complete trials repeats an earlier one")
    assert "seeds, folds or non-determinism" in noise


def test_differing_scores_with_differing_seeds_are_noise_between_seeds() -> None:
    found = find_repeats(rows((1, 0.70, 1), (1, 0.72, 2), (1, 0.74, 3)))
    assert [group.cause for group in found.groups] == [Cause.SEEDS]
    assert found.groups[0].deviation == pytest.approx(0.02)
    (said,) = repeat_sentences(found)
    assert "standard deviation 0.02 between seeds (2 degrees of freedom)" in said


def test_differing_scores_with_one_seed_are_non_determinism() -> None:
    found = find_repeats(rows((1, 0.70, 1), (1, 0.72, 1)))
    assert [group.cause for group in found.groups] == [Cause.NON_DETERMINISM]
    assert "the training is not deterministic" in repeat_sentences(found)[0]


def test_an_equal_score_with_another_seed_is_no_duplicate_and_is_told() -> None:
    found = find_repeats(rows((1, 0.70, 1), (1, 0.70, 2)))
    assert (found.duplicates, found.groups[0].cause, found.groups[0].deviation) == (0, Cause.SEEDS, 0)
    assert "the seed may not reach the training" in repeat_sentences(found)[0]


def test_a_searched_seed_is_a_seed_and_no_part_of_the_configuration() -> None:
    trials = [
        Trial("s", i, Kind.UNKNOWN, "complete", score, {"x": 1, "seed": i}) for i, score in enumerate((0.70, 0.71))
    ]
    (group,) = find_repeats(trials).groups
    assert (group.cause, group.trials[1].seed) == (Cause.SEEDS, 1)


def test_a_score_that_differs_in_its_last_digits_is_the_same() -> None:
    assert find_repeats(rows((1, 0.1 + 0.2), (1, 0.3))).duplicates == 1
    assert find_repeats(rows((1, 0.0), (1, 0.0))).duplicates == 1
    assert find_repeats(rows((1, 0.3), (1, 0.300001))).duplicates == 0


def test_trials_without_a_score_are_no_repeats() -> None:
    found = find_repeats([trial(0, 1, 0.5), trial(1, 1, None)])
    assert (found.complete, found.groups) == (1, ())


def test_equal_parameters_of_two_studies_are_two_configurations() -> None:
    assert find_repeats([trial(0, 1, 0.5), trial(0, 1, 0.5, study="t")]).groups == ()


def test_choices_that_are_lists_can_be_compared() -> None:
    assert find_repeats(rows(([64, 32], 0.5), ([64, 32], 0.5), ([32, 64], 0.5))).duplicates == 1


def test_nothing_repeated_says_nothing() -> None:
    trials = rows((1, 0.5), (2, 0.6))
    assert repeat_sentences(find_repeats(trials)) == ()
    assert top_rows(evidence(*trials)).sentence == ""
    assert repeat_sentences(find_repeats([])) == ()


def test_the_best_rows_are_counted_in_the_direction_of_the_study() -> None:
    trials = rows((1, 0.9), (1, 0.9), (2, 0.5), (3, 0.1), (3, 0.1))
    assert (top_rows(evidence(*trials), 2).distinct, top_rows(evidence(*trials), 3).distinct) == (1, 2)
    least = top_rows(evidence(*trials, direction="minimize"), 2)
    assert (least.rows, least.distinct) == (2, 1)
    assert top_rows(evidence(*trials), 3).sentence.startswith("The three best rows are two configurations")


groups = st.lists(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6, unique=True), min_size=1, max_size=5)


@given(groups)
def test_the_pooled_deviation_lies_between_those_of_the_configurations(scores: list[list[float]]) -> None:
    trials = rows(*((x, score, seed) for x, each in enumerate(scores) for seed, score in enumerate(each)))
    found = pooled_deviation(find_repeats(trials).groups)
    assert found is not None
    assert found[1] == sum(len(each) - 1 for each in scores)
    every = [stdev(each) for each in scores]
    assert min(every) - 1e-9 <= found[0] <= max(every) + 1e-9


@given(st.permutations(rows((1, 0.7), (1, 0.7), (1, 0.8), (2, 0.5, 1), (2, 0.5, 2), (3, 0.1))))
def test_the_order_of_the_trials_changes_nothing(trials: list[Trial]) -> None:
    found = find_repeats(trials)
    assert (found.complete, found.distinct, found.duplicates) == (6, 3, 1)
    assert sorted(group.cause for group in found.groups) == [Cause.SEEDS, Cause.UNKNOWN]


def test_the_noise_of_many_repeats_is_recovered() -> None:
    # Two values at ±0.01 around each configuration's own score: their deviation is 0.01·√2.
    scored = [(x, x / 10 + sign * 0.01) for x in range(50) for sign in (1, -1)]
    found = pooled_deviation(find_repeats(rows(*scored)).groups)
    assert found is not None
    assert math.isclose(found[0], 0.01 * math.sqrt(2))
