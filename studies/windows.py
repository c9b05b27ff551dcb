"""Windows cut out of a study's panel, and the micro-batches of them that a model is trained on."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from studies.data.panel import Panel
from studies.sections import TrainingSpec

Batch = tuple[dict[str, Tensor], Tensor]


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


@dataclass(frozen=True)
class BatchSizes:
    """Windows an optimizer step, and windows a forward pass: a divisor of the former."""

    effective: int
    micro: int

    @property
    def parts(self) -> int:
        """Forward passes an optimizer step."""
        return self.effective // self.micro


def batch_sizes(params: Mapping[str, Any], training: TrainingSpec) -> BatchSizes:
    """Return the sizes of a trial: Phase 2 searches the effective batch, Phase 1 takes the specification's."""
    effective = int(params.get("effective_batch", training.effective_batch))
    return BatchSizes(effective, math.gcd(min(training.micro_batch_size, effective), effective))


class TrainingWindows(IterableDataset[Batch]):
    """Micro-batches of windows of the train part, drawn with replacement, without end."""

    def __init__(self, windows: Windows, sizes: BatchSizes, seed: int, steps_done: int = 0) -> None:
        self._windows, self._sizes, self._seed, self._steps_done = windows, sizes, seed, steps_done

    def __iter__(self) -> Iterator[Batch]:
        """Draw a whole effective batch at once, so that its windows do not depend on the micro-batch."""
        random = np.random.default_rng(self._seed)
        decisions = np.asarray(self._windows.panel.splits.train, dtype=np.int64)
        # Lightning fetches ahead of training, so a generator saved with a checkpoint would be ahead of the weights.
        # Drawing again what the finished steps drew takes microseconds a step.
        for _ in range(self._steps_done):
            random.choice(decisions, self._sizes.effective)
        while True:
            for part in np.split(random.choice(decisions, self._sizes.effective), self._sizes.parts):
                yield self._windows.at(part)
