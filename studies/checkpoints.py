"""Checkpoints of the built-in training: what a trial needs to go on as if it had never been interrupted.

Lightning saves weights, the optimizer's state and the position of its loop. Added here are the state of the random
numbers, the looks of `ValidationWatch`, and the configuration that the checkpoint belongs to. A file holds nothing
but tensors, numbers, strings, lists and dictionaries, so that reading one runs no code; `studies.checkpoint_contents`
reads it.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.plugins import CheckpointIO
from torch import nn

from studies.checkpoint_comparison import parts_that_forbid_continuing
from studies.checkpoint_contents import CHECKPOINT_NAME, CHECKPOINT_VERSION, read_content
from studies.dropout import random_state, restore_random_state
from studies.objective import PrunedError, TrialContext

_LOG = logging.getLogger(__name__)
# Not of the package: the fork server has not run that, see studies.preload. Read once, for it takes a search of files.
_NEURALFORECAST = version("neuralforecast")


class CheckpointFile(CheckpointIO):
    """The checkpoint of one configuration on the disk, in the form of a Lightning plugin.

    Attributes:
        path: the file; there is one a configuration, and a newer checkpoint replaces it.
    """

    def __init__(self, params: Mapping[str, Any], context: TrialContext) -> None:
        self.path = context.checkpoint_directory / CHECKPOINT_NAME
        self._configuration = configuration_of(params, context)
        self._found: dict[str, Any] = {}

    def find(self) -> int:
        """Read the checkpoint and return its optimizer step; 0 when there is none that can be used."""
        self._remove_partial_files()
        try:
            if not self.path.exists():
                return 0
            self._found = read_content(self.path, mapped=False)
            self._refuse_another_configuration(self._found["configuration"])
            step = int(self._found["global_step"])
        # Whatever is wrong with a file, the trial can always begin anew.
        except Exception as error:
            self._found = {}
            _LOG.warning("the checkpoint %s is ignored, training begins at step 0: %s", self.path, error)
            return 0
        _LOG.info("training goes on from step %d of %s", step, self.path)
        return step

    def load_checkpoint(
        self,
        path: str | Path,  # noqa: ARG002  Lightning's signature
        map_location: Any | None = None,  # noqa: ANN401, ARG002
        weights_only: bool | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Return what `find` has read and checked: no other way of reading is offered to Lightning."""
        found, self._found = self._found, {}
        return found

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401, ARG002
    ) -> None:
        """Write a checkpoint for good: after a power cut there is the old one or the new one, whole.

        Raises:
            OSError: the disk is full, or the directory can't be written.
            RuntimeError: the same, as torch says it.
        """
        write_for_good({**checkpoint, "configuration": self._configuration}, Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the file."""
        Path(path).unlink(missing_ok=True)

    def _remove_partial_files(self) -> None:
        for partial in self.path.parent.glob("*.partial"):
            with contextlib.suppress(OSError):
                partial.unlink()

    def _refuse_another_configuration(self, found: Mapping[str, Any]) -> None:
        different = parts_that_forbid_continuing(found, self._configuration)
        if different:
            raise ValueError(f"it belongs to another configuration, of another {', another '.join(different)}")


class Checkpoints(lightning.Callback):
    """Saves every few minutes and when the trial is told to stop, always between two optimizer steps."""

    def __init__(self, saved: CheckpointFile, context: TrialContext) -> None:
        self._saved, self._context = saved, context
        self._seconds = context.spec.training.checkpoint_minutes * 60
        self._last_save = time.monotonic()
        self._last_step = 0
        self._random: dict[str, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._last_save, self._last_step = time.monotonic(), trainer.global_step

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,  # noqa: ARG002
        pl_module: lightning.LightningModule,
        *_: object,
        **__: object,
    ) -> None:
        """Restore the random numbers as late as can be: making the data loader draws some."""
        if self._random:
            restore_random_state(self._random, pl_module.device)
            self._random = {}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
        *_: object,
        **__: object,
    ) -> None:
        """Save if it is time, and end the trial if it is told to stop.

        Raises:
            PrunedError: the trial was told to stop. After its last step it goes on to its score instead.
        """
        step = trainer.global_step
        finished = trainer.should_stop or step == trainer.max_steps
        if step == self._last_step or finished:
            return
        self._last_step = step
        stop = self._context.should_stop()
        due = self._seconds > 0 and time.monotonic() - self._last_save >= self._seconds
        if stop and self._context.ends_for_good():
            raise PrunedError(f"hopeless at step {step}")
        saved = (stop or due) and self._save(trainer)
        if stop:
            raise PrunedError(f"stopped at step {step}" + ("" if saved else ", without a checkpoint of it"))

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,  # noqa: ARG002
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Add the state of the random numbers that dropout draws from, and which weights are trained."""
        checkpoint["random"] = random_state(pl_module.device)
        checkpoint["trained"] = trained_names(pl_module)

    def on_load_checkpoint(
        self,
        trainer: lightning.Trainer,  # noqa: ARG002
        pl_module: lightning.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Keep the state of the random numbers for the first step."""
        self._random = checkpoint["random"]

    def _save(self, trainer: lightning.Trainer) -> bool:
        try:
            trainer.save_checkpoint(self._saved.path)
        except (OSError, RuntimeError) as error:
            _LOG.warning("no checkpoint could be written to %s: %s", self._saved.path, error)
        else:
            return True
        finally:
            # Also after a failure: a full disk must not be tried again at every step.
            self._last_save = time.monotonic()
        return False


def trained_names(module: nn.Module) -> list[str]:
    """Return the weights that the optimizer changes; the others are constants, and a reader has no network to ask."""
    return [name for name, weight in module.named_parameters() if weight.requires_grad]


def configuration_of(params: Mapping[str, Any], context: TrialContext) -> dict[str, Any]:
    """Return what the checkpoint belongs to, as JSON types."""
    configuration = {
        "version": CHECKPOINT_VERSION,
        "training": {"model": context.spec.model, **context.spec.training.model_dump(exclude={"checkpoint_minutes"})},
        "data": context.sizes.get("panel"),
        "params": dict(params),
        "seed": context.seed,
        # Another version may name its weights otherwise or draw other random numbers.
        "libraries": {
            "torch": str(torch.__version__).split("+", maxsplit=1)[0],
            "pytorch-lightning": str(lightning.__version__),  # type: ignore[attr-defined]
            "neuralforecast": _NEURALFORECAST,
        },
        "spec": context.spec.as_json(),
        "trial": context.number,
        "attempt": context.attempt,
    }
    plain: dict[str, Any] = json.loads(json.dumps(configuration))
    return plain


def write_for_good(content: Mapping[str, Any], path: Path) -> None:
    """Write what `read_content` reads: after a power cut there is the old file or the new one, whole.

    Raises:
        OSError: the disk is full, or the directory can't be written.
        RuntimeError: the same, as torch says it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unique because a process that was given up for lost may still be writing.
    with NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        try:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    _synchronize(path.parent)


def _synchronize(directory: Path) -> None:
    """Make a renamed file's name as lasting as its content."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
