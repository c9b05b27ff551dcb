"""TimeXer (Wang et al. 2024, arXiv 2402.19072): patches of 16 rows of a series are tokens, one more stands for them.

That one attends to every series and every feature, each a token by itself, so features reach a series. It takes
covariates of the past. The dropout after its head is left out: it would set logits to zero.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from budgets import Architecture, ParameterGroups
from studies.families.encoder_decoder import refuse_positions
from studies.families.family import Family, WindowShape, encoder_flops
from studies.families.options import feature_names, model_options

if TYPE_CHECKING:
    from torch import nn

_PATCH: Final = 16


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.timexer import TimeXer

    from studies.families.attention import drop_by_module
    from studies.families.equal_layers import with_matrix_convolutions
    from studies.families.folding import PastFeatures

    network = TimeXer(
        **model_options(shape, seed),
        n_series=shape.n_series,
        hist_exog_list=feature_names(shape),
        patch_len=_PATCH,
        hidden_size=architecture.d_model,
        n_heads=architecture.n_heads,
        e_layers=architecture.n_layers,
        d_ff=architecture.d_ff,
        dropout=dropout,
        # As for iTransformer: the base rate would be erased.
        use_norm=False,
    )
    network.head.dropout.p = 0.0
    return PastFeatures(with_matrix_convolutions(drop_by_module(network)))


def _patches(shape: WindowShape) -> int:
    return shape.window // _PATCH


def _tokens(shape: WindowShape) -> int:
    return shape.n_series * (_patches(shape) + 1)


def _count(architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    width, inner, layers = architecture.d_model, architecture.d_ff, architecture.n_layers
    # Patches without a bias, a learned token a series, and one embedding of whole histories.
    embedding = width * (_PATCH + shape.n_series + shape.window + 1)
    return ParameterGroups(
        embedding=embedding,
        attention=layers * 2 * 4 * (width + 1) * width,
        feed_forward=layers * (inner * (width + 1) + width * (inner + 1)),
        norms=(3 * layers + 1) * 2 * width,
        head=shape.horizon * (width * (_patches(shape) + 1) + 1),
    )


def _forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return what the tokens of each series cost among themselves, and what one a series costs that looks around.

    Its queries and outputs take 4·d², keys and values of every series and feature 4·d², each pair 4·d.
    """
    width, n_series = architecture.d_model, shape.n_series
    around = n_series * (1 + shape.n_features)
    own = encoder_flops(architecture.n_layers, width, _tokens(shape), _patches(shape) + 1)
    return own + architecture.n_layers * (4 * width**2 * (n_series + around) + 4 * width * n_series * around)


def _blocks(network: Any) -> "Sequence[nn.Module]":  # noqa: ANN401  NeuralForecast ships no types
    return list(network.network.encoder.layers)


def _refusal(architecture: Architecture, shape: WindowShape) -> str | None:
    if shape.window % _PATCH:
        below, above = shape.window // _PATCH * _PATCH, -(-shape.window // _PATCH) * _PATCH
        return (
            f"reads whole patches of {_PATCH} rows, and of training.window {shape.window} the newest "
            f"{shape.window % _PATCH} would be lost: set training.window to {f'{below} or {above}' if below else above}"
        )
    return refuse_positions(architecture, _patches(shape))


TIMEXER = Family(_build, _tokens, _count, _forward_flops, _blocks, _refusal)
