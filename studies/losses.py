"""Losses of a classifier, from logits."""

from typing import Final

import torch
from torch import Tensor, nn

from studies.sections import Loss

_FOCUS = 2.0


class ClassificationLoss:
    """The mean loss of a batch of windows.

    `bernoulli` is the negative log-likelihood, as NeuralForecast's DistributionLoss has it. `weighted` multiplies that
    of the positives by negatives over positives of the train part. `focal` multiplies it by (1 - p)², p being the
    probability that was given to what happened (Lin et al. 2017, "Focal Loss for Dense Object Detection").

    Args:
        kind: one of the three.
        base_rate: share of positives in the train part.
    """

    def __init__(self, kind: Loss, base_rate: float) -> None:
        self._kind = kind
        self._positive_weight = (1 - base_rate) / base_rate if kind == "weighted" else 1.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all windows and series."""
        if self._kind == "weighted":
            weight = torch.full_like(labels[:1], self._positive_weight)
            return nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)
        if self._kind == "focal":
            losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            return ((1 - torch.exp(-losses)) ** _FOCUS * losses).mean()
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)


BERNOULLI: Final = ClassificationLoss("bernoulli", 0.5)
