"""What a person sees of a preflight, in at most 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from hpo.output import count
from hpo.plan_view import duration
from hpo.preflight import Preflight
from studies.preflight import Finding, Level, Rule, Verdict, in_yaml

_OF_TRIAL = ("shape", "n_heads", "effective_batch", "learning_rate", "dropout", "weight_decay")
_STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}


def print_preflight(found: Preflight) -> None:
    """Print models, values, differences from the baseline and findings, the findings last."""
    console = Console(highlight=False)
    study = found.study
    console.print(f"study {study.name}, scored by {study.metric}", style="bold", markup=False)
    console.print(_models(found))
    console.print()
    _print_wrapped(console, _limits(found))
    console.print("\nvalues", style="bold")
    for key, value in study.values.items():
        if key not in study.unused:
            console.print(f"  {key}: {in_yaml(value)}", markup=False, soft_wrap=True)
    if found.baseline is not None:
        _print_changes(console, found)
    console.print()
    for finding in found.findings:
        _print_finding(console, finding)
    errors, warnings = len(found.of(Level.ERROR)), len(found.of(Level.WARNING))
    said = f"{count(errors, 'error')}, {count(warnings, 'warning')}" if errors + warnings else "nothing to object to"
    console.print(f"{said}; nothing was written")


def _print_wrapped(console: Console, text: str, *, indent: int = 0, style: str = "") -> None:
    """Print a text with all of its lines but the first two columns further in."""
    first, further = " " * indent, " " * (indent + 2 if indent else 0)
    lines = textwrap.wrap(text, console.width, initial_indent=first, subsequent_indent=further, break_on_hyphens=False)
    console.print("\n".join(lines), style=style, markup=False, soft_wrap=True)


def _models(found: Preflight) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("d×L×heads", "parameters", "batch", "micro×parts", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in found.study.models:
        memory = found.memory_mb(model)
        low, high = model.smallest_batch, model.plan.effective
        table.add_row(
            model.name,
            f"{model.d_model}×{model.n_layers}×{model.n_heads}",
            f"{model.parameters:,}" if model.exact else f"~{model.parameters:,}",
            str(low) if low == high else f"{low}–{high}",
            f"{model.plan.micro}×{model.plan.accumulation}",
            "–" if memory is None else f"{memory:,.0f} MiB",
        )
    return table


def _limits(found: Preflight) -> str:
    allowance, hours = found.allowance, found.study.hours
    limit = f"a trial may take {allowance.limit_mb:,.0f} MiB ({allowance.limit_is})"
    cost = "" if hours is None else f"; the whole search takes {duration(hours)} or more here"
    return limit + cost


def _print_changes(console: Console, found: Preflight) -> None:
    assert found.baseline is not None
    console.print(f"\nagainst {found.baseline.name}", style="bold", markup=False)
    if found.baseline.trial is not None:
        _print_wrapped(console, f"its trial: {_trial(found.baseline.trial)}", indent=2, style="dim")
    if not found.changes:
        console.print("  no difference")
    for change in found.changes:
        style = "red" if change.verdict is Verdict.ERROR else ""
        _print_wrapped(console, f"{change.variable}: {change.before} → {change.after}", indent=2, style=style)
        console.print(f"      {change.verdict.value}", style=style or "dim", markup=False)


def _trial(values: Mapping[str, Any]) -> str:
    """Return what a person asks of a trial: its model and its hyperparameters."""
    return ", ".join(
        f"{key} {values[key]:g}" if isinstance(values[key], float) else f"{key} {values[key]}"
        for key in _OF_TRIAL
        if key in values
    )


def _print_finding(console: Console, finding: Finding) -> None:
    console.print(f"{finding.level.value} {finding.rule}", style=_STYLES[finding.level], markup=False)
    _print_wrapped(console, finding.what, indent=2)
    _print_wrapped(console, f"→ {finding.remedy}", indent=2)
    _print_wrapped(console, f"source: {finding.source}", indent=2, style="dim")


def print_rules(rules: Sequence[Rule]) -> None:
    """Print rules with their tables and sources."""
    console = Console(highlight=False)
    for number, rule in enumerate(rules):
        console.print(f"{'' if number == 0 else chr(10)}{rule.name}", style="bold", markup=False)
        _print_wrapped(console, rule.says)
        _print_wrapped(console, rule.why)
        if rule.columns:
            table = Table(box=None, header_style="dim", pad_edge=False)
            for column in rule.columns:
                table.add_column(column)
            for row in rule.rows:
                table.add_row(*row)
            console.print(table)
        _print_wrapped(console, f"source: {rule.source}", style="dim")
