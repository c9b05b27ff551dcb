"""What every NeuralForecast model is built with, whatever its family."""

import logging
from typing import Any

from studies.families.family import WindowShape


def model_options(shape: WindowShape, seed: int) -> dict[str, Any]:
    """Return the arguments that all models share: sizes of the window, the loss and the seed.

    The model draws its weights from Python's, NumPy's and torch's global generators, which it seeds first.
    """
    from neuralforecast.losses.pytorch import DistributionLoss

    # Lightning announces every seed that it is given. To set a level takes 5 ms in a fork, see studies.training.
    if (seeds := logging.getLogger("lightning_fabric.utilities.seed")).isEnabledFor(logging.INFO):
        seeds.setLevel(logging.WARNING)
    return {
        "h": shape.horizon,
        "input_size": shape.window,
        "loss": DistributionLoss("Bernoulli"),
        "random_seed": seed,
    }


def feature_names(shape: WindowShape) -> list[str]:
    """Return a name for every covariate, as the models want them."""
    return [f"feature_{i}" for i in range(shape.n_features)]
