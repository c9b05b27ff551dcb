"""What a person sees of a dry run."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print the forced configurations, the space, the cap and the cost; at most 80 columns wide."""
    console = Console(highlight=False)
    for notice in plan["notices"]:
        console.print(f"notice: {notice}", style="yellow", markup=False)
    console.print(f"study {plan['study']}: at most {plan['cap']} trials, {len(plan['forced'])} of them forced")
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
        f"ones; the whole cap with every step takes {_duration(cost['least_hours'])} or more at the "
        f"{cost['machine_flops_per_second'] / 1e9:.0f} GFLOP/s measured just now"
    )


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
