"""Whether the weights of one network fit another, and loading them where they do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studies.checkpoint_contents import read_weights
from studies.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WeightDifference:
    """One tensor that keeps the weights of one network from being loaded into another.

    Attributes:
        offered: its shape where the weights come from; None where they have no such tensor.
        needed: its shape where they are to go; None where the network has no such tensor.
    """

    name: str
    offered: Shape | None
    needed: Shape | None

    @property
    def kind(self) -> str:
        """`missing`, `unexpected` or `shape`."""
        return "missing" if self.offered is None else "unexpected" if self.needed is None else "shape"

    def __str__(self) -> str:
        """Return such as `encoder.norm.weight 192 against 320`."""
        if self.offered is None:
            return f"{self.name} {format_shape(self.needed)} is missing"
        if self.needed is None:
            return f"{self.name} {format_shape(self.offered)} is unexpected"
        return f"{self.name} {format_shape(self.offered)} against {format_shape(self.needed)}"


def weight_differences(offered: Mapping[str, Shape], needed: Mapping[str, Shape]) -> tuple[WeightDifference, ...]:
    """Return every tensor that is on one side alone or has another shape there, in the order of the network."""
    names = [*needed, *(name for name in offered if name not in needed)]
    return tuple(
        WeightDifference(name, offered.get(name), needed.get(name))
        for name in names
        if offered.get(name) != needed.get(name)
    )


def load_weights(network: "nn.Module", path: Path) -> None:
    """Load the weights of a checkpoint into a network that a family has built: all of them or none.

    Raises:
        CheckpointError: the checkpoint can't be read, or its weights don't fit; the network is then as it was.
    """
    found = read_weights(path)
    offered = {name: tuple(tensor.shape) for name, tensor in found.items()}
    needed = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    different = weight_differences(offered, needed)
    if different:
        others = f", as the first of {len(different)} differences" if len(different) > 1 else ""
        raise CheckpointError(
            f"the weights of {path} must fit the network that they are loaded into, {different[0]}{others}: build the "
            "network by the checkpoint's configuration, which `hpo inspect` shows"
        )
    network.load_state_dict(found)


def format_shape(shape: Shape | None) -> str:
    """Return such as `192x80`; a single number is a scalar."""
    return "x".join(map(str, shape)) or "scalar" if shape is not None else "-"
