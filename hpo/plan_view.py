"""What a person sees of a dry run."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from hpo.output import count
from hpo.phase2 import Phase2Options, Phase2Plan, ranking_lines


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print the forced configurations, the space, the cap and the cost; at most 80 columns wide."""
    console = Console(highlight=False)
    for notice in plan["notices"]:
        Console(stderr=True, highlight=False).print(f"notice: {notice}", style="yellow", markup=False)
    console.print(f"study {plan['study']}: at most {count(plan['cap'], 'trial')}, {len(plan['forced'])} of them forced")
    if plan["data"]:
        console.print(_data_line(plan["data"]))
    if plan["forced"]:
        console.print(_forced_table(plan["forced"]))
    console.print("\nsearch space")
    for name, distribution in plan["space"].items():
        console.print(f"  {name:14} {_range(distribution)}", markup=False)
    if plan["cost"] is not None:
        console.print(f"\n{_cost_line(plan['cost'])}")
    console.print("nothing was written")


def print_phase2(
    name: str, plan: Phase2Plan, rows: Sequence[Mapping[str, Any]], options: Phase2Options, *, made: bool
) -> None:
    """Print the ranking with its numbers, and each study with its corners; at most 80 columns wide."""
    console = Console(highlight=False)
    what = "the mean of their three best configurations" if options.rank_by == "mean" else "their best trial"
    console.print(f"budgets of {name} by {what}", style="bold", markup=False)
    for line in ranking_lines(plan, options.rank_by):
        console.print(line, markup=False)
    for row in rows:
        there = row["name"] in plan.existing
        state = "there already" if there else "made" if made else "to be made"
        console.print(f"\n{row['name']}, {state}", style="bold", markup=False)
        if there and options.trials not in {None, row["cap"]}:
            remedy = f"`hpo resume {row['name']} --trials {options.trials}`"
            console.print(f"its cap stays {row['cap']}: {remedy}", markup=False, soft_wrap=True)
        console.print(
            f"at most {count(row['cap'], 'trial')}, these {len(row['forced'])} corners first; {_history(row)}"
        )
        console.print(_corner_table(row["forced"]))


def _history(row: Mapping[str, Any]) -> str:
    if row["imported"] == 0:
        return "no trial of Phase 1 lies in its ranges"
    return f"history: {count(row['imported'], 'trial')} of Phase 1"


def _corner_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("corner", no_wrap=True)
    for name in ("heads", "lr", "decay", "batch", "d×L", "drop"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            str(row["n_heads"]),
            f"{row['learning_rate']:g}",
            f"{row['weight_decay']:g}",
            str(row["effective_batch"]),
            f"{row['d_model']}×{row['n_layers']}",
            f"{row['dropout']:g}",
        )
    return table


def _forced_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("id", "name"):
        table.add_column(name, no_wrap=True)
    for name in ("d×L×heads", "drop", "lr", "decay", "12·L·d²", "exact"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        exact = row["exact_params"]
        table.add_row(
            str(row["id"]),
            row["name"],
            f"{row['d_model']}×{row['n_layers']}×{row['n_heads']}",
            f"{row['dropout']:g}",
            f"{row['learning_rate']:g}",
            f"{row['weight_decay']:g}",
            f"{row['estimated_params']:,}",
            f"{exact:,}" if exact else "–",
        )
    return table


def _range(distribution: Mapping[str, Any]) -> str:
    if "choices" in distribution:
        return ", ".join(str(choice) for choice in distribution["choices"])
    return f"{distribution['low']:g} to {distribution['high']:g}{', logarithmic' if distribution['log'] else ''}"


def _data_line(data: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{count} {name}" for name, count in data["decisions"].items())
    return (
        f"data {data['first']} to {data['last']}: {', '.join(data['series'])}, {data['features']} features; "
        f"decisions: {parts}"
    )


def _cost_line(cost: Mapping[str, Any]) -> str:
    total = cost["forced_flops"] + cost["sampled_flops"]
    return (
        f"cost: {total:.2e} floating-point operations, {cost['forced_flops'] / total:.0%} of them for the forced "
        f"ones; the whole cap with every step takes {duration(cost['least_hours'])} or more at the "
        f"{cost['machine_flops_per_second'] / 1e9:.0f} GFLOP/s measured just now"
    )


def duration(hours: float) -> str:
    """Return a time in the unit that people would use."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
