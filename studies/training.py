"""Training one model and scoring it on the validation part: the built-in objective.

The network is NeuralForecast's; the loop is Lightning's; the windows come from the study's memory-mapped panel.
One window is one decision: the model sees labels and indicators that are known at time t, and is asked for the
label of t alone, the last step of its horizon.
"""

import logging
import signal
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from budgets import Architecture
from studies.checkpoints import CheckpointFile, Checkpoints
from studies.data.panel import cut_before_test
from studies.families import FAMILIES
from studies.objective import DivergedError, TrialContext
from studies.preparation import open_panel, window_shape
from studies.validation import ValidationWatch
from studies.windows import Batch, BatchSizes, TrainingWindows, Windows, batch_sizes

_LOG = logging.getLogger(__name__)


def score(params: Mapping[str, Any], context: TrialContext) -> float:
    """Train the configuration and return its validation AUC, at the best look.

    Training goes on from the last checkpoint of this configuration, if there is one, and then ends with the score
    of a training that was never interrupted.

    Raises:
        DivergedError: the loss became NaN or infinite.
        PrunedError: the service asked the trial to stop; a checkpoint has been saved.
    """
    _quiet_libraries()
    spec, training = context.spec, context.spec.training
    panel = cut_before_test(open_panel(spec, context.home, context.sizes["panel"]))
    torch.set_num_threads(context.threads)
    architecture = Architecture(int(params["d_model"]), int(params["n_layers"]), int(params["n_heads"]))
    network = FAMILIES[spec.model].build(architecture, window_shape(panel), float(params["dropout"]), context.seed)
    model = WindowClassifier(network, float(params["learning_rate"]), float(params["weight_decay"]))
    windows, sizes = Windows(panel), batch_sizes(params, training)
    precision = resolve_precision(training.precision)
    watch, saved = ValidationWatch(windows, training, context), CheckpointFile(params, context)
    done = saved.find()
    # The watch comes first: a checkpoint holds the look of its own step.
    callbacks = [watch, Checkpoints(saved, context), SigtermAsBefore()]
    trainer = make_trainer(training.max_steps, sizes, precision, saved, callbacks)
    lightning.seed_everything(context.seed, verbose=False)
    batches = DataLoader(TrainingWindows(windows, sizes, context.seed, done), batch_size=None)
    try:
        trainer.fit(model, batches, ckpt_path=saved.path if done else None)
    finally:
        context.record(steps=trainer.global_step, resumed_from_step=done, steps_trained=trainer.global_step - done)
    context.record(
        effective_batch=sizes.effective,
        micro_batch=sizes.micro,
        precision=precision,
        threads=context.threads,
        windows_seen=model.windows_seen,
        **watch.summary(),
    )
    try:
        watch.save_predictions()
    except OSError as error:
        # A full disk costs the ensemble a member, not the search a score.
        _LOG.warning("the validation predictions could not be saved: %s", error)
    return watch.best.auc


def resolve_precision(precision: str) -> str:
    """Return Lightning's name of the precision; `auto` is bf16-mixed where a CUDA device has it."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the count of windows."""
        checkpoint["windows_seen"] = self.windows_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting windows."""
        self.windows_seen = checkpoint["windows_seen"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the trained parameters."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=self._learning_rate, weight_decay=self._weight_decay)


class SigtermAsBefore(lightning.Callback):
    """Takes SIGTERM back from Lightning, which would end the training after the next step and save nothing.

    A service manager sends it to every process of a service. The worker decides, and tells its trial in time to save.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Lightning has just put its own handler there."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


def make_trainer(
    steps: int, sizes: BatchSizes, precision: str, saved: CheckpointFile, callbacks: list[lightning.Callback]
) -> lightning.Trainer:
    """Return Lightning's loop for a number of optimizer steps on one device."""
    return lightning.Trainer(
        max_steps=steps,
        accumulate_grad_batches=sizes.parts,
        precision=precision,  # type: ignore[arg-type]
        accelerator="auto",
        devices=1,
        callbacks=callbacks,
        plugins=[saved],
        logger=False,
        # This is Lightning's own callback, which saves by epochs; a training here is one epoch.
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
