"""Every family learns on real prices, a few steps each."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from studies.data.panel import cut_before_test
from studies.declaration import architecture_values, derive
from studies.families import FAMILIES
from studies.objective import TrialContext
from studies.preparation import open_panel, prepare_prices
from studies.reading import read_spec
from studies.training import WindowClassifier, score
from studies.windows import Windows

PARAMS = {"budget": "750k", "style": "shallow", "dropout": 0.1, "learning_rate": 1e-3, "weight_decay": 1e-3}
SHAPE = {"d_model": 32, "n_layers": 2, "n_heads": 8}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Lightning and torch warn about each other's and their own use of deprecated parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize(
    ("family", "tier"),
    [("itransformer", "none"), *((name, "none" if name == "patchtst" else "a20") for name in FAMILIES)],
)
def test_a_family_learns_on_real_prices(
    family: str, tier: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec(
        "quickstart",
        {
            "model": family,
            "data": {"tier": tier},
            "budgets": ["750k"],
            "architectures": {"750k": {"shallow": SHAPE, "deep": SHAPE}},
            "training": {"max_steps": 25, "effective_batch": 16, "check_every": 25, "window": 32},
        },
    )
    prepared = prepare_prices(spec, cache)
    panel = cut_before_test(open_panel(spec, cache, prepared.sizes["panel"]))
    inputs, targets = Windows(panel).at(np.asarray(panel.splits.train)[::40])
    losses: list[float] = []
    weights: list[dict[str, torch.Tensor]] = []

    def look(model: WindowClassifier) -> None:
        weights.append({name: each.detach().clone() for name, each in model.named_parameters() if each.requires_grad})
        model.eval()
        with torch.no_grad():
            losses.append(torch.nn.functional.binary_cross_entropy_with_logits(model(inputs), targets).item())
        model.train()

    monkeypatch.setattr(WindowClassifier, "on_train_start", look)
    monkeypatch.setattr(WindowClassifier, "on_train_end", look)
    values = derive(PARAMS, (*architecture_values(spec), *prepared.derived))
    context = TrialContext(spec, 0, 1, seed=1, directory=tmp_path / "0", home=cache, sizes=prepared.sizes)
    auc = score({**PARAMS, **values}, context)
    assert np.isfinite(auc)
    assert context.attributes["steps"] == 25
    before, after = losses
    assert after < before
    assert values["exact_params"] == sum(each.numel() * (2 if each.is_complex() else 1) for each in weights[0].values())
    changed = sum(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert changed == len(weights[0])
