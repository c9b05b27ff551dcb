"""Training one model and scoring it on the validation part: the built-in objective.

The network is NeuralForecast's; the loop is Lightning's; the windows come from the study's memory-mapped panel.
One window is one decision: the model sees labels and indicators that are known at time t, and is asked for the
label of t alone, the last step of its horizon.
"""

import ctypes
import logging
import math
import signal
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.trainer.connectors import callback_connector
from torch import Tensor, nn

from budgets import Architecture, BatchPlan
from studies.batches import batch_plan, batch_values
from studies.best_weights import BestWeights
from studies.checkpoints import CheckpointFile, Checkpoints
from studies.data.panel import Panel, cut_before_test
from studies.devices import training_device, windows_on
from studies.dropout import StepRandomness, use_whole_batch_dropout
from studies.families import FAMILIES
from studies.families.recompute import recompute_blocks
from studies.losses import BERNOULLI, ClassificationLoss
from studies.metrics import area_under_curve
from studies.objective import DivergedError, TrialContext
from studies.precision import begin, precision_of
from studies.preparation import open_panel, window_shape
from studies.spread import BatchSpread
from studies.validation import ValidationWatch
from studies.windows import Batch, TrainingWindows, load

_LOG = logging.getLogger(__name__)

# From <malloc.h>. A threshold above 32 MiB is not taken.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEPT_BYTES = -1, -3, 32 * 2**20

# What torch says where it looks for anomalies in the backward pass.
_ANOMALY = "returned nan values in its"


def score(params: Mapping[str, Any], context: TrialContext) -> float:
    """Train the configuration and return its validation AUC, at the best look.

    Training goes on from the last checkpoint of this configuration, if there is one, and then ends with the score
    of a training that was never interrupted.

    Raises:
        DivergedError: the loss became NaN or infinite.
        PrunedError: the service asked the trial to stop; a checkpoint has been saved.
    """
    _keep_freed_memory()
    panel = cut_before_test(open_panel(context.spec, context.home, context.sizes["panel"]))
    return train(params, context, panel)


def train(params: Mapping[str, Any], context: TrialContext, panel: Panel) -> float:
    """Train it on a panel that is open already and has no test part, and return the same."""
    _quiet_libraries()
    spec, training = context.spec, context.spec.training
    torch.set_num_threads(context.threads)
    plan = batch_plan(params, training)
    windows = windows_on(training_device(), panel, context.sizes, params, plan)
    precision = precision_of(params, training.precision)
    model = _classifier(params, context, panel, plan)
    best_weights, saved = BestWeights(params, context), CheckpointFile(params, context)
    watch = ValidationWatch(windows, training, plan, context, best_weights)
    done = saved.find()
    # The watch comes first: a checkpoint holds the look of its own step.
    callbacks = [watch, Checkpoints(saved, context), SigtermAsBefore()]
    trainer = make_trainer(training.max_steps, plan, begin(precision), saved, callbacks, safe=spec.mode == "safe")
    lightning.seed_everything(context.seed, verbose=False)
    data_workers = 0 if spec.mode == "safe" else training.data_workers
    batches = load(TrainingWindows(windows, plan, context.seed, done), data_workers)
    try:
        trainer.fit(model, batches, ckpt_path=saved.path if done else None)
    except RuntimeError as error:
        # Mode safe sees it in the gradients, a step before the loss shows it.
        if _ANOMALY in str(error):
            raise DivergedError(f"the gradients became NaN at step {trainer.global_step}: {error}") from error
        raise
    finally:
        context.record(steps=trainer.global_step, resumed_from_step=done, steps_trained=trainer.global_step - done)
    context.record(
        **batch_values(plan),
        precision=precision,
        threads=context.threads,
        windows_seen=model.windows_seen,
        last_loss=model.last_loss,
        **_peak_on_card(),
        batch_metric=spec.score_metric,
        **model.spread.as_attributes(),
        **watch.summary(),
    )
    try:
        watch.save_predictions()
    except OSError as error:
        # A full disk costs the ensemble a member, not the search a score.
        _LOG.warning("the validation predictions could not be saved: %s", error)
    best_weights.move_to_artifacts(watch.best_step)
    return watch.best.auc


def _classifier(params: Mapping[str, Any], context: TrialContext, panel: Panel, plan: BatchPlan) -> "WindowClassifier":
    family, training = FAMILIES[context.spec.model], context.spec.training
    architecture = Architecture(int(params["d_model"]), int(params["n_layers"]), int(params["n_heads"]))
    network = family.build(architecture, window_shape(panel), float(params["dropout"]), context.seed)
    if training.gradient_checkpointing:
        recompute_blocks(network, family)
    return WindowClassifier(
        network,
        float(params["learning_rate"]),
        float(params["weight_decay"]),
        ClassificationLoss(training.loss, panel.base_rates["train"]),
        plan.accumulation,
    )


def _peak_on_card() -> dict[str, float]:
    if not torch.cuda.is_available():
        return {}
    return {"peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1)}


class WindowClassifier(lightning.LightningModule):
    """A NeuralForecast network trained as a classifier of its last step, with AdamW.

    Args:
        network: takes a batch of windows, gives logits [windows, horizon, series].
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        loss: of logits and labels.
        accumulation: forward passes an optimizer step.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        loss: ClassificationLoss = BERNOULLI,
        accumulation: int = 1,
    ) -> None:
        super().__init__()
        self._randomness = StepRandomness(accumulation)
        use_whole_batch_dropout(network, self._randomness)
        self.network = network
        self.windows_seen = 0
        self.spread = BatchSpread()
        self.last_loss = math.nan
        self._learning_rate, self._weight_decay, self._loss = learning_rate, weight_decay, loss
        self._step: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits [windows, series] of the label."""
        logits: Tensor = self.network(inputs)[:, -1]
        return logits

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the loss of a micro-batch; after the last one of a step, remember what the whole batch gave."""
        inputs, labels = batch
        self._randomness.begin(len(self._step), len(labels), labels.device)
        logits = self(inputs)
        loss = self._loss(logits, labels)
        self.windows_seen += len(labels)
        self._step.append((loss.detach(), logits.detach(), labels))
        if len(self._step) == self._randomness.parts:
            self._end_step()
        return loss

    def _end_step(self) -> None:
        losses, logits, labels = zip(*self._step, strict=True)
        self._step = []
        self.last_loss = float(torch.stack(losses).mean())
        if not math.isfinite(self.last_loss):
            raise DivergedError(f"the training loss became {self.last_loss} at step {self.global_step}")
        truth = torch.cat(labels).cpu().numpy().ravel()
        if 0 < truth.sum() < len(truth):
            self.spread.add(area_under_curve(truth, torch.cat(logits).float().cpu().numpy().ravel()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what is counted over the whole training."""
        checkpoint["windows_seen"], checkpoint["batch_spread"] = self.windows_seen, self.spread.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        self.windows_seen = checkpoint["windows_seen"]
        self.spread = BatchSpread.from_state(checkpoint["batch_spread"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the trained parameters, in one pass over them where they are real numbers."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        fused = all(parameter.is_floating_point() for parameter in trained)
        return torch.optim.AdamW(trained, lr=self._learning_rate, weight_decay=self._weight_decay, fused=fused)


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
    steps: int,
    plan: BatchPlan,
    precision: str,
    saved: CheckpointFile,
    callbacks: list[lightning.Callback],
    *,
    safe: bool = False,
) -> lightning.Trainer:
    """Return Lightning's loop for a number of optimizer steps on one device; safe: slower, and it tells more."""
    return lightning.Trainer(
        max_steps=steps,
        accumulate_grad_batches=plan.accumulation,
        precision=precision,  # type: ignore[arg-type]
        accelerator="auto",
        devices=1,
        callbacks=callbacks,
        plugins=[saved],
        # Some operations on a GPU have no deterministic form, such as the sums of Informer's decoder: they are warned
        # of in the trial's log, and a trial that runs in the fast mode runs in this one.
        deterministic="warn" if safe else False,
        detect_anomaly=safe,
        logger=False,
        # This is Lightning's own callback, which saves by epochs; a training here is one epoch.
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _quiet_libraries() -> None:
    for name in ("pytorch_lightning", "lightning_fabric"):
        # Setting a level clears what every logger remembers: in a fork 5 to 18 ms, for pages that it then copies.
        if (logger := logging.getLogger(name)).level != logging.WARNING:
            logger.setLevel(logging.WARNING)
    # The windows are gathered from memory in well under a millisecond: data workers would only cost.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Two loss parameters are NeuralForecast's constants; Lightning remarks on them at every fit.
    warnings.filterwarnings("ignore", message=".*Tensor Cores.*|.*litlogger.*")


def _keep_freed_memory() -> None:
    """Tell the C library to keep what a step has freed for the next step, and not to give it back in between.

    The kernel would hand the pages out anew, zeroed: about 1,500 faults and 2 to 5 % of a step's time on a CPU. The
    process of a trial ends with it, and its peak is the same.
    """
    library = ctypes.CDLL(None)
    # From <malloc.h>; musl has no such call, and nothing is lost without it.
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, 2**30)


def _without_callbacks_of_others() -> None:
    """Have Lightning look for no callbacks that other packages may have registered.

    What else is installed must not change a result; and the search through all of it took 8 to 16 ms of every trial.
    """
    # Where it is called something else, that search goes on.
    if hasattr(callback_connector, "_load_external_callbacks"):
        callback_connector._load_external_callbacks = lambda _group: []


# Before anybody forks this process.
_quiet_libraries()
_without_callbacks_of_others()
