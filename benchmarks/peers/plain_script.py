"""What one would write without this project: Optuna on Postgres, NeuralForecast's cross-validation in the objective.

    plain_script.py DATA.csv --storage URL --study NAME --trials 18 --steps 60 --validation 352

Start it twice for two workers. The study and what is enqueued in it are there already. `--keep DIR` keeps each trial's
predictions, so that somebody else can put an interval around its score.
"""

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import DistributionLoss
from neuralforecast.models import iTransformer
from optuna.study import MaxTrialsCallback
from torchmetrics.functional.classification import binary_auroc

SHAPES = {
    ("750k", "shallow"): (192, 2, 4),
    ("750k", "deep"): (128, 4, 4),
    ("2M", "shallow"): (320, 2, 4),
    ("2M", "deep"): (192, 5, 4),
}


def make_model(data: pd.DataFrame, tried: dict[str, Any], steps: int, **others: Any) -> iTransformer:  # noqa: ANN401
    width, layers, heads = SHAPES[tried["budget"], tried["style"]]
    return iTransformer(
        h=1,
        input_size=80,
        n_series=data["unique_id"].nunique(),
        futr_exog_list=[name for name in data.columns if name not in {"unique_id", "ds", "y"}],
        hidden_size=width,
        e_layers=layers,
        n_heads=heads,
        d_ff=4 * width,
        dropout=tried["dropout"],
        use_norm=False,
        loss=DistributionLoss("Bernoulli", return_params=True),
        optimizer=torch.optim.AdamW,
        optimizer_kwargs={"weight_decay": tried["weight_decay"]},
        learning_rate=tried["learning_rate"],
        max_steps=steps,
        val_check_steps=steps,
        windows_batch_size=32,
        random_seed=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **others,
    )


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "budget": trial.suggest_categorical("budget", ["750k", "2M"]),
        "style": trial.suggest_categorical("style", ["shallow", "deep"]),
        "dropout": trial.suggest_float("dropout", 0.1, 0.7),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 1e-2),
    }


def be_quiet() -> None:
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--study", required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--validation", type=int, required=True)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    be_quiet()
    data = pd.read_csv(given.data, parse_dates=["ds"])

    def objective(trial: optuna.Trial) -> float:
        model = make_model(data, suggest(trial), given.steps)
        # One decision a row of the validation part, trained once on what comes before it.
        forecasts = NeuralForecast(models=[model], freq="B").cross_validation(
            data, n_windows=None, test_size=given.validation, step_size=1
        )
        if given.keep:
            forecasts.to_pickle(given.keep / f"{trial.number}.pickle")
        logits = torch.tensor(forecasts["iTransformer-logits"].to_numpy())
        return float(binary_auroc(logits, torch.tensor(forecasts["y"].to_numpy()).int()))

    study = optuna.load_study(study_name=given.study, storage=given.storage)
    study.optimize(objective, callbacks=[MaxTrialsCallback(given.trials)])


if __name__ == "__main__":
    main()
