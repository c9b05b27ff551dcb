"""Informer (Zhou et al. 2020, arXiv 2012.07436): of the rows of a series only those that stand out attend.

Its distilling layers between encoder layers are left out: they hold a batch norm. Its attention drops nothing.
"""

import math
from typing import TYPE_CHECKING, Final

from budgets import Architecture
from studies.families import encoder_decoder
from studies.families.family import Family, WindowShape
from studies.families.vanillatransformer import count, refusal

if TYPE_CHECKING:
    from torch import nn

# c of the paper; NeuralForecast's default.
_FACTOR: Final = 3


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.informer import Informer

    from studies.families.attention import sample_by_seed
    from studies.families.equal_layers import with_matrix_convolutions
    from studies.families.folding import FoldedSeries

    options = encoder_decoder.options(architecture, shape, dropout, seed)
    network = sample_by_seed(Informer(**options, factor=_FACTOR, distil=False), seed)
    return FoldedSeries(with_matrix_convolutions(network))


def _forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return the matrices as ever; c·ln(T) keys are sampled for every row and c·ln(T) rows attend to all keys.

    Source: the paper, section 3.1: 2·d a sampled pair and 4·d a pair of a row that attends.
    """
    width = architecture.d_model
    attending = sum(
        2 * width * asking * _chosen(asked) + 4 * width * _chosen(asking) * asked
        for asking, asked in encoder_decoder.attentions(architecture, shape)
    )
    return shape.n_series * (encoder_decoder.matrix_flops(architecture, shape) + attending)


def _chosen(rows: int) -> int:
    return min(rows, _FACTOR * math.ceil(math.log(rows)))


INFORMER = Family(_build, encoder_decoder.tokens, count, _forward_flops, encoder_decoder.blocks, refusal)
