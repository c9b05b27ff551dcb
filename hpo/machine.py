"""What this machine has to give: cores, memory and GPUs, as this process may use them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from budgets.memory import MIB
from budgets.placement import Card, Machine
from hpo.cards import CardReading, Cards, NvmlCards
from hpo.vitals import process_memory

_SERVER_MODULE = "hpo.fork_server"
_CONTAINER = Path("/sys/fs/cgroup")
_MPS_CONTROL = "nvidia-cuda-mps-control"
# Its default place; of a service outside of the container there is nothing else to see.
_MPS_PIPE = Path("/tmp/nvidia-mps/control")  # noqa: S108


def read_machine(cards: Cards | None = None, own: Sequence[int] = ()) -> Machine:
    """Return cores, memory and GPUs of this machine.

    Args:
        cards: to ask; default: NVIDIA's, where the installed torch can use them.
        own: process ids whose memory counts as free, such as those of `own_processes`.
    """
    total, free = _memory(_CONTAINER)
    # Added up as each one's share of what they have in common.
    free += round(sum(process_memory(pid)[0] for pid in own) * MIB)
    found = machine_cards(read_cards(cards), own)
    return Machine(available_cores(), total, min(total, free), found, mps=bool(found) and mps_runs())


def read_cards(cards: Cards | None = None) -> tuple[CardReading, ...]:
    """Return a reading of every card that trials can train on."""
    if cards is not None:
        return cards.read()
    return NvmlCards().read() if _torch_uses_cards() else ()


def machine_cards(readings: Sequence[CardReading], own: Sequence[int] = ()) -> tuple[Card, ...]:
    """Return the cards to plan with; what these processes hold of them counts as free."""
    return tuple(_card(reading, own) for reading in readings)


def available_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_processes() -> list[int]:
    """Return the process ids of the fork servers on this machine, and of their workers and trials."""
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if _SERVER_MODULE in (each.info["cmdline"] or ())]


def mps_runs() -> bool:
    """Return whether NVIDIA's multi-process service runs, with which several processes compute on a card at once."""
    if _MPS_PIPE.exists():
        return True
    found = psutil.process_iter(["cmdline"])
    return any(Path((each.info["cmdline"] or [""])[0]).name == _MPS_CONTROL for each in found)


def _torch_uses_cards() -> bool:
    """Whether the installed torch is not PyTorch's build for CPUs; loading it to ask would take seconds."""
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _memory(container: Path) -> tuple[int, int]:
    """Return total and available bytes of RAM; those of the container where it has less (cgroup v2, memory.max)."""
    machine = psutil.virtual_memory()
    with suppress(OSError, ValueError):
        limit = int((container / "memory.max").read_text())
        used = int((container / "memory.current").read_text())
        return min(machine.total, limit), max(0, min(machine.available, limit - used))
    return machine.total, machine.available


def _card(reading: CardReading, own: Sequence[int]) -> Card:
    ours = sum(reading.by_process.get(pid, 0) for pid in own)
    return Card(reading.name, reading.total_mb * MIB, max(0, reading.used_mb - ours) * MIB)
