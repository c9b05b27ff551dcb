"""What a worker says about itself with every beat: memory, GPU, disk.

Memory is proportional (PSS) where Linux gives it: forks share what the fork server has loaded, and counted by
resident size nine workers would seem to hold it nine times.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

_MIB = 2**20


def read_vitals(home: Path, trial_pid: int | None, memory_after: Sequence[float]) -> dict[str, Any]:
    """Return this worker's vitals as JSON values.

    Keys: `memory_mb` of the worker and `trial_memory_mb` of its trial's process, proportional; `own_memory_mb`, what
    the worker shares with nobody; `memory_after`, that value after each of its last trials; `machine_memory_mb` and
    `machine_cores`; `disk_free`, a share; `gpus`, used and total MiB of each card; `trial_gpu_mb`, what
    the trial's process has of them.
    """
    proportional, own = process_memory(os.getpid())
    cards = gpu_memory()
    return {
        "memory_mb": round(proportional, 1),
        "own_memory_mb": round(own, 1),
        "trial_memory_mb": None if trial_pid is None else round(process_memory(trial_pid)[0], 1),
        "memory_after": [round(value, 1) for value in memory_after],
        "machine_memory_mb": round(psutil.virtual_memory().total / _MIB),
        "machine_cores": os.cpu_count(),
        "disk_free": round(_disk_free(home), 4),
        "gpus": [{name: card[name] for name in ("name", "used_mb", "total_mb")} for card in cards],
        "trial_gpu_mb": sum(card["by_process"].get(trial_pid, 0) for card in cards) if cards else None,
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


def gpu_memory() -> list[dict[str, Any]]:
    """Return name, used and total MiB of every NVIDIA card, and MiB by process id; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_card(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _card(handle: Any) -> dict[str, Any]:  # noqa: ANN401  NVML's own
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = str(pynvml.nvmlDeviceGetName(handle))
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return {
        "name": name,
        "used_mb": round(memory.used / _MIB),
        "total_mb": round(memory.total / _MIB),
        "by_process": {each.pid: round((each.usedGpuMemory or 0) / _MIB) for each in processes},
    }
