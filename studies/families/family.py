"""What a model family has to answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from budgets import Architecture, ParameterGroups

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WindowShape:
    """One training window: rows of history, rows ahead, series and features a series."""

    window: int
    horizon: int
    n_series: int
    n_features: int


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        build: makes the module; its forward takes a dictionary with `insample_y` [batch, window, series] and
            `futr_exog` [batch, features, window + horizon, series] and returns [batch, horizon, series], the
            logits of the label.
        tokens: how many tokens attend to each other in one window.
        count: the trained parameters of the module by group, by arithmetic alone; it equals the built module's.
    """

    build: "Callable[[Architecture, WindowShape, float, int], nn.Module]"
    tokens: Callable[[WindowShape], int]
    count: Callable[[Architecture, WindowShape], ParameterGroups]

    def exact_parameters(self, architecture: Architecture, shape: WindowShape) -> int:
        """Return the number of trained parameters, counted on the module built on the meta device.

        The meta device allocates nothing: 226 M parameters are counted in milliseconds.
        """
        import torch

        with torch.device("meta"):
            module = self.build(architecture, shape, 0.0, 0)
        return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)

    def training_flops(self, architecture: Architecture, shape: WindowShape) -> int:
        """Return floating-point operations of one window, forward and backward.

        Three times the forward pass, which takes 2·12·d² for the matrices and 4·T·d for attention over T tokens,
        a token and layer. Source: Kaplan et al. 2020, table 1, with the attention over T keys instead of its mean.
        """
        tokens, width = self.tokens(shape), architecture.d_model
        return 3 * architecture.n_layers * tokens * (24 * width**2 + 4 * tokens * width)
