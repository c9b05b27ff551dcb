"""The weights of a trial's best look, kept on the disk for an ensemble.

They are written at every look that is better than those before it, beside the checkpoint, so that a trial that is
interrupted has them when it goes on; when it ends with a score they move beside its predictions. Nothing is cloned:
the weights of 200 million parameters would take another 800 MB of memory.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from studies.checkpoint_contents import WEIGHTS_NAME, read_checkpoint
from studies.checkpoints import configuration_of, trained_names, write_for_good
from studies.errors import CheckpointError
from studies.objective import TrialContext

_LOG = logging.getLogger(__name__)


class BestWeights:
    """The file of one trial; nothing that goes wrong with it costs the trial its score."""

    def __init__(self, params: Mapping[str, Any], context: TrialContext) -> None:
        self._wanted = context.spec.keep_weights > 0
        self._path = context.checkpoint_directory / WEIGHTS_NAME
        self._place = context.directory / WEIGHTS_NAME
        self._configuration = configuration_of(params, context)
        self._step: int | None = None

    def keep(self, module: nn.Module, step: int) -> None:
        """Write the weights as they are now; those of an earlier look go."""
        if not self._wanted:
            return
        content = {
            "state_dict": module.state_dict(),
            "trained": trained_names(module),
            "global_step": step,
            "optimizer_states": [],
            "configuration": self._configuration,
        }
        try:
            write_for_good(content, self._path)
        except (OSError, RuntimeError) as error:
            # A full disk costs the ensemble a member, not the search a score.
            _LOG.warning("the weights of step %d could not be kept: %s", step, error)
            self._remove()
        else:
            self._step = step

    def move_to_artifacts(self, best_step: int) -> Path | None:
        """Put the weights of the best look beside the trial's predictions; None where there are none of that step."""
        if not self._wanted:
            return None
        try:
            if self._kept_step() == best_step:
                self._place.parent.mkdir(parents=True, exist_ok=True)
                return self._path.replace(self._place)
            _LOG.warning("the weights of the best look, step %d, are not kept", best_step)
        except (OSError, CheckpointError) as error:
            _LOG.warning("the weights of the best look could not be kept: %s", error)
        return None

    def _kept_step(self) -> int | None:
        """The optimizer step of the weights on the disk; an earlier attempt may have written them."""
        if self._step is None and self._path.exists():
            self._step = read_checkpoint(self._path).step
        return self._step

    def _remove(self) -> None:
        self._step = None
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("the weights of an earlier look could not be removed: %s", error)
