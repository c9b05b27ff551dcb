"""The rules of the preflight, on specifications; no model is built."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from budgets import BUDGET_CONFIGS, STYLES, BatchPlan
from budgets.memory import Footprint
from studies.declaration import architecture_values, derive, supplement
from studies.families import FAMILIES
from studies.memory import Allowance
from studies.preflight import (
    RULES,
    Finding,
    Level,
    Resolved,
    check,
    compare_with_baseline,
    resolve,
    resolve_trial,
)
from studies.preflight.learning_rates import how_far, suggested_learning_rate
from studies.preflight.resolved import Known
from studies.reading import built_in_names, read_spec
from studies.spec import Spec

ROOT = Path(__file__).resolve().parents[2]


def spec(**values: Any) -> Spec:
    return Spec.model_validate({"name": "s", "objective": "m:f", "budgets": ["750k"], **values})


def resolved(**values: Any) -> Resolved:
    made = spec(**values)
    return resolve(made, Known(architecture_values(made)))


def width(d_model: int) -> dict[str, Any]:
    shape = {"d_model": d_model, "n_layers": 2, "n_heads": 4}
    return {"750k": {"shallow": shape, "deep": shape}}


def found(study: Resolved, rule: str, machine: Allowance | None = None) -> list[Finding]:
    return [finding for finding in check(study, machine) if finding.rule == rule]


@pytest.mark.parametrize("name", built_in_names())
def test_nothing_is_to_be_said_of_the_built_in_studies(name: str) -> None:
    made = read_spec(name)
    assert check(resolve(made, Known(architecture_values(made)))) == ()


def test_the_failed_experiment_is_an_error_for_its_batch_alone() -> None:
    batch, workers = {"effective_batch": 1024, "data_workers": 8}, {"effective_batch": 256, "data_workers": 0}
    before = resolved(metric="sharpe", architectures=width(64), training=batch)
    after = resolved(metric="sharpe", architectures=width(256), training=workers, mode="safe")
    changes, findings = compare_with_baseline(after, before)
    verdicts = {change.variable: change.verdict.value for change in changes}
    assert verdicts == {
        "size": "the one intended change",
        "training.effective_batch": "error",
        "training.data_workers": "harmless: how it runs",
        "mode": "harmless: how it runs",
    }
    levels = {finding.rule: finding.level for finding in (*findings, *check(after))}
    assert levels == {
        "batch-shrunk": Level.ERROR,
        "batch-minimum": Level.ERROR,
        "one-variable": Level.WARNING,
    }
    assert [finding for finding in check(before) if finding.level is Level.ERROR] == []


def test_a_study_does_not_differ_from_itself() -> None:
    assert compare_with_baseline(resolved(), resolved()) == ((), ())


def test_two_changed_variables_are_named() -> None:
    changes, findings = compare_with_baseline(resolved(seed=2, target={"horizon": 5}), resolved())
    assert {change.variable for change in changes} == {"seed", "target.horizon"}
    assert "seed, target.horizon" in findings[0].message


def test_a_smaller_batch_for_a_smaller_model_is_no_error() -> None:
    before = resolved(architectures=width(256), training={"effective_batch": 128})
    _, findings = compare_with_baseline(resolved(architectures=width(64)), before)
    assert [finding.rule for finding in findings] == ["one-variable"]


@pytest.mark.parametrize(
    ("metric", "loss", "wrong"),
    [
        ("auc", "mse", True),
        ("log_loss", "huber", True),
        ("rmse", "focal", True),
        ("rmse", "mae", False),
        ("auc", "weighted", False),
        ("sharpe", "mse", False),
        (None, "mse", False),
    ],
)
def test_the_loss_fits_the_metric(metric: str | None, loss: str, wrong: bool) -> None:
    study = resolved(metric=metric, training={"loss": loss, "effective_batch": 4096})
    assert bool(found(study, "loss-metric")) is wrong


def test_a_loss_that_nobody_chose_is_no_mistake() -> None:
    assert found(resolved(metric="rmse"), "loss-metric") == []


def test_a_batch_below_the_square_root_is_a_warning_and_below_the_table_an_error() -> None:
    def level(batch: int) -> list[Level]:
        study = resolved(budgets=["2M"], metric="sharpe", training={"effective_batch": batch})
        return [finding.level for finding in check(study) if finding.level is not Level.NOTE]

    assert level(256) == [Level.ERROR]
    assert level(1024) == [Level.WARNING]
    assert level(2048) == []


def test_a_micro_batch_that_divides_no_searched_batch_is_found() -> None:
    of = {"of": "s", "trial": 1, "style": "deep", "dropout": 0.5, "n_heads": 4, "learning_rate": 1e-4}
    study = resolved(
        name="s/phase2/750k",
        trials=30,
        training={"effective_batch": 48, "micro_batch": 12},
        supplementary={**of, "weight_decay": 0.05, "effective_batch": 64},
    )
    messages = [finding.message for finding in found(study, "accumulation")]
    assert len(messages) == 1
    assert "divides an effective batch of 256, not 12" in messages[0]


def test_a_range_of_learning_rates_that_does_not_reach_what_the_size_suggests_is_found() -> None:
    study = resolved()
    far = replace(study, models=tuple(replace(m, learning_rates=(1e-7, 1e-5)) for m in study.models))
    assert "not 1e-07 to 1e-05" in found(far, "learning-rate")[0].message
    assert found(study, "learning-rate") == []


@pytest.mark.parametrize(("rate", "is_far"), [(1e-5, True), (1e-4, False), (1e-2, False), (0.1, True)])
def test_a_single_learning_rate_is_far_from_a_factor_of_thirty_on(rate: float, is_far: bool) -> None:
    study = resolved()
    single = replace(study, models=tuple(replace(m, default_rates=(rate,)) for m in study.models))
    assert bool(found(single, "learning-rate")) is is_far


def test_larger_models_want_smaller_learning_rates() -> None:
    suggested = [suggested_learning_rate(n) for n in (750_000, 2_000_000, 20_000_000, 10**9, 10**12)]
    assert suggested == sorted(suggested, reverse=True)
    assert how_far(suggested_learning_rate(10**6) / 2, 10**6) == pytest.approx(2)
    assert how_far(0.0, 10**6) == float("inf")


def test_a_model_that_fits_with_fewer_windows_is_a_warning_with_the_micro_batch() -> None:
    # 1 M parameters are 16 MB, a window is 10 MB.
    kept = Footprint(1_000_000, 100_000, ((1_000_000, 10),))
    study = resolved(training={"effective_batch": 64})
    study = replace(study, models=tuple(replace(model, footprint=kept) for model in study.models))
    assert found(study, "memory", Allowance(10_000, "a limit")) == []
    (warning, *_) = found(study, "memory", Allowance(400, "a limit"))
    assert warning.level is Level.WARNING
    assert "set training.micro_batch: " in warning.remedy
    micro = int(warning.remedy.split("micro_batch: ")[1].split(";")[0])
    model = study.models[0]
    plans = (BatchPlan(64, micro), BatchPlan(64, 2 * micro))
    fits, too_much = (model.memory(plan, 0).total / 2**20 for plan in plans)  # type: ignore[union-attr]
    assert fits <= 400 < too_much
    (error, *_) = found(study, "memory", Allowance(50, "a limit"))
    assert error.level is Level.ERROR
    (busy, *_) = found(study, "memory", Allowance(50, "what is free", most_mb=10_000))
    assert busy.level is Level.WARNING
    assert "wait for what else is running here" in busy.remedy
    assert "and not at one of 1 either" in error.value
    alone = replace(study, models=tuple(replace(model, plan=BatchPlan(64, 1)) for model in study.models))
    (error, *_) = found(alone, "memory", Allowance(50, "a limit"))
    assert error.value.endswith("MiB at a micro-batch of 1")


def test_a_search_of_weeks_is_a_warning() -> None:
    assert found(replace(resolved(), hours=24.0), "hours") == []
    assert found(replace(resolved(), hours=24.0 * 30), "hours")[0].level is Level.WARNING


def test_every_rule_is_in_the_docs_with_its_table_and_its_source() -> None:
    document = (ROOT / "docs" / "rules.md").read_text()
    for rule in RULES.values():
        assert rule.markdown() in document, rule.name


def test_a_mode_changes_how_it_runs_and_never_what_is_searched() -> None:
    fast, safe = spec(mode="fast"), spec(mode="safe")
    assert fast.fingerprint == safe.fingerprint
    one, other = (resolve(each, Known(architecture_values(each))) for each in (fast, safe))
    assert {key for key in one.values if one.values[key] != other.values[key]} == {"mode"}
    assert one.models == other.models
    assert architecture_values(fast) == architecture_values(safe)


TIERS = {name: ["none"] if name == "patchtst" else ["none", "a20", "a50", "a100", "a200"] for name in FAMILIES}


@pytest.mark.parametrize(("model", "tier"), [(name, tier) for name in FAMILIES for tier in TIERS[name]])
def test_nothing_is_to_be_said_of_a_study_as_it_comes_in_either_phase(model: str, tier: str) -> None:
    values = {"objective": "neuralforecast", "model": model, "data": {"tier": tier}, "budgets": list(BUDGET_CONFIGS)}
    heads = FAMILIES[model].heads
    whole = spec(**values, architectures={} if heads is None else with_heads(heads))
    assert check(resolve(whole, Known(architecture_values(whole)))) == ()
    for budget, (design, rate) in itertools.product(BUDGET_CONFIGS, ((0, 1e-5), (1, 1e-3))):
        style = STYLES[design]
        best = Best(3, {"budget": budget, "style": style, "dropout": 0.3, "learning_rate": rate, "weight_decay": 0.0})
        made = supplement(whole, budget, best, 25)
        found = resolve(made, Known(architecture_values(made)))
        assert check(found) == ()


def with_heads(n_heads: int) -> dict[str, Any]:
    """The shapes of the table with another number of heads."""
    return {
        budget: {
            style: {"d_model": it.d_model, "n_layers": it.n_layers, "n_heads": n_heads} for style, it in styles.items()
        }
        for budget, styles in BUDGET_CONFIGS.items()
    }


@dataclass(frozen=True)
class Best:
    """The best trial of a Phase 1."""

    number: int
    params: dict[str, Any]
    seed: int = 1
    score: float | None = 0.7


def test_a_ratio_is_warned_of_in_time_that_phase_2_would_take_small_batches() -> None:
    ratio: dict[str, Any] = {"metric": "sharpe", "training": {"effective_batch": 2048}}
    study = spec(**ratio)
    (note,) = check(resolve(study, Known(architecture_values(study))))
    assert (note.rule, note.level) == ("batch-minimum", Level.NOTE)
    assert "phase2.effective_batch: [1024, 4096]" in note.remedy
    best = Best(0, {"budget": "750k", "style": "deep", "dropout": 0.3, "learning_rate": 1e-4, "weight_decay": 0.05})
    made = supplement(study, "750k", best, 25)
    (error, *_) = check(resolve(made, Known(architecture_values(made))))
    assert (error.rule, error.level, error.value) == ("batch-minimum", Level.ERROR, "8")
    assert "phase2.effective_batch: [1024, 4096]" in error.remedy
    study = spec(**ratio, phase2={"effective_batch": [1024, 4096]})
    made = supplement(study, "750k", best, 25)
    for each in (study, made):
        assert check(resolve(each, Known(architecture_values(each)))) == ()


def test_other_heads_are_another_size() -> None:
    before, after = (resolved(architectures={"750k": {"deep": shape(heads)}}) for heads in (4, 8))
    (change,) = compare_with_baseline(after, before)[0]
    assert (change.variable, change.verdict.value) == ("size", "the one intended change")
    assert "128x4x4" in change.before
    assert "128x4x8" in change.after


def shape(n_heads: int) -> dict[str, int]:
    return {"d_model": 128, "n_layers": 4, "n_heads": n_heads}


def test_what_follows_from_a_default_is_no_difference() -> None:
    assert compare_with_baseline(resolved(metric="score", training={"precision": "auto"}), resolved()) == ((), ())
    prices: dict[str, Any] = {"objective": "neuralforecast", "metric": "auc", "training": {"precision": "32-true"}}
    one, other = spec(**prices), spec(objective="neuralforecast")
    here = Known(architecture_values(other), precision="32-true")
    assert compare_with_baseline(resolve(one, here), resolve(other, here)) == ((), ())


def test_exact_counts_of_other_features_are_no_other_size() -> None:
    made = spec(objective="neuralforecast", data={"tier": "a50"})
    more = [replace(rule, values={**rule.values, "exact_params": 10**6}) for rule in architecture_values(made)]
    changes, findings = compare_with_baseline(resolve(made, Known(more)), resolved(objective="neuralforecast"))
    assert [change.variable for change in changes] == ["data.tier"]
    assert findings == ()


def test_a_study_searches_on_from_one_of_its_trials_without_a_difference() -> None:
    study = spec(budgets=["750k", "2M"])
    known = Known(architecture_values(study))
    for params in ({"budget": "2M", "style": "deep"}, {"budget": "750k", "style": "shallow"}):
        given = {**params, "learning_rate": 1e-3, "dropout": 0.1, **derive(params, tuple(known.derived))}
        trial = resolve_trial(study, known, 5, given)
        assert (trial.name, trial.models[0].plan.effective) == ("s#5", 64)
        assert compare_with_baseline(resolve(study, known), trial) == ((), ())
    wider = resolved(budgets=["20M"])
    assert [change.variable for change in compare_with_baseline(wider, trial)[0]] == ["size"]


def test_what_a_study_with_its_own_objective_leaves_alone_plays_no_part() -> None:
    unused = resolved().unused
    assert {"model", "data.tier", "target.horizon", "split.test"} <= unused
    assert not {key for key in unused if key.startswith(("training", "budgets", "name"))}
    assert "target.horizon" not in resolved(target={"horizon": 5}).unused
    assert resolved(objective="neuralforecast").unused == frozenset()
