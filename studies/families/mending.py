"""Parts of NeuralForecast's networks that are replaced or left untrained."""

from collections.abc import Iterable

from torch import nn


def without_batch_norm(network: nn.Module, width: int) -> nn.Module:
    """Replace every batch norm that stands between two transpositions by a layer norm; return the network.

    A batch norm makes a window's loss depend on the other windows of its micro-batch. Both have 2·d parameters.
    """
    for layer in list(network.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.Sequential) and any(isinstance(each, nn.BatchNorm1d) for each in child):
                setattr(layer, name, nn.LayerNorm(width))
    assert not any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in network.modules())
    return network


def freeze(network: nn.Module, parts: Iterable[str]) -> nn.Module:
    """Leave parameters untrained that never get a gradient, by parts of their names; return the network.

    What does not matter for the output is no parameter of a budget, and takes no gradient and no moments.
    """
    names = tuple(parts)
    for name, parameter in network.named_parameters():
        if any(part in name for part in names):
            parameter.requires_grad_(False)
    return network
