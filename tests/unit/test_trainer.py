"""Lightning's trainer as a trial makes it."""

import importlib.metadata
import warnings
from typing import Any

import pytest
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO

from budgets import BatchPlan
from studies.training import SigtermAsBefore, make_trainer


class Foreign(Callback):
    """Of another package."""


class _EntryPoint:
    name = "foreign"

    def load(self) -> Any:
        return lambda: [Foreign()]


def test_what_else_is_installed_adds_no_callback_to_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points = importlib.metadata.entry_points

    def with_a_foreign_one(**wanted: str) -> Any:
        if wanted.get("group") == "pytorch_lightning.callbacks_factory":
            return [_EntryPoint()]
        return entry_points(**wanted)

    monkeypatch.setattr(importlib.metadata, "entry_points", with_a_foreign_one)
    monkeypatch.setattr("lightning_fabric.utilities.registry.entry_points", with_a_foreign_one)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = make_trainer(1, BatchPlan(4, 2), "32-true", TorchCheckpointIO(), [SigtermAsBefore()])  # type: ignore[arg-type]
    assert not any(isinstance(each, Foreign) for each in trainer.callbacks)  # type: ignore[attr-defined]
    assert any(isinstance(each, SigtermAsBefore) for each in trainer.callbacks)  # type: ignore[attr-defined]
