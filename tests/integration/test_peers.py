"""The peers of the benchmarks see and predict what our trials do, through NeuralForecast's own windows."""

import runpy
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from neuralforecast import NeuralForecast
from neuralforecast.tsdataset import TimeSeriesDataModule, TimeSeriesDataset

from studies.data.panel import Panel, build_panel, cut_before_test
from studies.preparation import load_table, panel_options
from studies.reading import read_spec
from studies.windows import Windows

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


@pytest.fixture(scope="module")
def panel() -> Panel:
    spec = read_spec("quickstart", {})
    return cut_before_test(build_panel(load_table(spec), **panel_options(spec)))


@pytest.fixture(scope="module")
def data(panel: Panel) -> pd.DataFrame:
    return runpy.run_path(str(PEERS / "frame.py"))["long_frame"](panel)


@pytest.fixture(scope="module")
def model(data: pd.DataFrame, panel: Panel) -> Any:
    script = runpy.run_path(str(PEERS / "plain_script.py"))
    tried = {"budget": "750k", "style": "shallow", "dropout": 0.5, "learning_rate": 1e-4, "weight_decay": 1e-3}
    script["be_quiet"]()
    model = script["make_model"](data, tried, 1)
    model.val_size, model.test_size = 0, len(panel.splits.validation)
    return model


def windows_of(model: Any, data: pd.DataFrame, step: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what NeuralForecast makes of the table: past labels, features and the next label, window by window."""
    dataset, *_ = TimeSeriesDataset.from_df(data)
    (batch,) = TimeSeriesDataModule(dataset, batch_size=2, valid_batch_size=2, shuffle_train=False).train_dataloader()
    made, _, _, usable, _, columns = model._create_windows(batch, step=step)
    windows = {"temporal": made[usable].clone(), "temporal_cols": columns}
    insample, _, outsample, _, _, features, _ = model._parse_windows(
        batch, model._normalization(windows, batch["y_idx"])
    )
    return insample, features, outsample[:, -1]


@pytest.mark.parametrize(("step", "part"), [("train", "train"), ("predict", "validation")])
def test_the_windows_of_the_peers_are_ours(model: Any, data: pd.DataFrame, panel: Panel, step: str, part: str) -> None:
    model.predict_step_size = 1
    insample, features, labels = windows_of(model, data, step)
    decisions = np.asarray(getattr(panel.splits, part), dtype=np.int64)
    inputs, ours = Windows(panel).at(decisions)
    # Theirs has no gap before the validation part: it trains on one decision more.
    assert len(labels) == len(decisions) + (panel.horizon if part == "train" else 0)
    many = len(decisions)
    assert torch.equal(insample[:many], inputs["insample_y"])
    assert torch.equal(features[:many], inputs["futr_exog"])
    assert torch.equal(labels[:many], ours)


@pytest.mark.filterwarnings("ignore")  # Lightning's, of torch.
def test_the_forecasts_of_the_peers_are_of_our_validation_decisions(
    model: Any, data: pd.DataFrame, panel: Panel
) -> None:
    held_back = len(panel.splits.validation)
    forecasts = NeuralForecast(models=[model], freq="B").cross_validation(
        data, n_windows=None, test_size=held_back, step_size=1
    )
    rows = np.asarray(panel.splits.validation) + panel.horizon
    for place, series in enumerate(panel.series):
        of_series = forecasts[forecasts["unique_id"] == series].sort_values("ds")
        assert (of_series["ds"].to_numpy() == panel.dates[rows]).all()
        assert (of_series["y"].to_numpy() == panel.labels[rows, place]).all()


def test_nine_turns_train_each_of_the_18_once() -> None:
    made = runpy.run_path(str(PEERS / "configurations.py"))
    turns = [[made["key_of"](each) for each in pair] for pair in made["in_pairs"]()]
    assert [len(turn) for turn in turns] == [2] * 9
    assert sorted(chain.from_iterable(turns)) == sorted(made["key_of"](each) for each in made["all_configurations"]())
    assert len(set(chain.from_iterable(turns))) == 18
