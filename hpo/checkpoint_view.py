"""Checkpoints and their differences, at most 80 columns wide.

Names and values come out of files of anybody: they are shown without markup and without control characters.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.output import count
from studies.checkpoint_comparison import Comparison, Difference
from studies.checkpoint_contents import CheckpointContents, Layer
from studies.checkpoint_weights import format_shape
from studies.spec import leaves

# Tensors that a terminal of 24 lines shows beside the rest.
_DIFFERENT_TENSORS = 12
# Parts of a configuration that are shown on a line of their own.
_SECTIONS = ("params", "training", "libraries", "spec")


def print_contents(found: CheckpointContents, *, every_tensor: bool) -> None:
    """Print configuration, parameters by layer, and size of a checkpoint."""
    console = Console(highlight=False)
    console.print(_title(found))
    console.print(_configuration(found.configuration))
    console.print()
    console.print(_tensors(found) if every_tensor else _layers(found.layers, found))
    console.print()
    console.print(_size(found))


def print_comparison(
    first: CheckpointContents, second: CheckpointContents, comparison: Comparison, *, every_tensor: bool
) -> None:
    """Print what differs between A and B, and what can be loaded and gone on with."""
    console = Console(highlight=False)
    for letter, found in (("A", first), ("B", second)):
        console.print(_title(found, f"{letter}  "))
    console.print()
    if comparison.configuration:
        console.print(_differences(comparison.configuration))
    else:
        console.print("the configurations are equal")
    console.print()
    console.print(_loading(comparison, every_tensor=every_tensor))
    console.print(_continuing(comparison))


def _title(found: CheckpointContents, prefix: str = "") -> Text:
    name, trial = found.configuration["spec"].get("name"), found.configuration["trial"]
    steps = found.configuration["training"].get("max_steps")
    said = f"{_shown(name)}#{_shown(trial)}, step {found.step} of {_shown(steps)}, {found.parameters:,} parameters"
    return Text(f"{prefix}{_printable(str(found.path))}\n", style="bold").append(
        f"{' ' * len(prefix)}{said}", style="not bold"
    )


def _configuration(configuration: Mapping[str, Any]) -> Table:
    """Return all values, a part of the configuration a row."""
    table = _table("configuration", "")
    alone = {key: value for key, value in configuration.items() if key not in _SECTIONS}
    for name, part in {"": alone, **{key: configuration[key] for key in _SECTIONS}}.items():
        # How the model is trained stands in the specification as well.
        said = leaves(part) if name != "spec" else _unsaid(part, configuration["training"])
        table.add_row(name or "trial", Text(", ".join(f"{_printable(key)}={_shown(value)}" for key, value in said)))
    return table


def _unsaid(spec: Mapping[str, Any], training: Mapping[str, Any]) -> list[tuple[str, Any]]:
    said = {"model": training.get("model"), **{f"training.{key}": value for key, value in training.items()}}
    return [(key, value) for key, value in leaves(spec) if key not in said or said[key] != value]


def _layers(layers: Sequence[Layer], found: CheckpointContents) -> Table:
    """Return a row a layer; equal ones that follow each other, as the blocks of a stack do, share one."""
    table = _table("layer", "", "parameters", "share", right=3)
    for _, run in groupby(layers, _kind):
        alike = list(run)
        trained = sum(layer.parameters for layer in alike)
        name = alike[0].name + (f" … {alike[-1].name.rpartition('.')[2]}" if len(alike) > 1 else "")
        table.add_row(
            Text(name),
            f"{len(alike)} × {alike[0].parameters:,}" if len(alike) > 1 else "",
            f"{trained:,}" if trained else "not trained",
            f"{sum(map(found.share, alike)):.1%}" if trained else "",
        )
    table.add_row("all", "", f"{found.parameters:,}", "")
    return table


def _kind(layer: Layer) -> tuple[object, ...]:
    """Return what blocks of one stack have in common; of anything else, what nothing else has."""
    stack, _, number = layer.name.rpartition(".")
    shapes = tuple((weight.name.removeprefix(layer.name), weight.shape) for weight in layer.weights)
    return (stack, shapes) if number.isdecimal() else (layer.name,)


def _tensors(found: CheckpointContents) -> Table:
    table = _table("tensor", "shape", "parameters", right=2)
    for layer in found.layers:
        for weight in layer.weights:
            trained = f"{weight.count:,}" if weight.trained else "not trained"
            table.add_row(Text(weight.name), format_shape(weight.shape), trained)
    table.add_row("all", "", f"{found.parameters:,}")
    return table


def _size(found: CheckpointContents) -> Text:
    agrees = {
        True: f"{found.parameters:,} parameters, as the configuration says",
        False: f"{found.parameters:,} parameters, and the configuration says {found.recorded_parameters or 0:,}",
        None: f"{found.parameters:,} parameters; the checkpoint doesn't say how many are trained"
        if not found.knows_trained
        else f"{found.parameters:,} parameters; the configuration doesn't say how many",
    }[found.count_agrees]
    other = found.file_bytes - found.weight_bytes - found.moment_bytes
    return Text(
        f"{agrees}\nfile {_mib(found.file_bytes)}: weights {_mib(found.weight_bytes)} "
        f"({', '.join(found.dtypes)}), optimizer {_mib(found.moment_bytes)}, other {_mib(other)}"
    )


def _differences(differences: Iterable[Difference]) -> Table:
    table = _table("configuration", "A", "B")
    for each in differences:
        table.add_row(Text(_printable(each.key)), Text(_shown(each.before)), Text(_shown(each.after)))
    return table


def _loading(comparison: Comparison, *, every_tensor: bool) -> Text:
    if comparison.loadable:
        but = "".join(f"\n         but {caution}" for caution in comparison.cautions)
        return Text(f"weights: can be loaded from one into the other{but}")
    different = comparison.weights
    shown = different if every_tensor else different[:_DIFFERENT_TENSORS]
    lines = [
        f"weights: those of A can't be loaded into B, nor those of B into A: {count(len(different), 'tensor')} "
        f"{'differs' if len(different) == 1 else 'differ'}",
        *(f"  {each}" for each in shown),
    ]
    if len(shown) < len(different):
        lines.append(f"  and {len(different) - len(shown)} more, which --layers lists")
    return Text("\n".join(lines))


def _continuing(comparison: Comparison) -> Text:
    if comparison.continuable:
        return Text("training: can go on from A by the configuration of B, and the other way round")
    parts = ", another ".join(comparison.forbids_continuing)
    return Text(f"training: can't go on from A by the configuration of B: another {parts}")


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return _printable(value)
    return _printable(json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    return text if text.isprintable() and text else ascii(text)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"


def _table(first: str, *others: str, right: int = 0) -> Table:
    """Return a table whose last columns, so many, are numbers."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for place, name in enumerate(others):
        is_number = place >= len(others) - right
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return table
