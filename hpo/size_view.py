"""Sizes of models, in tables of at most 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from budgets import format_budget
from budgets.mlp import MlpSize

_MIB = 2**20
_GROUPS = {
    "embedding": "embedding",
    "attention": "attention",
    "feed_forward": "feed-forward",
    "norms": "norms",
    "head": "head",
}


def print_shapes(parameters: int, model: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print shapes of a model of about one size, from wide to deep."""
    table = _table("d_model", "layers", "heads", "aspect", "estimate", "exact", "off", "FLOPs/token")
    for row in rows:
        table.add_row(
            str(row["d_model"]),
            str(row["n_layers"]),
            str(row["n_heads"]),
            f"{row['aspect']:.4g}",
            _short(row["estimated_params"]),
            _short(row["exact_params"]),
            f"{row['estimated_params'] / parameters - 1:+.0%}",
            f"{row['training_flops_per_token']:.2g}",
        )
    console = Console(highlight=False)
    console.print(f"{model}: shapes of about {format_budget(parameters)} parameters, from wide to deep", style="bold")
    console.print(table)
    console.print("estimate: 12·L·d²; exact: all that is trained; off: estimate against budget", style="dim")


def print_shape(parameters: int, model: str, row: Mapping[str, Any]) -> None:
    """Print one shape of a model, its parameters by group, its memory and its cost."""
    console = Console(highlight=False)
    inner = "" if row["d_ff"] is None else f", d_ff {row['d_ff']}"
    console.print(
        f"{model}: d_model {row['d_model']}, {row['n_layers']} layers, {row['n_heads']} heads{inner} "
        f"(aspect {row['aspect']:g})",
        style="bold",
    )
    table = _table("parameters", "", "share")
    for group, name in _GROUPS.items():
        table.add_row(name, f"{row['groups'][group]:,}", f"{row['groups'][group] / row['exact_params']:.1%}")
    table.add_row("exact", f"{row['exact_params']:,}", "")
    estimated = row["estimated_params"]
    table.add_row("estimate 12·L·d²", f"{estimated:,}", f"{estimated / parameters - 1:+.1%} of the budget")
    console.print(table)
    console.print(
        f"weights {row['weight_bytes'] / _MIB:,.1f} MiB in 32 bits; "
        f"training {row['training_flops_per_token']:.3g} FLOPs a token"
    )


def print_mlp(found: MlpSize, tier: str | None) -> None:
    """Print a perceptron layer by layer."""
    console = Console(highlight=False)
    if tier is not None:
        console.print(f"tier {tier}", style="bold")
    table = _table("layer", "shape", "parameters", "share")
    for layer in found.layers:
        table.add_row(
            layer.name, f"{layer.inputs:,} x {layer.outputs:,}", f"{layer.weights:,}", f"{found.share(layer):.1%}"
        )
    table.add_row("all", "", f"{found.parameters:,}", "")
    console.print(table)
    console.print(
        f"with biases {found.parameters_with_biases:,}; checkpoint {found.checkpoint_bytes / _MIB:,.1f} MiB "
        f"(12 bytes a parameter)\n{found.inference_flops:.3g} FLOPs an observation"
    )


def print_mlps(inputs: int, sizes: Mapping[str, MlpSize]) -> None:
    """Print the perceptrons of all tiers and use cases, those with equal layers in one row."""
    table = _table("hidden layers", "parameters", "checkpoint", "1st layer")
    table.add_column("for")
    found = {mlp.layers: mlp for mlp in sizes.values()}
    for layers, mlp in sorted(found.items(), key=lambda item: -item[1].parameters):
        table.add_row(
            " ".join(str(layer.outputs) for layer in layers if layer.name.startswith("layer")),
            _short(mlp.parameters),
            f"{mlp.checkpoint_bytes / _MIB:,.0f} MiB",
            f"{mlp.share(layers[0]):.0%}",
            "; ".join(name for name, other in sizes.items() if other == mlp),
        )
    console = Console(highlight=False)
    console.print(f"perceptrons of {inputs:,} inputs", style="bold")
    console.print(table)


def _short(parameters: int) -> str:
    return f"{parameters / 1e6:.3g}M" if parameters >= 10**6 else f"{parameters / 1e3:.3g}k"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
