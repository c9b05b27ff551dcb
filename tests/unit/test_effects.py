"""What the designs of a study have shown: recovery of planted effects, and silence on noise."""

import json
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import numpy as np
import optuna
import pytest
from simulated_studies import (
    DEVIATION,
    SPACE,
    Noise,
    Params,
    Simulation,
    Truth,
    deep_is_better,
    dropout_matters,
    forced,
    nothing,
    phase2,
    trial,
)

from budgets import generate_forced_configs
from hpo.report.effects import Effect, effects
from hpo.report.evidence import Evidence, Kind, Trial, evidence_of
from hpo.report.significance import Estimate, Source, Spread, Verdict, holm
from hpo.report.surprises import surprises

CLAIMS = {Verdict.BETTER, Verdict.WORSE}


def study(trials: list[Trial], direction: str = "maximize") -> Evidence:
    return Evidence("simulated", direction, "score", tuple(trials), space=SPACE)


def noisy(seed: int = 0) -> Callable[[Params], float]:
    random = np.random.default_rng(seed)
    return lambda _: 0.7 + DEVIATION * random.normal()


def by_contrast(evidence: Evidence, noise: Noise | None = None) -> dict[str, Effect]:
    return {each.contrast: each for each in effects(evidence, noise).effects}


def claims(evidence: Evidence, noise: Noise | None) -> bool:
    judged = [*effects(evidence, noise).effects, *surprises(evidence, noise)]
    return any(each.verdict in CLAIMS for each in judged)


# What is compared


def test_every_forced_extreme_is_compared_with_the_default_of_its_budget_and_with_that_of_all() -> None:
    found = effects(study(list(forced(noisy()))), None)
    at_budgets = [each for each in found.effects if each.budget]
    extremes = {each.name for each in generate_forced_configs() if each.style == "deep" or each.id > 8}
    assert {each.name for each in at_budgets} == extremes
    assert sorted(each.contrast for each in found.effects) == sorted(
        [
            *(f"style deep against shallow at {budget}" for budget in ("750k", "2M", "20M", "200M")),
            *(f"dropout {value} against 0.5 at 2M" for value in (0.1, 0.3, 0.7)),
            "dropout 0.1 against 0.5 at 200M",
            "learning_rate 1e-05 against 0.0001 at 2M",
            "learning_rate 0.001 against 0.0001 at 2M",
            "learning_rate 1e-05 against 0.0001 at 20M",
            "weight_decay 0 against 0.001 at 2M",
            "weight_decay 0.01 against 0.001 at 2M",
            "weight_decay 0 against 0.001 at 200M",
            *(f"dropout {value} against 0.5 over all budgets" for value in (0.1, 0.3, 0.7)),
            "learning_rate 1e-05 against 0.0001 over all budgets",
            "learning_rate 0.001 against 0.0001 over all budgets",
            "weight_decay 0 against 0.001 over all budgets",
            "weight_decay 0.01 against 0.001 over all budgets",
            "style deep against shallow over all budgets",
        ]
    )


def test_groups_and_names_are_those_of_the_designs() -> None:
    found = by_contrast(study(list(forced(noisy()))))
    low = found["dropout 0.1 against 0.5 at 200M"]
    assert (low.name, low.group, low.budget) == ("200M_dropout_low", "dropout_extremes", "200M")
    assert low.parameter == "dropout"
    assert low.trials == (11, 6)
    assert found["dropout 0.1 against 0.5 over all budgets"].name == "dropout=0.1"


def test_corners_of_phase_2_are_compared_with_their_centre_in_words_that_people_use() -> None:
    evidence = replace(study(list(forced(noisy()))), supplements=(phase2(noisy(), sampled=17),))
    found = {each.name: each for each in effects(evidence, None).effects if each.study.endswith("phase2/2M")}
    assert found["n_heads=16"].contrast == "n_heads 16 against 4 at 2M"
    assert found["effective_batch=256"].group == "corners"
    assert {"n_heads=1", "learning_rate=5e-06", "learning_rate=0.002", "weight_decay=0.1"} <= found.keys()
    assert all(each.verdict is Verdict.BELOW_THE_NOISE for each in found.values())


def test_a_planted_effect_of_a_corner_is_found() -> None:
    random = np.random.default_rng(1)

    def score(params: Params) -> float:
        return 0.7 + DEVIATION * (random.normal() - 6 * (params.get("n_heads_log2") == 4))

    evidence = replace(study([]), supplements=(phase2(score, sampled=17),))
    found = by_contrast(evidence)["n_heads 16 against 4 at 2M"]
    assert found.verdict is Verdict.WORSE


# Estimates


def test_without_noise_an_additive_truth_is_recovered_exactly() -> None:
    def truth(params: Params) -> float:
        parts = {"shallow": 0.0, "deep": 0.02}[params["style"]] + 0.1 * params["dropout"]
        return parts + 0.01 * np.log10(params["learning_rate"]) - params["weight_decay"]

    rng = np.random.default_rng(0)
    trials = list(forced(truth))
    for number in range(18, 60):
        params = {
            "budget": "2M",
            "style": "deep",
            "dropout": rng.uniform(0.1, 0.7),
            "learning_rate": 10 ** rng.uniform(-5, -3),
            "weight_decay": rng.uniform(0, 0.01),
        }
        trials.append(trial(number, Kind.SAMPLED, params, truth(params)))
    found = by_contrast(study(trials))
    assert found["dropout 0.1 against 0.5 at 2M"].difference == pytest.approx(-0.04)
    assert found["style deep against shallow over all budgets"].difference == pytest.approx(0.02)
    assert found["learning_rate 0.001 against 0.0001 over all budgets"].difference == pytest.approx(0.01)
    assert found["weight_decay 0 against 0.001 at 200M"].difference == pytest.approx(0.001)


def test_a_pair_of_single_trials_has_the_error_of_the_noise_between_seeds() -> None:
    trials = list(forced(noisy(), ("750k",)))
    found = by_contrast(study(trials), Noise(0.01, 1e6))["style deep against shallow at 750k"]
    assert found.estimator == "pair"
    assert found.difference == pytest.approx(trials[1].score - trials[0].score)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.01 * 2**0.5, rel=1e-3)
    assert (found.n_a, found.n_b, found.noise) == (1, 1, Spread(0.01, 1e6, Source.SEEDS))


def test_few_degrees_of_freedom_widen_the_interval_by_students_t() -> None:
    trials = list(forced(noisy(), ("750k",)))
    found = by_contrast(study(trials), Noise(0.01, 3))["style deep against shallow at 750k"]
    assert found.high - found.low == pytest.approx(2 * 3.182 * 0.01 * 2**0.5, rel=1e-3)


def test_one_budget_s_pair_is_not_taken_for_all_budgets() -> None:
    found = by_contrast(study(list(forced(noisy()))), Noise(0.01, 8))
    assert found["dropout 0.7 against 0.5 at 2M"].estimator == "pair"
    assert found["dropout 0.7 against 0.5 over all budgets"].estimator == "model"
    both = found["dropout 0.1 against 0.5 over all budgets"]
    single = [found[f"dropout 0.1 against 0.5 at {budget}"].difference for budget in ("2M", "200M")]
    assert (both.estimator, both.difference) == ("pair", pytest.approx(fmean(single)))


def test_trials_of_one_configuration_are_averaged_over_seeds_and_one_seed_counts_once() -> None:
    trials = list(forced(lambda _: 0.7, ("750k",)))
    again = [trial(2 + i, Kind.REPEAT, trials[1].params, 0.8, seed=1) for i in range(2)]
    found = by_contrast(study([*trials, *again]), Noise(0.01, 1e6))["style deep against shallow at 750k"]
    assert found.difference == pytest.approx(0.05)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.01 * 1.5**0.5, rel=1e-3)
    assert (found.n_a, found.n_b) == (3, 1)


def test_lower_is_better_where_the_study_minimizes() -> None:
    up, _ = Simulation(dropout_matters, seeds=5).run(0)
    down, noise = Simulation(dropout_matters, seeds=5, direction="minimize").run(0)
    one, other = by_contrast(up, noise), by_contrast(down, noise)
    assert one.keys() == other.keys()
    for contrast, effect in one.items():
        assert effect.difference == pytest.approx(other[contrast].difference)
        assert effect.verdict is other[contrast].verdict
    dropout = other["dropout 0.1 against 0.5 over all budgets"]
    assert dropout.verdict is Verdict.WORSE


def test_sampled_trials_sharpen_an_effect() -> None:
    few, noise = Simulation(trials=18, seeds=5).run(0)
    many, _ = Simulation(trials=70, seeds=5).run(0)
    name = "dropout 0.1 against 0.5 over all budgets"
    before, after = by_contrast(few, noise)[name], by_contrast(many, noise)[name]
    assert (before.estimator, after.estimator) == ("pair", "model")
    assert after.detectable < before.detectable


def test_a_model_that_misses_something_gives_way_to_pairs() -> None:
    def crossed(params: Params) -> float:
        return 0.1 * (params["dropout"] - 0.4) * (1 if params["budget"] in {"2M", "20M"} else -1)

    evidence, _ = Simulation(lambda params: crossed(params) / DEVIATION).run(3)
    effect = by_contrast(evidence, Noise(0.001, 20))["dropout 0.1 against 0.5 at 2M"]
    assert effect.estimator == "pair"
    assert effect.noise.source is Source.SEEDS


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    inside = []
    for seed in range(40):
        evidence, noise = Simulation(deep_is_better, seeds=5).run(seed)
        found = by_contrast(evidence, noise)
        inside += [
            found[f"style deep against shallow at {at}"].low
            <= 4 * DEVIATION
            <= found[f"style deep against shallow at {at}"].high
            for at in ("750k", "2M", "20M", "200M")
        ]
    assert 0.91 <= fmean(inside) <= 0.99


# Verdicts


@pytest.mark.parametrize(
    "simulation",
    [Simulation(trials=18, seeds=5), Simulation(), Simulation(seeds=5)],
    ids=["18 seeds", "70", "70 seeds"],
)
def test_nothing_but_noise_gives_no_effect_and_no_surprise_in_95_of_100_studies(simulation: Simulation) -> None:
    assert sum(claims(*simulation.run(seed)) for seed in range(100)) <= 5


def test_noise_of_heavy_tails_gives_no_effect_in_95_of_100_studies_either() -> None:
    runs = [Simulation(noise="heavy (t5)").run(seed) for seed in range(100)]
    assert sum(any(each.verdict in CLAIMS for each in effects(*run).effects) for run in runs) <= 5


def test_nothing_but_noise_gives_no_effect_under_the_real_sampler_which_follows_it() -> None:
    assert sum(claims(*Simulation(sampler="tpe", seeds=5).run(seed)) for seed in range(8)) <= 1


@pytest.mark.parametrize("seeds", [1, 5])
def test_dropout_that_costs_5_standard_deviations_is_found(seeds: int) -> None:
    found = 0
    for seed in range(40):
        all_found = by_contrast(*Simulation(dropout_matters, seeds=seeds).run(seed))
        found += all_found["dropout 0.1 against 0.5 over all budgets"].verdict is Verdict.WORSE
    assert found >= 38


def test_depth_that_gains_4_standard_deviations_at_each_budget_is_found() -> None:
    found = 0
    for seed in range(40):
        all_found = by_contrast(*Simulation(deep_is_better, seeds=5).run(seed))
        found += all_found["style deep against shallow over all budgets"].verdict is Verdict.BETTER
    assert found >= 39


@pytest.mark.parametrize(
    ("truth", "contrast"),
    [
        (dropout_matters, "dropout 0.1 against 0.5 over all budgets"),
        (deep_is_better, "style deep against shallow over all budgets"),
    ],
)
def test_planted_effects_are_found_under_the_real_sampler(truth: Truth, contrast: str) -> None:
    runs = [Simulation(truth, sampler="tpe", seeds=5).run(seed) for seed in range(4)]
    assert sum(by_contrast(*run)[contrast].verdict in CLAIMS for run in runs) == 4


def test_the_sentences_say_the_difference_its_interval_and_what_would_have_been_seen() -> None:
    trials = list(forced(lambda _: 0.7, ("750k",)))
    trials[1] = replace(trials[1], score=0.704)
    below = by_contrast(study(trials), Noise(0.01, 20))["style deep against shallow at 750k"]
    assert below.sentence == (
        "style deep against shallow at 750k differs by +0.004 ± 0.029: below the noise; 0.052 would have been seen"
    )
    trials[1] = replace(trials[1], score=0.9)
    better = by_contrast(study(trials), Noise(0.01, 20))["style deep against shallow at 750k"]
    assert better.sentence == "style deep is better than shallow at 750k by 0.200 ± 0.029"
    trials[1] = replace(trials[1], score=0.5)
    worse = by_contrast(study(trials), Noise(0.01, 20))["style deep against shallow at 750k"]
    assert worse.sentence == "style deep is worse than shallow at 750k by 0.200 ± 0.029"


def test_without_seeds_and_with_few_trials_the_verdict_is_unknown_and_says_what_would_help() -> None:
    found = effects(study(list(forced(noisy(), ("2M",)))), None)
    assert {each.verdict for each in found.effects} == {Verdict.UNKNOWN}
    assert found.effects[0].sentence.endswith(
        "and nothing says whether that is noise: run more trials, or repeat configurations over seeds"
    )
    assert found.comparisons == 0
    assert found.notes == (
        "simulated: no configuration was repeated over seeds, and 9 with a score are too few for a spread around a "
        "model: no difference can be told from noise",
    )


def test_without_seeds_the_spread_around_the_model_is_used_and_called_so() -> None:
    evidence, _ = Simulation().run(0)
    found = effects(evidence, None)
    assert {each.noise.source for each in found.effects} == {Source.RESIDUALS}
    assert found.notes[0].endswith("estimated from residuals, which also hold what the model misses")


def test_seed_noise_of_no_degree_of_freedom_is_no_noise_level() -> None:
    trials = list(forced(noisy(), ("2M",)))
    assert effects(study(trials), Noise(0.01, 0)) == effects(study(trials), None)


def test_a_difference_that_only_its_own_interval_excludes_is_below_the_noise_and_says_why() -> None:
    trials = [
        replace(each, score=0.735 if each.attributes["design"] == "2M_deep" else 0.7) for each in forced(lambda _: 0.7)
    ]
    found = by_contrast(study(trials), Noise(0.01, 20))["style deep against shallow at 2M"]
    assert found.low > 0
    assert found.verdict is Verdict.BELOW_THE_NOISE
    assert "(alone it would not be, but 22 differences were looked at)" in found.sentence


def test_holm_multiplies_the_smallest_p_value_by_the_number_of_them_and_never_falls() -> None:
    assert holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.9]) == [1.0, 1.0]


def test_an_exact_noise_of_zero_makes_any_difference_real_and_none_unreal() -> None:
    exact = Spread(0.0, 4, Source.SEEDS)
    assert Estimate(0.1, 1.4, exact, "pair", 2).p_value == 0.0
    assert Estimate(0.0, 1.4, exact, "pair", 2).p_value == 1.0


# Surprises


def test_the_design_that_is_far_from_what_the_others_predict_comes_first() -> None:
    evidence, noise = Simulation(seeds=5).run(1)
    trials = [
        replace(each, score=each.score - 0.08) if each.attributes.get("design") == "200M_deep" else each
        for each in evidence.trials
    ]
    found = surprises(replace(evidence, trials=tuple(trials)), noise)
    assert len(found) == 18
    assert (found[0].name, found[0].verdict, found[0].estimator) == ("200M_deep", Verdict.WORSE, "model")
    assert found[0].score < found[0].expected
    assert found[0].sentence.startswith("200M_deep surprises: worse than what all other configurations predict by 0.0")


def test_where_nothing_else_tells_a_design_is_compared_with_its_default() -> None:
    trials = list(forced(noisy(), ("2M",)))
    found = {each.name: each for each in surprises(study(trials), Noise(0.01, 8))}
    assert found["2M_wd_high"].estimator == "default"
    assert found["2M_wd_high"].difference == pytest.approx(trials[8].score - trials[0].score)
    assert found["2M_shallow"].verdict is Verdict.UNKNOWN


# Too little to compare


@pytest.mark.parametrize("noise", [None, Noise(0.01, 8), Noise(0.0, 8)], ids=["unknown", "known", "none"])
@pytest.mark.parametrize("sampled", [0, 40])
@pytest.mark.parametrize("kept", [0, 1, 2, 18])
def test_whatever_has_failed_and_however_equal_the_scores_nothing_is_claimed(
    kept: int, sampled: int, noise: Noise | None
) -> None:
    evidence, _ = Simulation(nothing, trials=18 + sampled).run(0)
    has_score = [*range(kept), *range(18, 18 + sampled)]
    trials = [
        replace(each, score=0.7) if each.number in has_score else replace(each, score=None, state="failed")
        for each in evidence.trials
    ]
    assert not claims(study(trials), noise)
    json.dumps(effects(study(trials), noise).as_json(), allow_nan=False)
    json.dumps([each.as_json() for each in surprises(study(trials), noise)], allow_nan=False)


def test_a_default_without_a_score_is_named() -> None:
    trials = [
        replace(each, score=None, state="failed") if each.attributes["design"] == "2M_shallow" else each
        for each in forced(noisy())
    ]
    found = by_contrast(study(trials), Noise(0.01, 8))["dropout 0.1 against 0.5 at 2M"]
    assert found.verdict is Verdict.UNKNOWN
    assert found.sentence == "dropout 0.1 against 0.5 at 2M: unknown, for no trial of the default has a score"


def test_a_failed_default_is_made_up_for_by_sampled_trials() -> None:
    evidence, noise = Simulation(seeds=5).run(0)
    trials = [
        replace(each, score=None, state="failed") if each.attributes.get("design") == "20M_shallow" else each
        for each in evidence.trials
    ]
    found = by_contrast(replace(evidence, trials=tuple(trials)), noise)["style deep against shallow at 20M"]
    assert (found.estimator, found.n_b) == ("model", 0)
    assert found.verdict is Verdict.BELOW_THE_NOISE


def test_a_study_without_designs_has_no_effects_and_says_so() -> None:
    foreign = optuna.create_study(study_name="theirs", sampler=optuna.samplers.RandomSampler(seed=0))
    foreign.optimize(lambda each: each.suggest_float("x", 0, 1) ** 2, n_trials=12)
    found = effects(evidence_of(foreign), None)
    assert found.effects == ()
    assert found.notes == (
        "theirs has no designs: effects compare configurations that were chosen for it, and it has none",
    )
    assert surprises(evidence_of(foreign), None) == ()


def test_a_study_that_optuna_holds_gives_the_same_as_its_records() -> None:
    stored = optuna.create_study(study_name="simulated", direction="maximize")
    recorded = list(forced(noisy()))
    for each in recorded:
        attributes = {**each.attributes, "origin": "forced"}
        made = optuna.trial.create_trial(
            value=each.score, params=dict(each.params), distributions=SPACE, user_attrs=attributes
        )
        stored.add_trial(made)
    assert effects(evidence_of(stored), Noise(0.01, 8)) == effects(study(recorded), Noise(0.01, 8))
