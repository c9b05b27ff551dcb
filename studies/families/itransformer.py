"""iTransformer (Liu et al. 2023, arXiv 2310.06625): every series, and every feature of it, is one token."""

import logging
from typing import TYPE_CHECKING

from budgets import Architecture, ParameterGroups
from studies.families.family import Family, WindowShape

if TYPE_CHECKING:
    from torch import nn


def _build(architecture: Architecture, shape: WindowShape, dropout: float, seed: int) -> "nn.Module":
    from neuralforecast.losses.pytorch import DistributionLoss
    from neuralforecast.models import iTransformer

    # Lightning announces every seed that it is given.
    logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.WARNING)
    return iTransformer(  # type: ignore[no-any-return]
        h=shape.horizon,
        input_size=shape.window,
        n_series=shape.n_series,
        futr_exog_list=[f"feature_{i}" for i in range(shape.n_features)],
        hidden_size=architecture.d_model,
        n_heads=architecture.n_heads,
        e_layers=architecture.n_layers,
        # NeuralForecast's default is 2048 whatever the width; 12·L·d² holds only for four times the width.
        d_ff=architecture.d_ff,
        dropout=dropout,
        # The inputs are 0/1 labels and scaled indicators: normalizing a window again would erase the base rate.
        use_norm=False,
        loss=DistributionLoss("Bernoulli"),
        random_seed=seed,
    )


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


ITRANSFORMER = Family(build=_build, tokens=_tokens, count=_count)
