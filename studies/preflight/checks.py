"""The rules that look at one study alone."""

from collections.abc import Iterator
from dataclasses import replace

from budgets import MetricKind, format_budget, metric_kind, plan_batch
from budgets.batch_rules import minimum_effective_batch, next_power_of_two
from studies.memory import Allowance
from studies.preflight.findings import Finding, Level
from studies.preflight.learning_rates import FAR, OUT_OF_REACH, how_far, suggested_learning_rate
from studies.preflight.resolved import Model, Resolved
from studies.sections import REGRESSION_LOSSES

_CLASSIFICATION = {MetricKind.RANKING, MetricKind.LIKELIHOOD}
_WEEK_HOURS = 7 * 24.0


def check(study: Resolved, allowance: Allowance | None = None) -> tuple[Finding, ...]:
    """Return what the rules have to say about a study, errors first."""
    found = [
        *_loss(study),
        # What is enough for the largest model is enough for all.
        *_batch(study, study.largest),
        *_accumulation(study),
        *(finding for model in study.models for finding in _learning_rate(model)),
        *(finding for model in study.models for finding in _memory(study, model, allowance)),
        *_hours(study),
    ]
    return tuple(sorted(_once(found), key=lambda finding: list(Level).index(finding.level)))


def _once(findings: list[Finding]) -> list[Finding]:
    """Keep one finding of those that say the same of several models."""
    return list({(f.rule, f.level, f.says, f.value): f for f in findings}.values())


def _loss(study: Resolved) -> Iterator[Finding]:
    loss, kind = str(study.values["training.loss"]), metric_kind(study.metric)
    if not study.loss_given:
        return
    if kind in _CLASSIFICATION and loss in REGRESSION_LOSSES:
        remedy = "take training.loss bernoulli, weighted or focal"
        yield Finding("loss-metric", Level.ERROR, f"{study.metric} needs a classification loss", loss, remedy)
    if kind is MetricKind.REGRESSION and loss not in REGRESSION_LOSSES:
        remedy = f"take training.loss {', '.join(sorted(REGRESSION_LOSSES))}"
        yield Finding("loss-metric", Level.ERROR, f"{study.metric} needs a regression loss", loss, remedy)


def _batch(study: Resolved, model: Model) -> Iterator[Finding]:
    planned = plan_batch(_rounded(model), study.metric, effective=model.smallest_batch, micro=1)
    rules = {"error": ("batch-minimum", Level.ERROR), "warning": ("batch-root", Level.WARNING)}
    for finding in planned.findings:
        if finding.level in rules:
            rule, level = rules[finding.level]
            says, _, rest = finding.said.partition(", not ")
            value, _, remedy = rest.partition(": ")
            yield Finding(rule, level, says, value, _phase2_remedy(study, model) if _is_phase2(study) else remedy)
    if not planned.errors:
        yield from _phase2_batch(study, model)


def _phase2_batch(study: Resolved, model: Model) -> Iterator[Finding]:
    """Look ahead: Phase 2 takes its batches from its own range, whatever Phase 1 was trained with."""
    low, high = study.values["phase2.effective_batch"]
    least = minimum_effective_batch(_rounded(model), study.metric)
    if low < least and not _is_phase2(study):
        yield Finding(
            "batch-minimum",
            Level.NOTE,
            f"phase2.effective_batch begins at {least} or more for {study.metric}",
            f"{low} to {high}",
            f"{_phase2_remedy(study, model)}; `hpo phase2` is refused otherwise",
        )


def _phase2_remedy(study: Resolved, model: Model) -> str:
    least = next_power_of_two(minimum_effective_batch(_rounded(model), study.metric))
    return f"begin a study of another name with phase2.effective_batch: [{least}, {4 * least}]"


def _is_phase2(study: Resolved) -> bool:
    return study.values.get("supplementary.of") is not None


def _accumulation(study: Resolved) -> Iterator[Finding]:
    wanted = study.values.get("training.micro_batch")
    for model in study.models:
        for effective in {model.plan.effective, model.smallest_batch}:
            if wanted is not None and effective % min(int(wanted), effective):
                yield Finding(
                    "accumulation",
                    Level.WARNING,
                    f"training.micro_batch divides an effective batch of {effective}",
                    str(wanted),
                    "take a power of two; the greatest common divisor is run",
                )


def _learning_rate(model: Model) -> Iterator[Finding]:
    suggested, (low, high) = suggested_learning_rate(model.parameters), model.learning_rates
    says = f"at {format_budget(_rounded(model))} parameters the learning rate is about {suggested:.2g}"
    remedy = f"search around {suggested:.2g}, or know why not"
    for rate in model.default_rates:
        if how_far(rate, model.parameters) > FAR:
            yield Finding("learning-rate", Level.WARNING, says, f"{rate:g}", remedy)
    if low != high and not low / OUT_OF_REACH <= suggested <= high * OUT_OF_REACH:
        yield Finding("learning-rate", Level.WARNING, says, f"{low:g} to {high:g}", remedy)


def _rounded(model: Model) -> int:
    """Return the parameters as people say them: rules speak once of models of one size."""
    return round(float(f"{model.parameters:.2g}"))


def _memory(study: Resolved, model: Model, allowance: Allowance | None) -> Iterator[Finding]:
    whole = model.memory(model.plan, study.data_bytes)
    if allowance is None or whole is None:
        return
    says = f"{model.name} should fit {allowance.limit_mb:,.0f} MiB ({allowance.limit_is})"
    if allowance.holds(whole):
        return
    fitting = _fitting_micro_batch(study, model, allowance)
    value = f"{allowance.needed_mb(whole):,.0f} MiB at a micro-batch of {model.plan.micro}"
    alone = model.memory(replace(model.plan, micro=1), study.data_bytes)
    if fitting is None and alone is not None and allowance.could_hold(alone):
        remedy = "wait for what else is running here, or expect this budget's trials to run out of memory"
        yield Finding("memory", Level.WARNING, says, value, remedy)
    elif fitting is None:
        remedy = "take a smaller budget, gradient_checkpointing, a shorter window or another machine"
        smallest = "" if model.plan.micro == 1 else ", and not at one of 1 either"
        yield Finding("memory", Level.ERROR, says, f"{value}{smallest}", remedy)
    else:
        remedy = f"set training.micro_batch: {fitting}; a trial that runs out of memory gets there by halving"
        yield Finding("memory", Level.WARNING, says, value, remedy)


def _fitting_micro_batch(study: Resolved, model: Model, allowance: Allowance) -> int | None:
    plan = model.plan.halved()
    while plan is not None:
        estimate = model.memory(plan, study.data_bytes)
        if estimate is not None and allowance.holds(estimate):
            return plan.micro
        plan = plan.halved()
    return None


def _hours(study: Resolved) -> Iterator[Finding]:
    if study.hours is not None and study.hours > _WEEK_HOURS:
        yield Finding(
            "hours",
            Level.WARNING,
            "the whole search should take less than a week of this machine",
            f"{study.hours / 24:,.0f} days or more",
            "search fewer budgets, fewer steps or fewer features, or use more machines or a GPU",
        )
