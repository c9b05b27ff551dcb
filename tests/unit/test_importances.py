"""Which parameters mattered, against shuffled scores."""

import json
import warnings
from dataclasses import replace

import numpy as np
import optuna
import pytest
from simulated_studies import DEVIATION, SPACE, Params, Simulation, forced, phase2

from hpo.report.evidence import Evidence, evidence_of
from hpo.report.importances import Importance, Standing, importances


def important(found: tuple[Importance, ...]) -> list[tuple[str | None, str]]:
    return [
        (each.budget, row.parameter) for each in found for row in each.parameters if row.standing is Standing.IMPORTANT
    ]


def test_the_parameter_that_decides_everything_is_important_and_comes_first() -> None:
    evidence, _ = Simulation(lambda params: 10 * params["dropout"] / 0.6).run(0)
    found = importances(evidence)
    assert found[0].parameters[0].parameter == "dropout"
    assert found[0].parameters[0].importance > found[0].parameters[0].baseline
    assert important(found)[0] == (None, "dropout")
    assert found[0].sentence == "simulated: dropout told the better half from the rest; nothing else did"


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_nothing_but_noise_makes_no_parameter_important(sampler: str) -> None:
    claimed = [important(importances(Simulation(trials=30, sampler=sampler).run(seed)[0])) for seed in range(5)]
    assert sum(map(bool, claimed)) <= 1


def test_the_same_evidence_gives_the_same_importances_and_no_warning() -> None:
    evidence, _ = Simulation(trials=30).run(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert importances(evidence) == importances(evidence)


def test_lower_scores_are_the_better_half_where_the_study_minimizes() -> None:
    def truth(params: Params) -> float:
        return 20 * params["dropout"]

    up, _ = Simulation(truth, trials=30).run(0)
    down, _ = Simulation(truth, trials=30, direction="minimize").run(0)
    assert [each.parameters for each in importances(up)] == [each.parameters for each in importances(down)]


def test_budgets_and_supplements_have_importances_of_their_own() -> None:
    random = np.random.default_rng(0)

    def score(params: Params) -> float:
        return 0.7 + DEVIATION * (random.normal() + 5 * params.get("n_heads_log2", 0))

    evidence, _ = Simulation(trials=70).run(2)
    found = importances(replace(evidence, supplements=(phase2(score, sampled=17),)))
    assert [each.budget for each in found[:5]] == [None, "750k", "2M", "20M", "200M"]
    assert {row.parameter for row in found[0].parameters} == SPACE.keys()
    at_budgets = [each for each in found[1:5] if each.parameters]
    assert at_budgets
    assert all("budget" not in {row.parameter for row in each.parameters} for each in at_budgets)
    assert found[-1].study == "simulated/phase2/2M"
    assert found[-1].parameters[0].parameter == "n_heads_log2"


def test_shares_add_up_to_one() -> None:
    evidence, _ = Simulation(trials=30).run(0)
    overall = importances(evidence)[0]
    assert sum(row.share for row in overall.parameters) == pytest.approx(1.0)
    assert (overall.configurations, overall.best) == (30, 15)


def test_seeds_of_one_configuration_count_once() -> None:
    evidence, _ = Simulation(trials=30, seeds=5).run(0)
    assert len(evidence.complete) == 38
    assert importances(evidence)[0].configurations == 30


def test_too_few_trials_are_said_to_be_too_few() -> None:
    for kept in (0, 1, 2, 18):
        trials = tuple(forced(lambda _: 0.7))[:kept]
        found = importances(Evidence("simulated", "maximize", "score", trials, space=SPACE if kept else {}))
        assert found[0].parameters == ()
        told = "1 configuration" if kept == 1 else f"{kept} configurations"
        assert found[0].sentence == f"simulated: {told} with a score: importances need 20"


def test_equal_scores_decide_nothing() -> None:
    evidence, _ = Simulation(trials=30).run(0)
    equal = replace(evidence, trials=tuple(replace(each, score=0.5) for each in evidence.trials))
    assert importances(equal)[0].sentence == "simulated: all scores are equal, no parameter decides anything"
    json.dumps([each.as_json() for each in importances(equal)], allow_nan=False)


def test_a_foreign_study_has_importances_even_with_ranges_that_changed_and_parameters_that_come_and_go() -> None:
    def objective(each: optuna.Trial) -> float:
        kind = each.suggest_categorical("kind", ["a", "b"])
        depth = each.suggest_int("depth", 1, 3) if kind == "b" else 0
        # Half of its trials searched further out than it does now.
        return each.suggest_float("x", 0, 20 if each.number < 20 else 10) + depth

    foreign = optuna.create_study(study_name="theirs", sampler=optuna.samplers.RandomSampler(seed=0))
    foreign.optimize(objective, n_trials=60)
    found = importances(evidence_of(foreign))
    assert len(found) == 1
    assert 40 <= found[0].configurations < 60
    assert important(found) == [(None, "x")]
    json.dumps(found[0].as_json(), allow_nan=False)


def test_a_study_that_searched_nothing_says_so() -> None:
    foreign = optuna.create_study(study_name="theirs")
    random = np.random.default_rng(0)
    foreign.optimize(lambda _: random.normal(), n_trials=25)
    assert importances(evidence_of(foreign))[0].sentence == "theirs: no parameter was searched"
