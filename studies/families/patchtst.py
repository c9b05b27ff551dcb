"""PatchTST (Nie et al. 2022, arXiv 2211.14730): 16 rows of a series, every 8 rows, are one token; series don't meet.

It takes no covariates. Its batch norms are replaced by layer norms of the same size.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from budgets import Architecture, ParameterGroups
from studies.families.family import Family, WindowShape, encoder_flops
from studies.families.options import model_options

if TYPE_CHECKING:
    from torch import nn

_PATCH: Final = 16
_STRIDE: Final = 8


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.patchtst import PatchTST

    from studies.families.folding import FoldedSeries
    from studies.families.mending import without_batch_norm

    network = PatchTST(
        **model_options(shape, seed),
        patch_len=_PATCH,
        stride=_STRIDE,
        hidden_size=architecture.d_model,
        n_heads=architecture.n_heads,
        encoder_layers=architecture.n_layers,
        linear_hidden_size=architecture.d_ff,
        dropout=dropout,
        attn_dropout=dropout,
        # Normalizing the labels of a window would erase the base rate.
        revin=False,
    )
    return FoldedSeries(without_batch_norm(network, architecture.d_model))


def _patch(shape: WindowShape) -> int:
    return min(_PATCH, shape.window + _STRIDE)


def _patches(shape: WindowShape) -> int:
    """Return how many patches a series has: the newest row is repeated for one stride more."""
    return (shape.window + _STRIDE - _patch(shape)) // _STRIDE + 1


def _tokens(shape: WindowShape) -> int:
    return shape.n_series * _patches(shape)


def _count(architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    width, inner, layers = architecture.d_model, architecture.d_ff, architecture.n_layers
    return ParameterGroups(
        # A patch by its values, and every place by a learned vector.
        embedding=width * (_patch(shape) + 1 + _patches(shape)),
        attention=layers * 4 * (width + 1) * width,
        feed_forward=layers * (inner * (width + 1) + width * (inner + 1)),
        norms=2 * layers * 2 * width,
        head=shape.horizon * (width * _patches(shape) + 1),
    )


def _forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    return encoder_flops(architecture.n_layers, architecture.d_model, _tokens(shape), _patches(shape))


def _blocks(network: Any) -> "Sequence[nn.Module]":  # noqa: ANN401  NeuralForecast ships no types
    return list(network.network.model.backbone.encoder.layers)


def _refusal(_architecture: Architecture, shape: WindowShape) -> str | None:
    if shape.n_features:
        return "takes no covariates, and data.tier asks for indicators: set data.tier: none (--data-tier none)"
    return None


PATCHTST = Family(_build, _tokens, _count, _forward_flops, _blocks, _refusal)
