"""A finished trial keeps the weights of its best look, and only the best trials keep theirs."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from budgets import Architecture
from hpo.artifacts import artifacts_directory, checkpoint_directory
from studies.checkpoint_contents import read_checkpoint
from studies.checkpoint_weights import load_weights
from studies.data.panel import cut_before_test
from studies.declaration import architecture_values, derive
from studies.families import FAMILIES
from studies.objective import PrunedError, TrialContext
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.training import score
from studies.windows import Windows

TRAINING = {"max_steps": 12, "window": 20, "effective_batch": 8, "check_every": 3, "patience": 9}
PARAMS = {"budget": "750k", "style": "shallow", "dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 1e-3}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


class Trial:
    """A trial that may be stopped after so many steps, and begun again."""

    def __init__(self, home: Path, root: Path, seed: int = 1, **search: Any) -> None:
        self.spec = read_spec("quickstart", {"training": TRAINING, **search})
        self.home, self.root, self.seed = home, root, seed
        self.attempt = 0

    def run(self, asks: Callable[[], bool] = lambda: False, send: Any = lambda *_: False) -> float:
        self.attempt += 1
        self.context = TrialContext(
            self.spec,
            number=self.attempt,
            attempt=self.attempt,
            seed=self.seed,
            directory=artifacts_directory(self.root, "q", self.attempt),
            checkpoint_directory=checkpoint_directory(self.root, "q", 1),
            home=self.home,
            sizes=prepare_prices(self.spec, self.home).sizes,
            send=send,
            asks=asks,
        )
        return score({**PARAMS, **derive(PARAMS, architecture_values(self.spec))}, self.context)

    @property
    def weights(self) -> Path:
        return self.context.directory / "weights.ckpt"

    def predictions_of_weights(self) -> np.ndarray:
        panel = cut_before_test(open_panel(self.spec, self.home, self.context.sizes["panel"]))
        shape = self.spec.architecture("750k", "shallow")
        network = (
            FAMILIES[self.spec.model]
            .build(Architecture(shape.d_model, shape.n_layers, shape.n_heads), window_shape(panel), 0.3, 99)
            .eval()
        )
        load_weights(network, self.weights)
        inputs, _ = Windows(panel).at(np.asarray(panel.splits.validation))
        with torch.no_grad():
            return torch.sigmoid(network(inputs)[:, -1].double()).numpy().ravel()


def test_the_kept_weights_give_the_stored_predictions(home: Path, tmp_path: Path) -> None:
    trial = Trial(home, tmp_path)
    trial.run()
    stored = np.load(trial.context.directory / "validation.npz")
    np.testing.assert_allclose(trial.predictions_of_weights(), stored["probabilities"], atol=1e-6)
    contents = read_checkpoint(trial.weights)
    assert contents.step == trial.context.attributes["best_step"]
    assert (contents.count_agrees, contents.moment_bytes) == (None, 0)
    assert contents.configuration["params"]["d_model"] == 192
    assert not list(trial.context.checkpoint_directory.glob("*"))


def test_a_trial_that_was_interrupted_has_the_weights_of_its_best_look(home: Path, tmp_path: Path) -> None:
    # A seed whose best look is not the last one, after which nothing can be interrupted.
    whole = Trial(home, tmp_path / "whole", seed=3)
    whole.run()
    best = whole.context.attributes["best_step"]
    assert best < TRAINING["max_steps"]
    broken, asked = Trial(home, tmp_path / "broken", seed=3), iter(range(100))
    with pytest.raises(PrunedError):
        # In the middle between the best look and the next.
        broken.run(asks=lambda: next(asked) == best)
    broken.run()
    assert broken.context.attributes["best_step"] == best
    found = [torch.load(trial.weights, weights_only=True)["state_dict"] for trial in (whole, broken)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_full_disk_costs_the_weights_and_not_the_score(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError("No space left on device")

    expected = Trial(home, tmp_path / "whole").run()
    trial = Trial(home, tmp_path / "full")
    monkeypatch.setattr(os, "fsync", full)
    assert trial.run() == expected
    assert not trial.weights.exists()
    assert "No space left on device" in caplog.text


def test_a_study_that_keeps_no_weights_writes_none_and_is_the_same_study(home: Path, tmp_path: Path) -> None:
    trial = Trial(home, tmp_path, keep_weights=0)
    trial.run()
    assert not list(tmp_path.rglob("weights.ckpt"))
    assert trial.spec.fingerprint == Trial(home, tmp_path).spec.fingerprint
