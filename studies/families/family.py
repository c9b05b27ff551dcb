"""What a model family has to answer."""

from collections.abc import Callable, Sequence
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


def _takes_everything(_architecture: Architecture, _shape: WindowShape) -> str | None:
    return None


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        build: makes the module from architecture, window, dropout and seed; its forward takes a dictionary with
            `insample_y` [batch, window, series] and `futr_exog` [batch, features, window + horizon, series] and
            returns [batch, horizon, series], the logits of the label. One window's logits depend on that window
            alone, in training too, so that the micro-batch changes nothing; the only randomness of its forward is
            that of its `nn.Dropout` modules.
        tokens: how many tokens, over all series, pass through the layers for one window.
        count: the trained parameters of the module by group, by arithmetic alone; it equals the built module's.
            A complex number is two parameters.
        forward_flops: floating-point operations of one window, forward alone; a multiplication and an addition are
            two. Source of the rule: Kaplan et al. 2020, table 1: 2 a token and parameter of a matrix, and 4·T·d a
            token for attention over T keys (there over their mean).
        blocks: the repeated layers of the built module, whose activations can be computed again in the backward
            pass; see `studies.families.recompute`.
        refusal: why this architecture cannot be built for this window, and what to do instead; None where it can.
            It is asked when a specification is read, where the series are not known yet, and of the features
            whether there are any.
        heads: the only number of heads that can be built, which shapes of the table then have; None: any that divide
            the width.
        feed_forward: whether layers have a feed-forward, four times as wide as the model.
    """

    build: "Callable[[Architecture, WindowShape, float, int], nn.Module]"
    tokens: Callable[[WindowShape], int]
    count: Callable[[Architecture, WindowShape], ParameterGroups]
    forward_flops: Callable[[Architecture, WindowShape], int]
    blocks: "Callable[[nn.Module], Sequence[nn.Module]]"
    refusal: Callable[[Architecture, WindowShape], str | None] = _takes_everything
    heads: int | None = None
    feed_forward: bool = True

    def exact_parameters(self, architecture: Architecture, shape: WindowShape) -> int:
        """Return the number of trained parameters, counted on the module built on the meta device.

        The meta device allocates nothing: 226 M parameters are counted in milliseconds.
        """
        import torch

        with torch.device("meta"):
            module = self.build(architecture, shape, 0.0, 0)
        trained = (parameter for parameter in module.parameters() if parameter.requires_grad)
        return sum(parameter.numel() * (2 if parameter.is_complex() else 1) for parameter in trained)

    def training_flops(self, architecture: Architecture, shape: WindowShape) -> int:
        """Return floating-point operations of one window, forward and backward: three times the forward pass.

        Source: Kaplan et al. 2020, section 2.1: the backward pass costs twice the forward pass.
        """
        return 3 * self.forward_flops(architecture, shape)


def encoder_flops(n_layers: int, width: int, tokens: int, keys: int) -> int:
    """Return forward operations of encoder layers: 2·12·d² a token for the matrices, 4·T·d for attention over T keys.

    Args:
        n_layers: of attention and a feed-forward of four times the width each.
        width: of the model, d.
        tokens: that pass through every layer.
        keys: that each of them attends to, T.
    """
    return n_layers * tokens * (24 * width**2 + 4 * keys * width)
