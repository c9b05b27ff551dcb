"""iTransformer (Liu et al. 2023, arXiv 2310.06625): every series, and every feature of it, is one token."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from budgets import Architecture, ParameterGroups
from studies.families.family import Family, WindowShape, encoder_flops
from studies.families.options import feature_names, model_options

if TYPE_CHECKING:
    from torch import nn


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.itransformer import iTransformer

    from studies.families.attention import drop_by_module
    from studies.families.equal_layers import FewQueriesAttention, FirstTokensLayer, with_matrix_convolutions

    network = iTransformer(
        **model_options(shape, seed),
        n_series=shape.n_series,
        futr_exog_list=feature_names(shape),
        hidden_size=architecture.d_model,
        n_heads=architecture.n_heads,
        e_layers=architecture.n_layers,
        # NeuralForecast's default is 2048 whatever the width; 12·L·d² holds only for four times the width.
        d_ff=architecture.d_ff,
        dropout=dropout,
        # The inputs are 0/1 labels and scaled indicators: normalizing a window again would erase the base rate.
        use_norm=False,
    )
    layers = network.encoder.attn_layers
    layers[-1] = FirstTokensLayer(layers[-1], shape.n_series)
    if _has_few_queries(architecture, shape):
        layers[-1].attention = FewQueriesAttention(layers[-1].attention)
    return with_matrix_convolutions(drop_by_module(network))


def _tokens(shape: WindowShape) -> int:
    return shape.n_series * (1 + shape.n_features)


def _count(architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    width, inner, layers = architecture.d_model, architecture.d_ff, architecture.n_layers
    # A series is embedded by its history; all features share one embedding of history and horizon.
    embedding = width * (shape.window + 1)
    if shape.n_features:
        embedding += width * (shape.window + shape.horizon + 1)
    return ParameterGroups(
        embedding=embedding,
        attention=layers * 4 * (width + 1) * width,
        feed_forward=layers * (inner * (width + 1) + width * (inner + 1)),
        norms=(2 * layers + 1) * 2 * width,
        head=shape.horizon * (width + 1),
    )


def _has_few_queries(architecture: Architecture, shape: WindowShape) -> bool:
    """Return whether the last layer attends without keys and values.

    A query of a head takes 4·d²/H with the matrices of these and 4·T·d with the tokens, where keys and values of all
    tokens take 4·d²·T once, and a query of a head then 4·T·d/H: 4·d times d·(T - Q) are saved and (H - 1)·Q·T added. In
    memory H·Q rows of the width take the place of T keys and of T values.
    """
    queries, tokens, heads = shape.n_series, _tokens(shape), architecture.n_heads
    saved, added = architecture.d_model * (tokens - queries), (heads - 1) * queries * tokens
    return saved > added and heads * queries <= tokens


def _forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return the layers, the last of which answers for the series alone: each of them takes 24·d² and its attention."""
    tokens, width = _tokens(shape), architecture.d_model
    if _has_few_queries(architecture, shape):
        attention = 4 * tokens * width * architecture.n_heads * shape.n_series
    else:
        attention = 4 * tokens * width * shape.n_series + 4 * width**2 * (tokens - shape.n_series)
    last = 24 * width**2 * shape.n_series + attention
    return encoder_flops(architecture.n_layers - 1, width, tokens, tokens) + last


def _blocks(network: Any) -> "Sequence[nn.Module]":  # noqa: ANN401  NeuralForecast ships no types
    return list(network.encoder.attn_layers)


ITRANSFORMER = Family(_build, _tokens, _count, _forward_flops, _blocks)
