"""What a worker says about itself with every beat: memory, GPU, disk.

Memory is proportional (PSS) where Linux gives it: forks share what the fork server has loaded, and counted by
resident size nine workers would seem to hold it nine times.
"""

import math
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from hpo.cards import CardReading, Cards, NvmlCards

_MIB = 2**20
# By how much the resident size of this process may have moved since its memory was counted.
_MOST_MOVED = _MIB


class OwnMemory:
    """The memory of this process, counted anew where its resident size has moved, and now and then.

    With torch loaded the kernel takes 6 ms to count pages and who shares them: of 64 workers with a beat every 5 s,
    8 % of a core. The resident size is known without counting; it does not tell when a shared page becomes an own one.

    Args:
        oldest_seconds: how old a count may become.
    """

    def __init__(self, oldest_seconds: float) -> None:
        self.is_new = False
        """Whether what was last read had been counted for that."""
        self._oldest_seconds = oldest_seconds
        self._process = psutil.Process()
        self._counted_at = -math.inf
        self._resident = 0
        self._memory = 0.0, 0.0

    def read(self) -> tuple[float, float]:
        """Return proportional and own memory in MiB, of now or of a short while ago."""
        resident, now = self._process.memory_info().rss, time.monotonic()
        too_old = now - self._counted_at > self._oldest_seconds
        self.is_new = too_old or abs(resident - self._resident) > _MOST_MOVED
        if self.is_new:
            self._memory, self._resident, self._counted_at = process_memory(os.getpid()), resident, now
        return self._memory


def read_vitals(home: Path, memory: OwnMemory, trial_pid: int | None, cards: Cards | None = None) -> dict[str, Any]:
    """Return this worker's vitals as JSON values.

    Keys: `memory_mb` of the worker and `trial_memory_mb` of its trial's process, proportional; `own_memory_mb`, what
    the worker shares with nobody; `machine_memory_mb` and `machine_cores`; `disk_free`, a share; `gpus`, used and total
    MiB of each card; `trial_gpu_mb`, what the trial's process has of them. The worker adds `memory_after`, its own
    memory whenever that was counted after another trial, `trials_ended`, and `studies`, which it was told to work on.
    """
    proportional, own = memory.read()
    readings = (cards or NvmlCards()).read()
    return {
        "memory_mb": round(proportional, 1),
        "own_memory_mb": round(own, 1),
        "trial_memory_mb": None if trial_pid is None else round(process_memory(trial_pid)[0], 1),
        "machine_memory_mb": round(psutil.virtual_memory().total / _MIB),
        "machine_cores": os.cpu_count(),
        "disk_free": round(_disk_free(home), 4),
        "gpus": [{"name": card.name, "used_mb": card.used_mb, "total_mb": card.total_mb} for card in readings],
        "trial_gpu_mb": _on_cards(readings, trial_pid),
    }


def process_memory(pid: int) -> tuple[float, float]:
    """Return proportional and own memory of a process in MiB; zero for one that is gone."""
    # Of a process that is just ending the file is empty.
    with suppress(OSError, KeyError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
        return kib["Pss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024
    with suppress(psutil.Error):
        resident = psutil.Process(pid).memory_info().rss / _MIB
        return resident, resident
    return 0.0, 0.0


def _disk_free(home: Path) -> float:
    usage = shutil.disk_usage(home if home.exists() else home.anchor)
    return usage.free / usage.total


def _on_cards(readings: Sequence[CardReading], pid: int | None) -> int | None:
    """Return the MiB of a process on all cards; None where there are none."""
    return sum(reading.by_process.get(pid, 0) for reading in readings if pid is not None) if readings else None
