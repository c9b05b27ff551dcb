"""TFT (Lim et al. 2019, arXiv 1912.09363): gates choose among the features, an LSTM reads them, one attention follows.

Of a transformer's shape it has width and heads. Depth is that of its two LSTMs, of the history and of the horizon;
there is one attention whatever the depth, and no feed-forward, but gated residual networks (GRN) as wide as the model.
Every feature has such a network of its own, twice, so 12·L·d² says little: the features alone take about 10·F·d².

What it does with static covariates, and with a choice among one feature, gets no gradient, and is neither trained nor
counted.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from budgets import Architecture, ParameterGroups
from studies.families.family import Family, WindowShape
from studies.families.options import feature_names, model_options

if TYPE_CHECKING:
    from torch import nn

# The number of features goes into a selection together with the labels of the past.
_LABELS: Final = 1


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.models.tft import TFT

    from studies.families.folding import FoldedSeries
    from studies.families.mending import freeze

    network = TFT(
        **model_options(shape, seed),
        futr_exog_list=feature_names(shape),
        hidden_size=architecture.d_model,
        n_head=architecture.n_heads,
        n_rnn_layers=architecture.n_layers,
        dropout=dropout,
        attn_dropout=dropout,
    )
    # A matrix for the context of static covariates; the weights of features, where there is one to choose.
    unused = [".lin_c."] if _known(shape) > 1 else [".lin_c.", ".future_vsn.joint_grn."]
    return FoldedSeries(freeze(network, unused))


def _known(shape: WindowShape) -> int:
    """Return how many features a row has; without any, the newest label stands in for one."""
    return max(shape.n_features, 1)


def _tokens(shape: WindowShape) -> int:
    return shape.n_series * (shape.window + shape.horizon)


def _network(width: int) -> int:
    """Return the parameters of a GRN as wide as the model, without its norm."""
    return 4 * width**2 + 4 * width


def _selection(inputs: int, width: int) -> int:
    """Return the parameters of a selection among inputs, without norms: a GRN each, and one that weighs them."""
    networks = inputs * _network(width)
    if inputs == 1:
        return networks
    weighing = inputs * width * width + width + (width**2 + width) + 2 * inputs * (width + 1)
    return networks + weighing + inputs * (width * inputs + 1)


def _selection_norms(inputs: int, width: int) -> int:
    # NeuralForecast leaves out the norm of a single weight.
    return inputs * 2 * width + (2 * inputs if inputs > 1 else 0)


def _count(architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    width, known = architecture.d_model, _known(shape)
    head_width = width // architecture.n_heads
    gate = 2 * width**2 + 2 * width
    lstms = 2 * architecture.n_layers * (8 * width**2 + 8 * width)
    past, ahead = known + _LABELS, known
    return ParameterGroups(
        embedding=2 * width * (known + _LABELS) + _selection(past, width) + _selection(ahead, width),
        attention=width * (2 * width + head_width) + head_width * width,
        # Three gates, and the networks before and after the attention.
        feed_forward=lstms + 3 * gate + 2 * _network(width),
        norms=_selection_norms(past, width) + _selection_norms(ahead, width) + 5 * 2 * width,
        head=width + 1,
    )


def _forward_flops(architecture: Architecture, shape: WindowShape) -> int:
    """Return 2 for every parameter of a matrix and row that passes it, and 4·T·d a row of the attention.

    All rows pass the LSTM of their part, the gate behind it, enrichment, and the projections of the attention; what
    follows is computed for the rows ahead alone.
    """
    width, known, rows = architecture.d_model, _known(shape), shape.window + shape.horizon
    head_width = width // architecture.n_heads
    past, ahead = (_selection(inputs, width) for inputs in (known + _LABELS, known))
    selecting = shape.window * past + shape.horizon * ahead
    every_row = architecture.n_layers * 8 * width**2 + 2 * width**2 + 4 * width**2
    projections = width * (2 * width + head_width) + head_width * width
    behind = 4 * width**2 + 4 * width**2
    matrices = selecting + rows * (every_row + projections) + shape.horizon * behind
    return shape.n_series * (2 * matrices + 4 * rows**2 * width)


def _blocks(network: Any) -> "Sequence[nn.Module]":  # noqa: ANN401  NeuralForecast ships no types
    """Return the networks that stand side by side, one a feature: they hold most activations; no layers repeat."""
    encoder = network.network.temporal_encoder
    return [*encoder.history_vsn.var_grns, *encoder.future_vsn.var_grns]


TFT = Family(_build, _tokens, _count, _forward_flops, _blocks, feed_forward=False)
