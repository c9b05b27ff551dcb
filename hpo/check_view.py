"""What a person sees of a preflight, in at most 80 columns."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from hpo.output import count
from hpo.plan_view import duration
from hpo.preflight import Preflight
from studies.preflight import Finding, Level, Rule, Verdict

_STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}


def print_preflight(found: Preflight) -> None:
    """Print models, values, differences from the baseline and findings, the findings last."""
    console = Console(highlight=False)
    study = found.study
    console.print(f"study {study.name}: score {study.metric}", style="bold", markup=False)
    console.print(_models(found))
    console.print(f"\n{_limits(found)}", markup=False)
    console.print("\nvalues", style="bold")
    for key, value in study.values.items():
        console.print(f"  {key}: {'none' if value is None else value}", markup=False, soft_wrap=True)
    if found.baseline is not None:
        _print_changes(console, found)
    console.print()
    for finding in found.findings:
        _print_finding(console, finding)
    errors, warnings = len(found.of(Level.ERROR)), len(found.of(Level.WARNING))
    said = f"{count(errors, 'error')}, {count(warnings, 'warning')}" if errors + warnings else "nothing to object to"
    console.print(f"{said}; nothing was written")


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
    if not found.changes:
        console.print("  no difference")
    for change in found.changes:
        style = "red" if change.verdict is Verdict.ERROR else ""
        console.print(
            f"  {change.variable}: {change.before} → {change.after}", markup=False, style=style, soft_wrap=True
        )
        console.print(f"      {change.verdict.value}", style=style or "dim", markup=False)


def _print_finding(console: Console, finding: Finding) -> None:
    console.print(f"{finding.level.value} {finding.rule}", style=_STYLES[finding.level], markup=False)
    console.print(f"  {finding.says}, not {finding.value}", markup=False)
    console.print(f"  → {finding.remedy}", markup=False)
    console.print(f"  source: {finding.source}", style="dim", markup=False)


def print_rules(rules: Sequence[Rule]) -> None:
    """Print rules with their tables and sources."""
    console = Console(highlight=False)
    for number, rule in enumerate(rules):
        console.print(f"{'' if number == 0 else chr(10)}{rule.name}", style="bold", markup=False)
        console.print(f"{rule.says}\n{rule.why}", markup=False)
        if rule.columns:
            table = Table(box=None, header_style="dim", pad_edge=False)
            for column in rule.columns:
                table.add_column(column)
            for row in rule.rows:
                table.add_row(*row)
            console.print(table)
        console.print(f"source: {rule.source}", style="dim", markup=False)
