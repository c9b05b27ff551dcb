"""What is kept of all trials answers as if all had been asked."""

import random
from dataclasses import replace
from statistics import mean

import pytest

from hpo.configurations import Configurations, changed_places
from hpo.convergence import check_early_stopping_convergence
from hpo.records import Origin, StudyRecord, StudyState, TrialRecord, TrialState
from hpo.repeats import Repeats, once_each
from hpo.search_end import SearchEnd
from studies.spec import Direction, Spec

FIRST = TrialRecord(
    number=0,
    slot=1,
    turn=1,
    attempt=1,
    origin=Origin.SAMPLED,
    params={"x": 0.5},
    seed=1,
    state=TrialState.RUNNING,
)
ENDS = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.REPLACED]


def ended(record: TrialRecord, dice: random.Random) -> TrialRecord:
    """Return the record with an end of any kind, and scores close enough to converge now and then."""
    state = dice.choice(ENDS)
    return replace(record, state=state, score=0.7 + 0.03 * dice.random() if state is TrialState.COMPLETE else None)


def history(dice: random.Random) -> list[list[TrialRecord]]:
    """Return all records at each of many moments of one search."""
    records: list[TrialRecord] = []
    moments = []
    for number in range(60):
        origin = Origin.REPEAT if records and dice.random() < 0.1 else Origin.SAMPLED
        params = dice.choice(records).params if origin is Origin.REPEAT else {"x": dice.randrange(40)}
        state = dice.choice([TrialState.WAITING, TrialState.RUNNING])
        made = replace(FIRST, number=number, slot=number + 1, params=params, origin=origin, state=state)
        if (last := records[-1:]) and last[0].state is TrialState.REPLACED:
            # Another attempt, in the same slot.
            made = replace(last[0], number=number, state=state)
        records = [*records, made]
        records = [ended(each, dice) if each.is_open and dice.random() < 0.4 else each for each in records]
        moments.append(records)
    return moments


def asked_of_all(records: list[TrialRecord], count: int, direction: Direction) -> list[float]:
    complete = [record for record in records if record.state is TrialState.COMPLETE]
    means = [
        mean(record.score or 0.0 for record in complete if record.key == key)
        for key in {record.key for record in complete if record.origin is not Origin.REPEAT}
    ]
    return sorted(sorted(means, reverse=direction == "maximize")[:count])


def check_against_all(kept: Configurations, records: list[TrialRecord]) -> None:
    for direction in ("maximize", "minimize"):
        assert kept.best(3, direction) == pytest.approx(asked_of_all(records, 3, direction))
    for key in {record.key for record in records}:
        assert kept.of(key) == [record for record in records if record.key == key]
    assert kept.of((("x", -1),)) == ()
    complete = [each for each in records if each.state is TrialState.COMPLETE and each.origin is not Origin.REPEAT]
    assert kept.complete() == len(complete)
    assert kept.last_slot == max(record.slot for record in records)
    assert kept.has_repeats == (once_each(records) != records)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_is_what_all_records_say(seed: int) -> None:
    kept = Configurations()
    for records in history(random.Random(seed)):
        kept.take_in(records)
        check_against_all(kept, records)


def test_other_trials_are_not_taken_for_news_of_these() -> None:
    kept, records = Configurations(), history(random.Random(7))[-1]
    kept.take_in(records)
    for others in (
        records[:20],
        [replace(each, number=each.number + 100) for each in records],
        [replace(each, params={"x": 99}) for each in records],
    ):
        kept.take_in(others)
        check_against_all(kept, others)


@pytest.mark.parametrize("seed", range(3))
def test_a_history_that_was_imported_stays_in_front(seed: int) -> None:
    dice, kept = random.Random(seed), Configurations()
    imported = [replace(FIRST, number=-1, slot=0, origin=Origin.IMPORTED, params={"x": each}) for each in range(10)]
    before = [replace(each, state=TrialState.COMPLETE, score=dice.random()) for each in imported]
    for records in history(dice):
        kept.take_in([*before, *records])
        check_against_all(kept, [*before, *records])


def test_what_is_half_learnt_is_forgotten() -> None:
    kept, records = Configurations(), history(random.Random(7))[-1]
    with pytest.raises(TypeError, match="unhashable"):
        kept.take_in([*records[:20], replace(FIRST, params={"x": []}), *records[20:]])
    kept.take_in(records)
    check_against_all(kept, records)


def test_what_was_imported_twice_is_a_repeat() -> None:
    kept, imported = Configurations(), replace(FIRST, number=-1, slot=0, origin=Origin.IMPORTED)
    kept.take_in([imported, replace(imported, params={"x": 0.6}), FIRST])
    assert not kept.has_repeats
    kept.take_in([imported, replace(imported, params={"x": 0.6}), FIRST, replace(imported, seed=2)])
    assert kept.has_repeats


def test_what_has_changed_is_found_by_what_it_is_and_not_by_what_it_says() -> None:
    same, other = replace(FIRST), replace(FIRST)
    assert changed_places([FIRST, same], [FIRST, other, FIRST]) == [1]


def test_equal_scores_are_no_end_before_there_is_patience_enough_and_the_rule_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(SearchEnd, "convergence", lambda _self, records: asked.append(len(records)))
    given = {"name": "s", "objective": "example:objective", "trials": 100, "budgets": ["750k"]}
    spec = Spec.model_validate({**given, "early_stop": {"patience": 20, "top_k": 3}, "forced_extremes": False})
    study = StudyRecord("s", 1, {}, "", {}, 100, StudyState.RUNNING, "", {}, convergence_off=False)
    search_end = SearchEnd(spec, Repeats(spec.seeds, spec.seed, spec.direction, has_reference=False))
    complete = replace(FIRST, state=TrialState.COMPLETE, score=0.7)
    records = [replace(complete, number=each, slot=each + 1, params={"x": each}) for each in range(20)]
    for count in (3, 19, 20):
        search_end.look(study, records[:count])
    assert asked == [20]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_search_ends_when_the_rule_asked_of_all_trials_says_so(direction: Direction) -> None:
    rule = {"patience": 8, "threshold": 0.004, "top_k": 3}
    given = {"name": "s", "objective": "example:objective", "trials": 100, "budgets": ["750k"], "direction": direction}
    spec = Spec.model_validate({**given, "early_stop": rule, "forced_extremes": False})
    study = StudyRecord("s", 1, {}, "", {}, 100, StudyState.RUNNING, "", {}, convergence_off=False)
    repeats, said = Repeats(spec.seeds, spec.seed, spec.direction, has_reference=False), []
    for seed in range(8):
        search_end = SearchEnd(spec, repeats)
        for records in history(random.Random(seed)):
            complete = [record for record in once_each(records) if record.state is TrialState.COMPLETE]
            verdict = check_early_stopping_convergence(
                [record.score for record in complete],
                **rule,
                configurations=[record.key for record in complete],
                direction=direction,
            )
            end, _ = search_end.look(study, records)
            assert (end is not None) == bool(verdict)
            said.append(end is not None)
    print(f"ended at {sum(said)} of {len(said)} moments")
    assert 10 < sum(said) < len(said) / 2
