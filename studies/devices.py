"""Where a trial trains, and whether its prices stay there.

On a card a step of a small model takes a few milliseconds, in which nothing should wait for memory of the machine: the
panel is copied to the card once where it fits, and windows are gathered there. The code is that of the CPU, where the
device is the memory itself.
"""

from collections.abc import Mapping
from typing import Any

import torch

from budgets import BatchPlan
from budgets.memory import MemoryEstimate
from budgets.placement import Card, usable_card
from studies.data.panel import Panel
from studies.memory import stored_estimate
from studies.windows import Windows


def training_device() -> torch.device:
    """Return where trials of this process train: its first card, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def windows_on(
    device: torch.device, panel: Panel, sizes: Mapping[str, Any], params: Mapping[str, Any], plan: BatchPlan
) -> Windows:
    """Return the windows of a trial, on the device that it trains on.

    Args:
        device: from `training_device`.
        panel: without the test part.
        sizes: what the preparation found out, with the footprints of the models.
        params: sampled and derived values of the trial.
        plan: of its batch.
    """
    if device.type == "cpu":
        return Windows(panel)
    return Windows(panel, device, resident=stays_on(_card(device), stored_estimate(sizes, params, plan)))


def stays_on(card: Card, estimate: MemoryEstimate | None) -> bool:
    """Return whether the prices stay on a card: they are not too many, and fit there beside the trial and all others.

    Args:
        card: as it is before the trial takes anything of it.
        estimate: of the trial; None, where its model was never counted, says no.
    """
    if estimate is None or not estimate.resident_data:
        return False
    return estimate.on_card <= usable_card(card)


def _card(device: torch.device) -> Card:
    free, total = torch.cuda.mem_get_info(device)
    return Card(str(device), total, total - free)
