"""What differs from a baseline, and what each difference is: the one intended change, a mistake, or harmless."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from budgets import format_budget
from studies.preflight.findings import Finding, Level
from studies.preflight.resolved import Model, Resolved

_SIZE = ("model", "architectures", "budgets")
_HOW_IT_RUNS = (
    *("name", "mode", "alerts", "keep_weights", "max_attempts", "training.data_workers", "training.micro_batch"),
    *("training.checkpoint_minutes", "training.gradient_checkpointing", "training.empty_cache"),
)
_SEARCH = ("trials", "seeds", "forced_extremes", "early_stop", "pruning", "phase2", "supplementary")
# A batch is compared model by model, Phase 2 by what it supplements; the name is above the list.
_BY_OTHER_WAYS = ("training.effective_batch", "supplementary", "name")


class Verdict(StrEnum):
    """What a change is."""

    INTENDED = "the one intended change"
    VARIABLE = "one of several changed variables"
    ERROR = "error"
    HARMLESS = "harmless: how it runs"
    SEARCH = "harmless: how much is searched"


@dataclass(frozen=True)
class Change:
    """One variable that differs.

    Attributes:
        variable: a dotted key, or `size` for all that decides the size of the model, as width x layers x heads.
    """

    variable: str
    before: str
    after: str
    verdict: Verdict

    def as_json(self) -> dict[str, str]:
        """Return it as JSON types."""
        return {
            "variable": self.variable,
            "before": self.before,
            "after": self.after,
            "verdict": self.verdict.value,
        }


def compare_with_baseline(study: Resolved, baseline: Resolved) -> tuple[tuple[Change, ...], tuple[Finding, ...]]:
    """Return what differs between a study and its baseline, and what the rules say to that."""
    shrunk = tuple(_batch_shrunk(study, baseline))
    harmless, variables = _sorted_out(study, baseline)
    size = _size_change(study, baseline)
    changed = [*([size] if size else []), *variables]
    wrong = {"training.effective_batch"} if shrunk else set()
    # What is a mistake is no intention: of the others one may be.
    intended = [variable for variable, _, _ in changed if variable not in wrong]
    verdict = Verdict.INTENDED if len(intended) == 1 else Verdict.VARIABLE
    changes = [Change(*each, Verdict.ERROR if each[0] in wrong else verdict) for each in changed]
    several = tuple(_several([variable for variable, _, _ in changed]))
    return (*changes, *harmless), (*shrunk, *several)


def _sorted_out(study: Resolved, baseline: Resolved) -> tuple[list[Change], list[tuple[str, str, str]]]:
    harmless, variables = [], []
    for key, before, after in _differences(study, baseline):
        if _is_under(key, _HOW_IT_RUNS):
            harmless.append(Change(key, before, after, Verdict.HARMLESS))
        elif _is_under(key, _SEARCH):
            harmless.append(Change(key, before, after, Verdict.SEARCH))
        elif not _is_under(key, _SIZE):
            variables.append((key, before, after))
    return harmless, variables


def _differences(study: Resolved, baseline: Resolved) -> Iterator[tuple[str, str, str]]:
    before, after = _batches(baseline.models), _batches(study.models)
    if before != after:
        yield "training.effective_batch", before, after
    before, after = _supplements(baseline), _supplements(study)
    if before != after:
        yield "supplementary", before, after
    for key in sorted(study.values.keys() | baseline.values.keys()):
        before, after = (in_yaml(resolved.values.get(key)) for resolved in (baseline, study))
        if before != after and not _is_under(key, _BY_OTHER_WAYS):
            yield key, before, after


def _supplements(resolved: Resolved) -> str:
    of = resolved.values.get("supplementary.of")
    return in_yaml(None) if of is None else f"{of}#{resolved.values['supplementary.trial']}"


def _batches(models: tuple[Model, ...]) -> str:
    low, high = min(m.smallest_batch for m in models), max(m.plan.effective for m in models)
    return str(low) if low == high else f"{low} to {high}"


def _size_change(study: Resolved, baseline: Resolved) -> tuple[str, str, str] | None:
    before, after = (_sizes(resolved.models) for resolved in (baseline, study))
    family = [str(resolved.values.get("model")) for resolved in (baseline, study)]
    if family[0] != family[1]:
        return "size", f"{family[0]} {', '.join(before)}", f"{family[1]} {', '.join(after)}"
    # A trial has one size where a study has several: that is no difference.
    same = set(before) <= set(after) if baseline.trial is not None else before == after
    return None if same else ("size", ", ".join(before), ", ".join(after))


def _sizes(models: tuple[Model, ...]) -> list[str]:
    """Return the shapes with their estimates: exact counts differ with the features, which are no size."""
    ordered = sorted(models, key=lambda model: model.estimated)
    return list(
        dict.fromkeys(f"{m.d_model}x{m.n_layers}x{m.n_heads} ({format_budget(_rounded(m.estimated))})" for m in ordered)
    )


def _rounded(parameters: int) -> int:
    return round(float(f"{parameters:.3g}"))


def _batch_shrunk(study: Resolved, baseline: Resolved) -> Iterator[Finding]:
    before, after = (max(model.estimated for model in resolved.models) for resolved in (baseline, study))
    least_before, least_after = (min(m.smallest_batch for m in r.models) for r in (baseline, study))
    if after > before and least_after < least_before:
        grown = f"{format_budget(_rounded(before))} to {format_budget(_rounded(after))}"
        yield Finding(
            "batch-shrunk",
            Level.ERROR,
            f"while the model grows ({grown} parameters) the effective batch stays at {least_before} or more",
            str(least_after),
            f"set training.effective_batch: {least_before} or more, and training.micro_batch where memory is short",
        )


def _several(variables: list[str]) -> Iterator[Finding]:
    if len(variables) > 1:
        yield Finding(
            "one-variable",
            Level.WARNING,
            "one variable should change against the baseline",
            f"{len(variables)} ({', '.join(variables)})",
            "change them one at a time, or expect not to know which one did it",
        )


def _is_under(key: str, keys: tuple[str, ...]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in keys)


def in_yaml(value: Any) -> str:  # noqa: ANN401  any JSON value
    """Return a value as a specification has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_yaml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "not set" if value is None else str(value)
