"""A batch plan in at most 80 columns."""

from rich.console import Console
from rich.table import Table

from budgets import PlannedBatch, format_budget, metric_kind

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_batch(planned: PlannedBatch) -> None:
    """Print the plan, the rule and the source of each number, and what the rules have against it."""
    console = Console(highlight=False)
    plan, kind = planned.batch, metric_kind(planned.metric)
    console.print(
        f"batch of {format_budget(planned.parameters)} parameters for {planned.metric} ({kind.value})",
        style="bold",
        markup=False,
    )
    console.print(
        f"effective {plan.effective:,} = micro {plan.micro:,} x accumulation {plan.accumulation:,} "
        f"x world size {plan.world_size:,}"
    )
    if planned.ppo is not None:
        played = planned.ppo
        console.print(
            f"PPO, a process: {played.rollouts:,} rollouts in {played.chunks:,} chunks of {played.chunk:,}, "
            f"read {played.epochs:,} times\n"
            f"in batches of {played.batch:,}: {played.optimizer_steps:,} optimizer steps an iteration"
        )
    console.print()
    console.print(_rules(planned))
    for finding in planned.findings:
        console.print(f"{finding.level}: {finding.said}", style=_STYLES[finding.level], markup=False)


def _rules(planned: PlannedBatch) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("rule", ratio=3)
    table.add_column("source", ratio=2, style="dim")
    for rule in planned.rules:
        table.add_row(f"{rule.value:,}", rule.rule, rule.source)
    return table
