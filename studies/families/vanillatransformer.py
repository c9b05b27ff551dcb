"""VanillaTransformer (Vaswani et al. 2017, arXiv 1706.03762): every row of a series is one token; series don't meet."""

from typing import TYPE_CHECKING

from budgets import Architecture, ParameterGroups
from studies.families import encoder_decoder
from studies.families.family import Family, WindowShape

if TYPE_CHECKING:
    from torch import nn


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.vanillatransformer import VanillaTransformer

    from studies.families.attention import drop_by_module
    from studies.families.equal_layers import with_matrix_convolutions
    from studies.families.folding import FoldedSeries

    network = VanillaTransformer(**encoder_decoder.options(architecture, shape, dropout, seed))
    return FoldedSeries(with_matrix_convolutions(drop_by_module(network)))


def count(architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    """Return the parameters by group."""
    width, inner, layers = architecture.d_model, architecture.d_ff, architecture.n_layers
    return ParameterGroups(
        embedding=encoder_decoder.count_embedding(architecture, shape),
        attention=encoder_decoder.count_attention(architecture),
        feed_forward=layers * (inner * (width + 1) + width * (inner + 1)),
        norms=encoder_decoder.count_layer_norms(architecture),
        head=width + 1,
    )


def refusal(architecture: Architecture, shape: WindowShape) -> str | None:
    """Refuse what has too few layers or too many rows."""
    rows = max(shape.window, encoder_decoder.decoder_rows(shape))
    return encoder_decoder.refuse_depth(architecture) or encoder_decoder.refuse_positions(architecture, rows)


VANILLATRANSFORMER = Family(
    _build, encoder_decoder.tokens, count, encoder_decoder.forward_flops, encoder_decoder.blocks, refusal
)
