"""Training one model and scoring it on the validation part: the built-in objective.

The network is NeuralForecast's; the loop is Lightning's; the windows come from the study's memory-mapped panel.
One window is one decision: the model sees labels and indicators that are known at time t, and is asked for the
label of t alone, the last step of its horizon.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from budgets import Architecture
from studies.baseline import validation_clusters
from studies.data.panel import Panel, cut_before_test
from studies.families import FAMILIES
from studies.metrics import Scores, area_under_curve, classification_scores
from studies.objective import DivergedError, PrunedError, TrialContext
from studies.preparation import open_panel, window_shape
from studies.spec import TrainingSpec

Batch = tuple[dict[str, Tensor], Tensor]

# Windows a forward pass while validating; more is no faster on two cores and takes more memory.
_VALIDATION_WINDOWS = 128


def score(params: Mapping[str, Any], context: TrialContext) -> float:
    """Train the configuration and return its validation AUC, at the best look.

    Raises:
        DivergedError: the loss became NaN or infinite.
        PrunedError: the service asked the trial to stop.
    """
    _quiet_libraries()
    spec, training = context.spec, context.spec.training
    panel = cut_before_test(open_panel(spec, context.home, context.sizes["panel"]))
    torch.set_num_threads(context.threads)
    architecture = Architecture(int(params["d_model"]), int(params["n_layers"]), int(params["n_heads"]))
    network = FAMILIES[spec.model].build(architecture, window_shape(panel), float(params["dropout"]), context.seed)
    model = WindowClassifier(network, float(params["learning_rate"]), float(params["weight_decay"]))
    windows = Windows(panel)
    watch = ValidationWatch(windows, training, context)
    precision = resolve_precision(training.precision)
    trainer = _trainer(training, precision, watch)
    lightning.seed_everything(context.seed, verbose=False)
    trainer.fit(model, DataLoader(TrainingWindows(windows, training, context.seed), batch_size=None))
    context.record(
        effective_batch=training.effective_batch,
        micro_batch=training.micro_batch_size,
        precision=precision,
        threads=context.threads,
        steps=trainer.global_step,
        windows_seen=model.windows_seen,
        **watch.summary(),
    )
    watch.save_predictions()
    return watch.best.auc


def resolve_precision(precision: str) -> str:
    """Return Lightning's name of the precision; `auto` is bf16-mixed where a CUDA device has it."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


class Windows:
    """The panel as tensors, and windows cut out of it."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self._features = torch.from_numpy(np.ascontiguousarray(panel.features))
        self._labels = torch.from_numpy(np.ascontiguousarray(panel.labels))
        self._offsets = torch.arange(1 - panel.window, panel.horizon + 1)

    def at(self, decisions: NDArray[np.int64]) -> Batch:
        """Return inputs and targets [decisions, series] of the windows that end at these decisions."""
        rows = torch.from_numpy(decisions)[:, None] + self._offsets
        inputs = {
            "insample_y": self._labels[rows[:, : self.panel.window]],
            "futr_exog": self._features[rows].permute(0, 3, 1, 2),
        }
        return inputs, self._labels[rows[:, -1]]


class TrainingWindows(IterableDataset[Batch]):
    """Micro-batches of windows of the train part, drawn with replacement, without end."""

    def __init__(self, windows: Windows, training: TrainingSpec, seed: int) -> None:
        self._windows, self._training, self._seed = windows, training, seed

    def __iter__(self) -> Iterator[Batch]:
        """Draw a whole effective batch at once, so that its windows do not depend on the micro-batch."""
        random = np.random.default_rng(self._seed)
        decisions = np.asarray(self._windows.panel.splits.train, dtype=np.int64)
        parts = self._training.effective_batch // self._training.micro_batch_size
        while True:
            for part in np.split(random.choice(decisions, self._training.effective_batch), parts):
                yield self._windows.at(part)


class WindowClassifier(lightning.LightningModule):
    """A NeuralForecast network trained as a classifier of its last step, with AdamW."""

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.network = network
        self.windows_seen = 0
        self._learning_rate, self._weight_decay = learning_rate, weight_decay

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits [windows, series] of the label."""
        logits: Tensor = self.network(inputs)[:, -1]
        return logits

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the Bernoulli negative log-likelihood, as NeuralForecast's DistributionLoss has it."""
        inputs, targets = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self(inputs), targets)
        if not torch.isfinite(loss):
            raise DivergedError(f"the training loss became {loss.item()} at step {self.global_step}")
        self.windows_seen += len(targets)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the trained parameters."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=self._learning_rate, weight_decay=self._weight_decay)


class ValidationWatch(lightning.Callback):
    """Looks at the validation part as training goes on, keeps the best look, and ends training in time."""

    def __init__(self, windows: Windows, training: TrainingSpec, context: TrialContext) -> None:
        self._windows, self._training, self._context = windows, training, context
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
        if self._context.should_stop():
            raise PrunedError(f"stopped at step {step}")

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
        self._looks.append((step, auc))
        self._context.report(auc, step)

    def _predict(self, model: lightning.LightningModule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        labels, probabilities = [], []
        model.eval()
        with torch.no_grad():
            for start in range(0, len(self._decisions), _VALIDATION_WINDOWS):
                inputs, targets = self._windows.at(self._decisions[start : start + _VALIDATION_WINDOWS])
                logits = model({name: value.to(model.device) for name, value in inputs.items()})
                probabilities.append(torch.sigmoid(logits.double()).cpu().numpy().ravel())
                labels.append(targets.double().numpy().ravel())
        model.train()
        return np.concatenate(labels), np.concatenate(probabilities)


def _trainer(training: TrainingSpec, precision: str, watch: ValidationWatch) -> lightning.Trainer:
    return lightning.Trainer(
        max_steps=training.max_steps,
        accumulate_grad_batches=training.effective_batch // training.micro_batch_size,
        precision=precision,  # type: ignore[arg-type]
        accelerator="auto",
        devices=1,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _quiet_libraries() -> None:
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The windows are gathered from memory in well under a millisecond: data workers would only cost.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Two loss parameters are NeuralForecast's constants; Lightning remarks on them at every fit.
    warnings.filterwarnings("ignore", message=".*Tensor Cores.*|.*litlogger.*")
