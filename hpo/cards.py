"""What the GPUs of this machine say about their memory: NVIDIA's library, or readings that were recorded."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

_MIB = 2**20


@dataclass(frozen=True)
class CardReading:
    """One card at one moment: MiB in use, in all, and by process id; and what CUDA tells it from others by."""

    name: str
    used_mb: int
    total_mb: int
    by_process: Mapping[int, int] = field(default_factory=dict)
    uuid: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `as_json` was made of."""
        by_process = {int(pid): int(used) for pid, used in value.get("by_process", {}).items()}
        return cls(
            str(value["name"]), int(value["used_mb"]), int(value["total_mb"]), by_process, str(value.get("uuid", ""))
        )


class Cards(Protocol):
    """The GPUs of a machine."""

    def read(self) -> tuple[CardReading, ...]:
        """Return a reading of every card; none where there is no card."""


class NvmlCards:
    """The NVIDIA cards of this machine, through its driver."""

    def read(self) -> tuple[CardReading, ...]:
        """Return a reading of every card; none where there is no driver or it fails."""
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return ()
        try:
            count = pynvml.nvmlDeviceGetCount()
            return tuple(_reading(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count))
        except pynvml.NVMLError:
            return ()
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


class RecordedCards:
    """Plays readings back: a list of moments, each a list of cards, as `CardReading.as_json` has them.

    Args:
        moments: what to answer, one after the other; the last one again and again.
    """

    def __init__(self, moments: Sequence[Sequence[CardReading]]) -> None:
        if not moments:
            raise ValueError("a recording has at least one moment, not none")
        self._moments = [tuple(moment) for moment in moments]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recording from a JSON file: `{"source": …, "moments": [[card, …], …]}`."""
        recording = json.loads(path.read_text(encoding="utf-8"))
        return cls([[CardReading.from_json(card) for card in moment] for moment in recording["moments"]])

    def read(self) -> tuple[CardReading, ...]:
        """Return the next moment."""
        return self._moments.pop(0) if len(self._moments) > 1 else self._moments[0]


def _reading(handle: Any) -> CardReading:  # noqa: ANN401  NVML's own
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return CardReading(
        name=str(pynvml.nvmlDeviceGetName(handle)),
        used_mb=round(memory.used / _MIB),
        total_mb=round(memory.total / _MIB),
        by_process={each.pid: round((each.usedGpuMemory or 0) / _MIB) for each in processes},
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
    )
