"""Who becomes a finalist, what a reading says of them, and in which words."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from hpo.final_view import Progress, print_reading
from hpo.records import Cause, Origin, Outcome, StudyRecord, StudyState, TrialRecord, TrialState
from hpo.report.final_result import FinalResult, result_of
from hpo.report.final_words import sentences
from hpo.report.finalists import FinalPlan, Retrained, Searched, choose, study_version
from hpo.report.readings import FinalReading
from studies.declaration import architecture_values, supplement
from studies.reading import read_spec
from studies.spec import Spec
from studies.trained import ReadPart

BASE = {"budget": "750k", "style": "shallow", "dropout": 0.1, "learning_rate": 1e-3, "weight_decay": 5e-2}


def spec_of(**values: Any) -> Spec:
    return read_spec("quickstart", {"name": "base", "budgets": ["750k"], **values})


def searched(spec: Spec, trials: Sequence[TrialRecord]) -> Searched:
    prepared = {"derived": [asdict(rule) for rule in architecture_values(spec)], "sizes": {}}
    phase, parent = (1, None) if spec.supplementary is None else (2, spec.supplementary.of)
    record = StudyRecord(
        spec.name, phase, spec.as_json(), spec.fingerprint, prepared, 9, StudyState.FINISHED, "", {}, False, parent
    )
    return Searched(record, tuple(trials))


def trial(number: int, score: float | None, seed: int = 1, **params: Any) -> TrialRecord:
    state = TrialState.FAILED if score is None else TrialState.COMPLETE
    given = {**BASE, **params} if "n_heads_log2" not in params else params
    return TrialRecord(
        number, number, 1, 1, Origin.SAMPLED, given, seed, state, score=score, attributes={"auc": score, "log": 7}
    )


def test_finalists_are_distinct_configurations_by_the_mean_of_their_scores() -> None:
    lucky, steady, good = {"dropout": 0.2}, {"dropout": 0.3}, {"dropout": 0.4}
    trials = [
        *(trial(0, 0.70, 1, **lucky), trial(1, 0.50, 2, **lucky)),
        *(trial(2, 0.61, 1, **steady), trial(3, 0.65, 2, **steady)),
        *(trial(4, 0.62, 1, **good), trial(5, None, 9, **good), trial(6, 0.0, 1, dropout=0.5)),
    ]
    plan = choose([searched(spec_of(), trials)], 2, 3)
    assert [(each.rank, each.trial, each.chosen_by, each.times) for each in plan.finalists] == [
        (1, 3, pytest.approx(0.63), 2),
        (2, 4, 0.62, 1),
    ]
    assert plan.complete == 6
    assert plan.finalists[0].label == "750k_shallow #3"


def test_the_seeds_of_finalists_are_above_every_seed_that_was_searched_with() -> None:
    trials = [trial(0, 0.6, seed=4), trial(1, 0.5, seed=7, dropout=0.2), trial(2, None, seed=11, dropout=0.3)]
    assert choose([searched(spec_of(), trials)], 3, 2).seeds == (12, 13)


def test_a_training_of_a_finalist_begins_with_nothing_that_an_earlier_one_measured() -> None:
    lighter = replace(trial(0, 0.6), attributes={"auc": 0.6, "micro_batch": 8, "made_lighter": {"micro_batch": 8}})
    finalist = choose([searched(spec_of(), [lighter])], 1, 1).finalists[0]
    assert "auc" not in finalist.attributes
    assert finalist.attributes["made_lighter"] == {"micro_batch": 8}
    assert finalist.values["micro_batch"] == finalist.attributes["micro_batch"] == 8
    assert finalist.values["d_model"] == 192


def test_one_model_found_in_both_phases_is_one_finalist() -> None:
    spec = spec_of(training={"effective_batch": 64})
    best = trial(0, 0.60)
    second = supplement(spec, "750k", best, 20)
    same = {"n_heads_log2": 2, "learning_rate": 1e-3, "weight_decay": 5e-2, "effective_batch_log2": 6}
    other = {**same, "n_heads_log2": 3}
    phase2 = searched(second, [trial(0, 0.64, 2, **same), trial(1, 0.61, 1, **other)])
    plan = choose([searched(spec, [best]), phase2], 3, 1)
    assert [(each.study, each.trial, each.chosen_by) for each in plan.finalists] == [
        ("base/phase2/750k", 0, pytest.approx(0.62)),
        ("base/phase2/750k", 1, 0.61),
    ]
    assert plan.finalists[1].values["n_heads"] == 8


def test_the_version_of_a_study_changes_with_its_cap_and_with_its_phase_2() -> None:
    one, more = searched(spec_of(), []).record, searched(spec_of(trials=30), []).record
    assert study_version(one) == one.fingerprint != study_version(more)
    assert study_version(one, [more]) not in {study_version(one), study_version(more)}


def plan_of(*ranks: int, seeds: tuple[int, ...] = (2, 3)) -> FinalPlan:
    trials = [trial(rank, 0.7 - rank / 100, dropout=rank / 10) for rank in ranks]
    chosen = choose([searched(spec_of(), trials)], len(ranks), len(seeds))
    retrained = tuple(Retrained(each.rank, seed, 0.65 - each.rank / 100) for each in chosen.finalists for seed in seeds)
    return replace(chosen, seeds=seeds, retrained=retrained)


def part_of(plan: FinalPlan, strengths: dict[int, float]) -> ReadPart:
    random = np.random.default_rng(1)
    labels = (random.random(400) < 0.3).astype(float)
    noise = random.normal(size=400)

    def scores(strength: float) -> Any:
        return 1 / (1 + np.exp(-(strength * labels + noise + 0.3 * random.normal(size=400))))

    rows = np.stack([scores(strengths[each.rank]) for each in plan.read])
    return ReadPart(labels, np.arange(400), rows, scores(0.3), "a baseline", "2018-01-01", "2018-12-31", 1)


def reading_of(plan: FinalPlan, result: FinalResult | None, *earlier: tuple[str, datetime]) -> FinalReading:
    return FinalReading("base", "v", datetime(2026, 1, 2, 3, 4, tzinfo=UTC), plan, result, earlier)


def test_optimism_is_the_luck_of_the_choice_and_the_step_to_another_period() -> None:
    plan = plan_of(1, 2, 3)
    result = result_of(plan, part_of(plan, {1: 1.0, 2: 0.9, 3: 0.8}))
    assert [score.rank for score in result.scores] == [1, 2, 3]
    first = result.scores[0]
    assert (first.chosen_by, first.validation) == (pytest.approx(0.69), pytest.approx(0.64))
    assert first.luck == pytest.approx(0.05)
    assert first.optimism == pytest.approx(0.69 - first.test.value) == pytest.approx(first.luck + first.period)
    assert first.test.low < first.test.value < first.test.high


def test_the_first_two_by_validation_are_compared_whatever_the_test_part_says() -> None:
    plan = plan_of(1, 2, 3)
    result = result_of(plan, part_of(plan, {1: 0.2, 2: 1.5, 3: 2.0}))
    found = result.comparison
    assert found is not None
    assert (found.first, found.second, found.seeds) == (1, 2, (2, 3))
    assert found.difference.value < 0
    words = " ".join(sentences(reading_of(plan, result)))
    assert "750k_shallow #1 against 750k_shallow #2, on the same dates and 2 seeds: worse by" in words


def test_a_finalist_that_could_not_be_trained_again_is_named_and_loses_no_other() -> None:
    plan = plan_of(1, 2, 3)
    failed = {(1, 2), (1, 3), (2, 2)}
    retrained = tuple(
        replace(each, score=None, failure="diverged: the loss became nan") if (each.rank, each.seed) in failed else each
        for each in plan.retrained
    )
    plan = replace(plan, retrained=retrained)
    result = result_of(plan, part_of(plan, {1: 1.0, 2: 1.0, 3: 1.0}))
    assert [(score.rank, score.seeds) for score in result.scores] == [(2, (3,)), (3, (2, 3))]
    assert result.comparison is not None
    assert (result.comparison.first, result.comparison.second, result.comparison.seeds) == (2, 3, (3,))
    words = sentences(reading_of(plan, result))
    assert sum("has no score (diverged: the loss became nan)" in each for each in words) == 3


def test_one_finalist_with_one_seed_is_read_without_a_comparison_and_says_what_is_unknown() -> None:
    plan = plan_of(1, seeds=(2,))
    words = " ".join(sentences(reading_of(plan, result_of(plan, part_of(plan, {1: 1.0})))))
    assert "no other configuration to be compared with" in words
    assert "One seed says nothing of the noise between seeds" in words


def test_predictions_that_are_nearly_constant_are_said_to_be_worth_nothing() -> None:
    plan = plan_of(1, 2)
    part = part_of(plan, {1: 1.0, 2: 1.0})
    part.probabilities[0] = 0.3 + 1e-4 * part.probabilities[0]
    result = result_of(plan, part)
    assert [score.collapsed for score in result.scores] == [1, 0]
    assert "1 of 2 trainings of 750k_shallow #1 predict nearly a constant" in " ".join(
        sentences(reading_of(plan, result))
    )


def test_an_earlier_reading_makes_this_one_optimistic_and_is_counted() -> None:
    plan = plan_of(1, 2)
    result = result_of(plan, part_of(plan, {1: 1.0, 2: 1.0}))
    before = datetime(2025, 12, 31, 8, 30, tzinfo=UTC)
    words = " ".join(sentences(reading_of(plan, result, ("older", before), ("base", before))))
    assert (
        "This is the 3rd reading of the test part of these prices, the first was at 2025-12-31 08:30 UTC by older"
        in words
    )
    assert "reading of the test part of these prices" not in " ".join(sentences(reading_of(plan, result)))


def test_equal_finalists_are_not_told_apart_and_a_much_better_one_is() -> None:
    plan = plan_of(1, 2)
    equal = result_of(plan, part_of(plan, {1: 0.8, 2: 0.8}))
    assert "not told apart" in sentences(reading_of(plan, equal))[3]
    better = result_of(plan, part_of(plan, {1: 2.5, 2: 0.3}))
    assert "better by" in sentences(reading_of(plan, better))[3]


def test_a_plan_and_a_result_come_back_from_json_as_they_were() -> None:
    plan = plan_of(1, 2)
    result = result_of(plan, part_of(plan, {1: 1.0, 2: 0.5}))
    assert TypeAdapter(FinalPlan).validate_python(json.loads(json.dumps(asdict(plan)))) == plan
    assert TypeAdapter(FinalResult).validate_python(json.loads(json.dumps(asdict(result)))) == result
    shown = json.loads(json.dumps(reading_of(plan, result).as_json()))
    assert shown["result"]["scores"][0]["optimism"] == pytest.approx(result.scores[0].optimism)
    assert shown["read_at"] == "2026-01-02T03:04:00+00:00"


def test_a_reading_without_a_result_has_no_sentences() -> None:
    reading = reading_of(plan_of(1), None)
    assert sentences(reading) == ()
    assert reading.as_json()["result"] is None


def test_the_table_of_finalists_fits_80_columns_with_long_names_and_a_failed_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plan = plan_of(1, 2, 3)
    finalists = tuple(replace(each, name="effective_batch=256", trial=123) for each in plan.finalists)
    retrained = tuple(
        replace(each, score=None, failure="failed: no") if each.rank == 3 else each for each in plan.retrained
    )
    plan = replace(plan, finalists=finalists, retrained=retrained)
    print_reading(reading_of(plan, result_of(plan, part_of(plan, {1: 1.0, 2: 1.0}))), is_new=True, since=2)
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "…" not in out
    assert [line.split()[4] for line in out.splitlines() if line.startswith("3  effective_batch=256 #123")] == [
        "failed"
    ]
    assert "has been read at 2026-01-02 03:04 UTC" in out
    assert "Since then base has had 2 more complete trials" in out


def test_the_progress_is_a_line_for_every_training_that_has_ended_where_nobody_watches() -> None:
    console = Console(file=StringIO(), width=80)
    progress = Progress([("a #1", 7), ("a #1", 8)], 100, console)
    progress.at_step(0, 50)
    progress.ended(0, Outcome(None, 0.61234))
    progress.ended(1, Outcome(Cause.DIVERGED))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "1/2 a #1 seed 7: validation 0.6123",
        "2/2 a #1 seed 8: validation diverged",
    ]


def test_the_progress_on_a_terminal_is_a_row_a_finalist_and_a_cell_a_seed() -> None:
    console = Console(file=StringIO(), width=80)
    progress = Progress([("a #1", 7), ("a #1", 8), ("b #2", 7), ("b #2", 8)], 100, console)
    progress.at_step(1, 50)
    progress.ended(2, Outcome(None, 0.61234))
    shown = StringIO()
    Console(file=shown, width=80).print(progress.table())
    assert [line.split() for line in shown.getvalue().splitlines()] == [
        ["finalist", "seed", "7", "seed", "8"],
        ["a", "#1", "waits", "step", "50/100"],
        ["b", "#2", "0.6123", "waits"],
    ]
