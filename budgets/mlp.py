"""Sizes of multilayer perceptrons, such as the actor and critic of PPO: one trunk, and heads on its last layer.

Parameters are the matrices, n_in · n_out each; biases, n_out each, are counted beside them. A checkpoint with the state
of Adam holds the weights and two moments in 32 bits: 12 bytes a parameter.

Source of the formula, of the tiers and of the use cases: the research note "Network Architecture Sizing" of
2025-12-18, for 53 features × 100 rows = 5,300 inputs and heads of 64. Its table contradicts its own formula: it gives
12.6 M for (2048, 1024, 512, 256), where the formula gives 13.6 M, about 1.5 M for (512, 256, 128), where it gives
2.9 M, and about 0.4 M for (256, 128, 64), where it gives 1.4 M; and the share of the first layer is 80, 89, 94 and
97 %, not 86 to 90. What the formula gives is what stands here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from budgets.divisors import LARGEST_COUNT
from budgets.errors import BudgetError

BYTES_A_PARAMETER: Final = 12
"""Of a checkpoint: a weight and two moments of Adam, four bytes each."""

HEAD_DIMS: Final = (64, 64)
"""Widths of the heads of actor and critic in the source."""

HARDWARE_TIERS: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "H100": (1024, 512, 256),
        "A100-80GB": (1024, 512, 256),
        "A100-40GB": (512, 256, 128),
        "high": (512, 256, 128),
        "medium": (512, 256, 128),
        "low": (256, 128, 64),
    }
)
"""Hidden layers for a card: by name where it is known, else `high` from 40 GB, `medium` from 20 GB, `low` below."""

USE_CASES: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "quick iteration and tests": (512, 256, 128),
        "standard production": (1024, 512, 256),
        "complex symbols, such as crypto": (2048, 1024, 512, 256),
        "less than a year of data": (512, 256, 128),
        "500 million steps and more": (2048, 1024, 512, 256),
    }
)
"""Hidden layers that the source recommends, by use."""


@dataclass(frozen=True)
class Layer:
    """One matrix with its biases.

    Attributes:
        name: `layer 1` and so on, `head 1` and so on.
        inputs: its width on the way in.
        outputs: its width on the way out.
    """

    name: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        """Entries of the matrix."""
        return self.inputs * self.outputs

    @property
    def biases(self) -> int:
        """One an output."""
        return self.outputs


@dataclass(frozen=True)
class MlpSize:
    """The layers of a perceptron and what follows from them."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Entries of all matrices, as the source counts."""
        return sum(layer.weights for layer in self.layers)

    @property
    def parameters_with_biases(self) -> int:
        """What `sum(p.numel() for p in module.parameters())` gives."""
        return self.parameters + sum(layer.biases for layer in self.layers)

    @property
    def checkpoint_bytes(self) -> int:
        """Weights and both moments of Adam, without biases, as the source counts."""
        return BYTES_A_PARAMETER * self.parameters

    @property
    def inference_flops(self) -> int:
        """Operations of one observation forward: a multiplication and an addition a weight."""
        return 2 * self.parameters

    def share(self, layer: Layer) -> float:
        """Return a layer's part of all parameters."""
        return layer.weights / self.parameters


def size_mlp(inputs: int, hidden_dims: Sequence[int], head_dims: Sequence[int] = HEAD_DIMS) -> MlpSize:
    """Return the size of a trunk of hidden layers with heads on its last one.

    Raises:
        BudgetError: a width is not positive, or there is no hidden layer.
    """
    if not hidden_dims:
        raise BudgetError("a perceptron has at least one hidden layer, not none: name their widths, such as 1024 512")
    for name, width in (("inputs", inputs), *(("hidden_dims", each) for each in (*hidden_dims, *head_dims))):
        if not 1 <= width <= LARGEST_COUNT:
            raise BudgetError(f"{name} are widths from 1 to {LARGEST_COUNT:,}, not {width}: correct it")
    widths = [inputs, *hidden_dims]
    trunk = [Layer(f"layer {i + 1}", widths[i], widths[i + 1]) for i in range(len(hidden_dims))]
    heads = [Layer(f"head {i + 1}", hidden_dims[-1], width) for i, width in enumerate(head_dims)]
    return MlpSize((*trunk, *heads))


def hardware_tier(card: str, memory_gb: float) -> str:
    """Return the tier of a card from its name and memory in GB, as NVIDIA's driver gives them."""
    if "H100" in card:
        return "H100"
    if "A100" in card:
        return "A100-80GB" if memory_gb > 60 else "A100-40GB"
    return "high" if memory_gb >= 40 else "medium" if memory_gb >= 20 else "low"
