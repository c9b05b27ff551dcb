"""The example's objective does what its docstring says, and its trials make a table."""

import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from budgets import generate_forced_configs
from hpo.report.evidence import Evidence, Kind, Trial
from hpo.report.frame import trials_frame
from studies.declaration import architecture_values, derive
from studies.example import CEILING, EXPONENT, NOISE, planted, score
from studies.objective import TrialContext
from studies.spec import Spec

SPEC = Spec.model_validate({"name": "example", "objective": "studies.example:score"})


def params(size: float = 1e6, **changes: Any) -> dict[str, Any]:
    best = {"learning_rate": 3e-4 * (size / 1e6) ** -0.2, "dropout": 0.3, "style": "shallow", "weight_decay": 1e-3}
    return {"estimated_params": size, "effective_batch": 32, **best, **changes}


def context(seed: int) -> TrialContext:
    return TrialContext(SPEC, 0, 1, seed, Path(), Path())


def test_at_the_best_of_everything_the_score_is_the_planted_law() -> None:
    for millions in (0.75, 2, 20, 200):
        assert planted(params(millions * 1e6)) == pytest.approx(CEILING - 0.04 * millions**-EXPONENT)


def test_each_planted_effect_has_its_size_and_the_others_have_none() -> None:
    best = planted(params())
    assert best - planted(params(style="deep")) == pytest.approx(0.004)
    assert best - planted(params(dropout=0.5)) == pytest.approx(0.004)
    assert best - planted(params(effective_batch=128)) == pytest.approx(0.004)
    assert best - planted(params(learning_rate=3e-5)) == pytest.approx(0.015)
    assert planted(params(weight_decay=0.0, n_heads=16)) == best


def test_a_seed_repeats_its_score_and_seeds_differ_by_the_noise() -> None:
    assert score(params(), context(3)) == score(params(), context(3))
    scores = [score(params(), context(seed)) for seed in range(400)]
    assert fmean(scores) == pytest.approx(planted(params()), abs=4 * NOISE / math.sqrt(400))
    assert stdev(scores) == pytest.approx(NOISE, rel=0.15)


def test_every_forced_configuration_has_a_score_and_a_cost() -> None:
    for forced in generate_forced_configs():
        values = {**forced.params, **derive(forced.params, architecture_values(SPEC))}
        asked = context(1)
        assert 0.6 < score(values, asked) < CEILING + 4 * NOISE
        assert asked.attributes["flops"] == 6 * values["estimated_params"] * values["effective_batch"] * 300


def test_a_table_of_trials_has_the_best_first_and_those_without_a_score_last() -> None:
    trials = tuple(
        Trial("s", number, Kind.SAMPLED, "complete" if found else "failed", found, {"x": number}, {"budget": "2M"})
        for number, found in enumerate((0.5, None, 0.7))
    )
    frame = trials_frame(Evidence("s", "maximize", "AUC", trials))
    assert list(frame["trial"]) == [2, 0, 1]
    assert list(frame["AUC"].dropna()) == [0.7, 0.5]
    assert {"study", "label", "kind", "state", "budget", "size", "seed", "seconds", "x"} <= set(frame.columns)
    assert list(trials_frame(Evidence("s", "minimize", "loss", trials), trials)["trial"]) == [0, 1, 2]
    assert len(trials_frame(Evidence("s", "minimize", "loss", ()))) == 0
