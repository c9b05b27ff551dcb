"""Autoformer (Wu et al. 2021, arXiv 2106.13008): a series is compared with itself at the delays that suit it best.

It parts a series into trend and season by a moving average over 25 rows, which repeats the first and the last row
where it reaches beyond a window; a shorter window is no obstacle. Its auto-correlation drops nothing.
"""

import math
from typing import TYPE_CHECKING, Final

from budgets import Architecture, ParameterGroups
from studies.families import encoder_decoder
from studies.families.family import Family, WindowShape

if TYPE_CHECKING:
    from torch import nn

# c of the paper, c·ln(T) delays are taken; NeuralForecast's default.
_FACTOR: Final = 3


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.autoformer import Autoformer

    from studies.families.attention import correlate_by_window
    from studies.families.equal_layers import with_matrix_convolutions
    from studies.families.folding import FoldedSeries

    options = encoder_decoder.options(architecture, shape, dropout, seed)
    network = correlate_by_window(Autoformer(**options, factor=_FACTOR))
    return FoldedSeries(with_matrix_convolutions(network))


def count(architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    """Return the parameters by group: no biases in the feed-forwards, and two norms in all."""
    width = architecture.d_model
    return ParameterGroups(
        embedding=encoder_decoder.count_embedding(architecture, shape),
        attention=encoder_decoder.count_attention(architecture),
        feed_forward=architecture.n_layers * 2 * width * architecture.d_ff,
        norms=2 * 2 * width,
        head=encoder_decoder.count_trend_head(architecture),
    )


def fourier_flops(rows: int) -> int:
    """Return operations of one Fourier transform of real numbers: 5/2·T·log2(T), half of what complex ones take.

    Source: Frigo and Johnson, benchFFT, whose count is 5·T·log2(T) for complex numbers.
    """
    return round(2.5 * rows * math.log2(rows))


def _forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return the matrices as ever; a channel takes three transforms and the sum over c·ln(T) delayed copies."""
    width = architecture.d_model
    correlating = sum(
        width * (3 * fourier_flops(asking) + 2 * _delays(asking) * asking)
        for asking, _ in encoder_decoder.attentions(architecture, shape)
    )
    return shape.n_series * (encoder_decoder.matrix_flops(architecture, shape) + correlating)


def _delays(rows: int) -> int:
    return int(_FACTOR * math.log(rows))


def _refusal(architecture: Architecture, shape: WindowShape) -> str | None:
    for rows in (shape.window, encoder_decoder.decoder_rows(shape)):
        # The inverse transform gives an even number of delays.
        if _delays(rows) > rows - rows % 2:
            return (
                f"takes the best {_delays(rows)} of at most {rows - rows % 2} delays of {rows} rows, from "
                f"training.window {shape.window}: set training.window to 5 or more"
            )
    return encoder_decoder.refuse_depth(architecture)


AUTOFORMER = Family(_build, encoder_decoder.tokens, count, _forward_flops, encoder_decoder.blocks, _refusal)
