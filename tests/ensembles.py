"""Ensembles of small untrained models, and prices that nobody has ever traded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from budgets import Architecture
from studies.checkpoints import write_for_good
from studies.data.indicators import FEATURE_VERSION, TIERS
from studies.ensemble_file import InputPart
from studies.families import FAMILIES, WindowShape
from studies.members import member_weights

PARAMS = {"d_model": 16, "n_layers": 1, "n_heads": 2, "dropout": 0.1}
SERIES = ("A", "B")


def make_prices(rows: int = 420, series: tuple[str, ...] = SERIES, seed: int = 1) -> pd.DataFrame:
    """Daily bars of random walks."""
    random, days = np.random.default_rng(seed), pd.bdate_range("2020-01-01", periods=rows)
    frames = []
    for name in series:
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, rows)))
        opened = close * np.exp(random.normal(0, 0.003, rows))
        high, low = np.maximum(opened, close) * 1.004, np.minimum(opened, close) * 0.996
        volume = random.integers(1_000, 9_000, rows).astype(float)
        columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
        frames.append(pd.DataFrame({"unique_id": name, "ds": days, **columns}))
    return pd.concat(frames, ignore_index=True)


def make_input(**changes: Any) -> dict[str, Any]:
    """What stands under `input` in ensemble.json."""
    features = len(TIERS[changes.get("tier", "a20")])
    return {
        "series": list(SERIES),
        "tier": "a20",
        "feature_version": FEATURE_VERSION,
        "horizon": 1,
        "threshold": 0.005,
        "kind": "touch",
        "window": 10,
        "history_rows": 300,
        "base_rate": 0.3,
        "validation_until": "2021-05-31",
        "prices_until": "2021-06-30",
        "mean": [[0.0] * features] * len(SERIES),
        "deviation": [[1.0] * features] * len(SERIES),
        **changes,
    }


def make_ensemble(directory: Path, members: int = 2, **changes: Any) -> Path:
    """Write an ensemble of untrained models with equal shares."""
    given = make_input(**changes)
    shape = InputPart.model_validate(given).shape
    parts = []
    for place in range(members):
        write_member(member_weights(directory, place), shape, seed=place)
        part = {"study": "s", "trial": place, "seed": place, "model": "itransformer", "score": 0.6, "params": PARAMS}
        parts.append({**part, "shares": {"top": 1 / members, "greedy": float(place == 0)}})
    content = {"version": 1, "study": "s", "used": "top", "input": given, "members": parts}
    (directory / "ensemble.json").write_text(json.dumps(content))
    return directory


def write_member(path: Path, shape: WindowShape, seed: int, **changes: Any) -> None:
    """Write the weights of an untrained model."""
    torch.manual_seed(seed)
    shaped = Architecture(PARAMS["d_model"], PARAMS["n_layers"], PARAMS["n_heads"])
    network = FAMILIES["itransformer"].build(shaped, shape, 0.1, seed)
    configuration = {"version": 2, "training": {}, "data": "", "params": PARAMS, "seed": seed, "libraries": {}}
    configuration |= {"spec": {}, "trial": seed, "attempt": 1, **changes}
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    content = {"state_dict": weights, "trained": list(weights), "global_step": 1, "optimizer_states": []}
    write_for_good({**content, "configuration": configuration}, path)


def edit_json(directory: Path, **changes: Any) -> None:
    """Change keys of ensemble.json."""
    path = directory / "ensemble.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
