"""Arithmetic of the families with an encoder and a decoder: how depth is divided, what they count and cost.

The decoder has one layer, as NeuralForecast's default has it, and the encoder all others. A decoder layer attends
twice, to itself and to the encoder, and so has 16·d² parameters in place of 12·d². With one of them 12·L·d² falls short
by 1/(3·L), 17 % at two layers and 1 % at 28; with as many decoder as encoder layers it would by 17 % at any depth.

The decoder reads the newest half of the history, rounded up, and one row for each row ahead.
"""

from typing import Any, Final

from budgets import Architecture
from studies.families.family import WindowShape, encoder_flops
from studies.families.options import feature_names, model_options

_DECODER_LAYERS: Final = 1
# NeuralForecast's table of sines and cosines ends here.
_MAXIMUM_POSITIONS: Final = 5000


def encoder_layers(architecture: Architecture) -> int:
    """Return how many layers the encoder has."""
    return architecture.n_layers - _DECODER_LAYERS


def decoder_rows(shape: WindowShape) -> int:
    """Return how many rows the decoder reads for one series."""
    return -(-shape.window // 2) + shape.horizon


def options(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> dict[str, Any]:
    """Return the arguments that the four models share."""
    return {
        **model_options(shape, seed),
        "futr_exog_list": feature_names(shape),
        "hidden_size": architecture.d_model,
        "n_head": architecture.n_heads,
        "conv_hidden_size": architecture.d_ff,
        "encoder_layers": encoder_layers(architecture),
        "decoder_layers": _DECODER_LAYERS,
        "dropout": dropout,
    }


def tokens(shape: WindowShape) -> int:
    """Return the rows that pass through encoder and decoder for one window: each row of each series is a token."""
    return shape.n_series * (shape.window + decoder_rows(shape))


def count_embedding(architecture: Architecture, shape: WindowShape) -> int:
    """Return the parameters of both embeddings: a convolution over three labels and a matrix of the features."""
    return 2 * (3 + shape.n_features) * architecture.d_model


def count_attention(architecture: Architecture) -> int:
    """Return the parameters of all attentions: one an encoder layer, two a decoder layer."""
    width = architecture.d_model
    return (encoder_layers(architecture) + 2 * _DECODER_LAYERS) * 4 * (width + 1) * width


def count_layer_norms(architecture: Architecture) -> int:
    """Return the parameters of two norms an encoder layer, three a decoder layer, and one at the end of each."""
    return (2 * encoder_layers(architecture) + 3 * _DECODER_LAYERS + 2) * 2 * architecture.d_model


def count_trend_head(architecture: Architecture) -> int:
    """Return the parameters of the heads of a model with trends: one on the last layer, one a decoder layer."""
    return architecture.d_model + 1 + _DECODER_LAYERS * 3 * architecture.d_model


def forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return forward operations of one window with full attention.

    A decoder layer costs what an encoder layer does, and for the attention to the encoder 4·d² a row of the decoder
    (queries and output), 4·d² a row of the encoder (keys and values), and 4·d for each pair of rows.
    """
    pairs = decoder_rows(shape) * shape.window
    encoder = encoder_flops(encoder_layers(architecture), architecture.d_model, shape.window, shape.window)
    decoder = encoder_flops(_DECODER_LAYERS, architecture.d_model, decoder_rows(shape), decoder_rows(shape))
    crossing = _DECODER_LAYERS * 4 * architecture.d_model * pairs
    return shape.n_series * (encoder + decoder + crossing + _crossing_matrices(architecture, shape))


def matrix_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return forward operations of one series without any attention: matrices of both feed-forwards and projections."""
    encoder = encoder_flops(encoder_layers(architecture), architecture.d_model, shape.window, 0)
    decoder = encoder_flops(_DECODER_LAYERS, architecture.d_model, decoder_rows(shape), 0)
    return encoder + decoder + _crossing_matrices(architecture, shape)


def _crossing_matrices(architecture: Architecture, shape: WindowShape) -> int:
    return _DECODER_LAYERS * 4 * architecture.d_model**2 * (decoder_rows(shape) + shape.window)


def attentions(architecture: Architecture, shape: WindowShape) -> list[tuple[int, int]]:
    """Return the rows that ask and the rows that are asked, for every attention of one series."""
    encoder, decoder = shape.window, decoder_rows(shape)
    return [
        *[(encoder, encoder)] * encoder_layers(architecture),
        *[(decoder, decoder), (decoder, encoder)] * _DECODER_LAYERS,
    ]


def refuse_depth(architecture: Architecture) -> str | None:
    """Refuse a model that is not deep enough for both parts."""
    if encoder_layers(architecture) >= 1:
        return None
    return (
        f"has an encoder and a decoder of at least one layer each, not n_layers={architecture.n_layers}: "
        "take n_layers of 2 or more"
    )


def refuse_positions(architecture: Architecture, rows: int) -> str | None:
    """Refuse what a table of sines and cosines, in pairs and of 5,000 rows, cannot place."""
    if architecture.d_model % 2:
        return (
            f"places its rows by pairs of sine and cosine, so d_model is even, not {architecture.d_model}: "
            f"take {architecture.d_model + 1}"
        )
    if rows > _MAXIMUM_POSITIONS:
        return (
            f"places {_MAXIMUM_POSITIONS:,} rows at most, and this window takes {rows:,}: "
            "shorten training.window or target.horizon"
        )
    return None


def blocks(network: Any) -> list[Any]:  # noqa: ANN401  NeuralForecast ships no types
    """Return the layers of encoder and decoder of a model under `FoldedSeries`."""
    return [*network.network.encoder.attn_layers, *network.network.decoder.layers]
