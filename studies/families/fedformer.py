"""FEDformer (Zhou et al. 2022, arXiv 2201.12740): attention among the frequencies of a series, at most 64 of them.

NeuralForecast builds it with eight heads and nothing else. Layers share the weights of their Fourier blocks, one for
the encoder and two for the decoder; those are complex, and counted as two parameters each. A block uses the queries
alone, or queries and keys; the projections to what it doesn't use get no gradient, and are neither trained nor counted.
Where a window has more than 64 frequencies, the ones taken are drawn when the model is built, from the seed. Its blocks
drop nothing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from budgets import Architecture, ParameterGroups
from studies.families import autoformer, encoder_decoder
from studies.families.family import Family, WindowShape

if TYPE_CHECKING:
    from torch import nn

_HEADS: Final = 8
_MAXIMUM_MODES: Final = 64
_UNUSED: Final = (
    *(f".{attention}.{part}_projection" for attention in ("attention", "self_attention") for part in ("key", "value")),
    ".cross_attention.value_projection",
)


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.fedformer import FEDformer

    from studies.families.attention import transform_in_full_precision
    from studies.families.equal_layers import with_matrix_convolutions
    from studies.families.folding import FoldedSeries
    from studies.families.mending import freeze

    network = FEDformer(**encoder_decoder.options(architecture, shape, dropout, seed), modes=_MAXIMUM_MODES)
    return FoldedSeries(with_matrix_convolutions(freeze(transform_in_full_precision(network), _UNUSED)))


def _modes(shape: WindowShape) -> tuple[int, int]:
    """Return how many frequencies of the encoder's and of the decoder's rows are taken."""
    encoder, decoder = shape.window // 2, (shape.window // 2 + shape.horizon) // 2
    return min(_MAXIMUM_MODES, encoder), min(_MAXIMUM_MODES, decoder)


def _count(architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    groups, (encoder, decoder) = autoformer.count(architecture, shape), _modes(shape)
    width, layers = architecture.d_model, encoder_decoder.encoder_layers(architecture)
    fourier = 2 * _HEADS * (width // _HEADS) ** 2 * (encoder + 2 * decoder)
    # Two projections an encoder layer; three in the one decoder layer.
    unused = (2 * layers + 3) * (width + 1) * width
    return replace(groups, attention=groups.attention - unused + fourier)


def _forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return the matrices as ever; transforms there and back; complex products, eight operations each.

    An encoder block multiplies every frequency by a matrix of each head; the block between decoder and encoder also
    compares all pairs of frequencies, twice.
    """
    width, (encoder, decoder) = architecture.d_model, _modes(shape)
    rows, decoder_rows = shape.window, encoder_decoder.decoder_rows(shape)
    by_matrix = 8 * width**2 // _HEADS
    there_and_back = 2 * width * autoformer.fourier_flops(rows)
    own = 2 * width * autoformer.fourier_flops(decoder_rows) + by_matrix * decoder
    crossing = own + width * autoformer.fourier_flops(rows) + 2 * 8 * width * decoder * encoder
    encoding = encoder_decoder.encoder_layers(architecture) * (there_and_back + by_matrix * encoder)
    return shape.n_series * (encoder_decoder.matrix_flops(architecture, shape) + encoding + own + crossing)


def _refusal(architecture: Architecture, _shape: WindowShape) -> str | None:
    if architecture.n_heads != _HEADS:
        return (
            f"is built with n_heads=8 alone, not {architecture.n_heads}: take "
            f"{{d_model: {-(-architecture.d_model // _HEADS) * _HEADS}, n_layers: {architecture.n_layers}, n_heads: 8}}"
        )
    return encoder_decoder.refuse_depth(architecture)


FEDFORMER = Family(
    _build, encoder_decoder.tokens, _count, _forward_flops, encoder_decoder.blocks, _refusal, heads=_HEADS
)
