"""What one would write with NeuralForecast alone: AutoiTransformer with Optuna behind it, in one process.

    auto_itransformer.py DATA.csv CONFIGURATIONS.json --steps 60 --validation 352

It has no queue for given configurations, so that its trial n takes the n-th of the list. It knows losses alone, so that
the AUC is one, of all validation windows at once. Its trials are printed as JSON; they are kept in memory, its default.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.auto import AutoiTransformer
from neuralforecast.losses.pytorch import BasePointLoss, DistributionLoss
from optuna.trial import FrozenTrial
from plain_script import SHAPES, be_quiet
from torchmetrics.functional.classification import binary_auroc


class AreaLost(BasePointLoss):
    """1 - AUC of the predicted probabilities."""

    def __init__(self, horizon_weight: torch.Tensor | None = None) -> None:
        super().__init__(horizon_weight=horizon_weight, outputsize_multiplier=1, output_names=[""])

    def __call__(self, y: torch.Tensor, y_hat: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
        """Return it over all windows and series."""
        return 1 - binary_auroc(y_hat.flatten(), y.flatten().int())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("configurations", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--validation", type=int, required=True)
    given = parser.parse_args()
    be_quiet()
    data = pd.read_csv(given.data, parse_dates=["ds"])
    configurations = json.loads(given.configurations.read_text(encoding="utf-8"))
    n_series = data["unique_id"].nunique()

    def config(trial: object) -> dict[str, Any]:
        # It is first called with a stand-in, to see which arguments there are.
        chosen = configurations[getattr(trial, "number", 0)]
        width, layers, heads = SHAPES[chosen["budget"], chosen["style"]]
        return {
            "input_size": 80,
            "n_series": n_series,
            "futr_exog_list": [name for name in data.columns if name not in {"unique_id", "ds", "y"}],
            "hidden_size": width,
            "e_layers": layers,
            "n_heads": heads,
            "d_ff": 4 * width,
            "dropout": chosen["dropout"],
            "use_norm": False,
            "optimizer": torch.optim.AdamW,
            "optimizer_kwargs": {"weight_decay": chosen["weight_decay"]},
            "learning_rate": chosen["learning_rate"],
            "max_steps": given.steps,
            "val_check_steps": given.steps,
            "windows_batch_size": 32,
            "inference_windows_batch_size": -1,
            "random_seed": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "num_sanity_val_steps": 0,
        }

    auto = AutoiTransformer(
        h=1,
        n_series=n_series,
        loss=DistributionLoss("Bernoulli"),
        valid_loss=AreaLost(),
        config=config,
        search_alg=optuna.samplers.TPESampler(seed=1),
        num_samples=len(configurations),
        backend="optuna",
    )
    forecaster = NeuralForecast(models=[auto], freq="B")
    forecaster.fit(data, val_size=given.validation)
    trials = forecaster.models[0].results.trials
    print(json.dumps([_as_json(trial, configurations[trial.number]) for trial in trials]))


def _as_json(trial: FrozenTrial, configuration: dict[str, Any]) -> dict[str, Any]:
    times = {"start": trial.datetime_start.isoformat(), "end": trial.datetime_complete.isoformat()}
    return {"params": configuration, "auc": 1 - trial.value, **times}


if __name__ == "__main__":
    main()
