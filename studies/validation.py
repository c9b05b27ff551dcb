"""Looks at the validation part while a model trains: the best look is the trial's score."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray

from budgets import BatchPlan
from studies.baseline import validation_clusters
from studies.best_weights import BestWeights
from studies.metrics import Scores, area_under_curve, classification_scores
from studies.objective import DivergedError, TrialContext
from studies.sections import TrainingSpec
from studies.windows import Windows

# Windows a forward pass while validating. More than the most is no faster on two cores and takes more memory; with
# fewer than the least, looks of small batches took longer than the training: 88 passes of 8 windows instead of 11.
_MOST_WINDOWS, _LEAST_WINDOWS = 128, 64


def windows_at_once(plan: BatchPlan) -> int:
    """Return the windows of a forward pass that keeps nothing for a backward pass."""
    # A trial that trains in parts, for want of memory, has none for more windows here. One that does not has room for a
    # few more.
    least = _LEAST_WINDOWS if plan.accumulation == 1 else 1
    return min(_MOST_WINDOWS, max(least, plan.micro))


class ValidationWatch(lightning.Callback):
    """Looks at the validation part as training goes on, keeps the best look, and ends training in time."""

    def __init__(
        self, windows: Windows, training: TrainingSpec, plan: BatchPlan, context: TrialContext, weights: BestWeights
    ) -> None:
        self._windows, self._training, self._context, self._weights = windows, training, context, weights
        self._at_once = windows_at_once(plan)
        self._decisions = np.asarray(windows.panel.splits.validation, dtype=np.int64)
        self._looks: list[tuple[int, float]] = []
        self._best_probabilities: NDArray[np.float64] = np.empty(0)
        self._labels: NDArray[np.float64] = np.empty(0)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object, **__: object
    ) -> None:
        """Look every `check_every` optimizer steps and after the last one."""
        step = trainer.global_step
        due = step % self._training.check_every == 0 or step == self._training.max_steps
        if not due or step == self._last_step:
            return
        self._look(pl_module, step)
        trainer.should_stop = step - self.best_step >= self._training.patience * self._training.check_every

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Report again what a resumed trial saw before, so that every attempt reports all looks."""
        for step, auc in self._looks:
            self._context.report(auc, step)

    def state_dict(self) -> dict[str, Any]:
        """Return the looks so far, for a checkpoint."""
        return {
            "looks": [list(look) for look in self._looks],
            "labels": torch.from_numpy(self._labels),
            "best_probabilities": torch.from_numpy(self._best_probabilities),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from the looks of a checkpoint."""
        self._looks = [(int(step), float(auc)) for step, auc in state_dict["looks"]]
        self._labels = state_dict["labels"].numpy()
        self._best_probabilities = state_dict["best_probabilities"].numpy()

    @property
    def best_step(self) -> int:
        """The optimizer step of the best look."""
        return max(self._looks, key=lambda look: look[1])[0]

    @property
    def best(self) -> Scores:
        """All scores of the best look."""
        clusters = validation_clusters(self._windows.panel)
        return classification_scores(self._labels, self._best_probabilities, clusters)

    def summary(self) -> dict[str, Any]:
        """Return what is stored with the trial."""
        scores = self.best.as_attributes()
        return {**scores, "best_step": self.best_step, "last_auc": self._looks[-1][1]}

    def save_predictions(self) -> None:
        """Keep the validation predictions of the best look, for ensembles and for another look at the score."""
        self._context.directory.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            self._context.directory / "validation.npz",
            decisions=self._decisions,
            labels=self._labels.astype(np.float32),
            probabilities=self._best_probabilities.astype(np.float32),
        )

    @property
    def _last_step(self) -> int:
        return self._looks[-1][0] if self._looks else 0

    def _look(self, model: lightning.LightningModule, step: int) -> None:
        labels, probabilities = self._predict(model)
        if not np.isfinite(probabilities).all():
            raise DivergedError(f"the predictions became NaN or infinite at step {step}")
        auc = area_under_curve(labels, probabilities)
        if not self._looks or auc > max(value for _, value in self._looks):
            self._labels, self._best_probabilities = labels, probabilities
            self._weights.keep(model, step)
        self._looks.append((step, auc))
        self._context.report(auc, step)

    def _predict(self, model: lightning.LightningModule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        labels, probabilities = [], []
        model.eval()
        with torch.no_grad():
            for start in range(0, len(self._decisions), self._at_once):
                inputs, targets = self._windows.at(self._decisions[start : start + self._at_once])
                logits = model({name: value.to(model.device) for name, value in inputs.items()})
                probabilities.append(torch.sigmoid(logits.double()).cpu().numpy().ravel())
                labels.append(targets.double().cpu().numpy().ravel())
        model.train()
        if self._training.empty_cache and model.device.type == "cuda":
            torch.cuda.empty_cache()
        return np.concatenate(labels), np.concatenate(probabilities)
