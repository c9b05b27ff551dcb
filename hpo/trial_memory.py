"""The memory of a trial's process: its limit, its peak, and whether the kernel ended it for want of memory.

Linux alone says all of this. Elsewhere there is no limit, and a process that the kernel killed has simply failed.
"""

import resource
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from budgets.errors import InputError

_KIB_A_MIB = 1024
# Linux counts the peak in KiB, macOS in bytes.
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
# What a process may do when it can't get memory and does not say so: near its limit, that was the cause.
_NEAR = 0.9
# How torch and CUDA say that there is no memory left; oneDNN and cuBLAS have words of their own.
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_WORDS_NEAR_THE_LIMIT = ("could not create a primitive", "could not create a memory", "can't start new thread")
# torch has two pools of threads, its own and that of OpenMP. Measured with 64 threads: 126 stacks of 8 MiB, 1,030 MiB
# of private memory, of which 4 were ever resident.
_POOLS, _LARGEST_STACK = 2, 8 * 2**20
# How long the kernel may take to give back a large process that it has killed, and its end to be heard of.
_KILL_SECONDS = 30.0


def own_peak_mb() -> float:
    """Return the largest resident size that this process has had, in MiB, what it shares included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT / 2**20


def resident_mb() -> float:
    """Return the resident size of this process in MiB, what it shares included; its peak where that isn't known."""
    return _status_mb("self", "VmRSS") or own_peak_mb()


def measure_start(_channel: object) -> float:
    """Return what the process of a trial begins with, in MiB; called in a fork."""
    return resident_mb()


def peak_mb(pid: int) -> float | None:
    """Return the largest resident size that a process has had, in MiB; None where that can't be known."""
    return _status_mb(str(pid), "VmHWM")


def be_killed_first() -> None:
    """Have the kernel, short of memory, end this process and not its worker or the server that trials come from."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def limit_memory(limit_mb: float, threads: int = 1) -> None:
    """Let this process grow to this resident size, in MiB, and refuse it more memory from then on.

    What is limited is private memory that can be written to: the only kind that grows while a model trains. The stacks
    of its threads come on top, for they are hardly ever touched.

    Raises:
        InputError: it is as large already; no smaller micro-batch would change that.
    """
    resident, private = _status_mb("self", "VmRSS"), _status_mb("self", "VmData")
    if resident is None or private is None:
        return
    check_limit(limit_mb, resident)
    stack, hard = resource.getrlimit(resource.RLIMIT_STACK)[0], resource.getrlimit(resource.RLIMIT_DATA)[1]
    stack = _LARGEST_STACK if stack == resource.RLIM_INFINITY else min(stack, _LARGEST_STACK)
    allowed = round((private + limit_mb - resident) * 2**20) + _POOLS * (threads - 1) * stack
    resource.setrlimit(resource.RLIMIT_DATA, (allowed if hard == resource.RLIM_INFINITY else min(allowed, hard), hard))


def check_limit(limit_mb: float | None, start_mb: float) -> None:
    """Raise InputError where no trial could even begin within the limit."""
    if limit_mb is not None and start_mb >= limit_mb:
        raise InputError(
            f"HPO_TRIAL_MEMORY_MB must be above the {start_mb:,.0f} MiB that a trial begins with, not {limit_mb:g}: "
            "raise or unset it"
        )


class KernelKills:
    """Whether the kernel has ended a process for want of memory just now.

    It says only how many, of all containers and since it started: a trial of days would take every one of them for
    its own.
    """

    def __init__(self) -> None:
        self._counts = deque([(time.monotonic(), kills_by_the_kernel() or 0)])

    def look(self) -> None:
        """Note how many there are now; called often."""
        now = time.monotonic()
        self._counts.append((now, kills_by_the_kernel() or 0))
        while len(self._counts) > 1 and self._counts[1][0] <= now - _KILL_SECONDS:
            self._counts.popleft()

    def any_lately(self) -> bool:
        """Return whether there is one more than half a minute ago."""
        return (kills_by_the_kernel() or 0) > self._counts[0][1]


def kills_by_the_kernel() -> int | None:
    """Return how many processes the kernel has ended for want of memory since it started, in any container."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return None


def says_out_of_memory(error: BaseException, limit_mb: float | None) -> bool:
    """Return whether an exception of the objective means that there was no memory left."""
    if isinstance(error, MemoryError):
        return True
    text = str(error)
    if any(words in text for words in _WORDS):
        return True
    return any(words in text for words in _WORDS_NEAR_THE_LIMIT) and is_near(own_peak_mb(), limit_mb)


def is_near(peak: float | None, limit_mb: float | None) -> bool:
    """Return whether a process has come so near to its limit that its end was for want of memory."""
    return peak is not None and limit_mb is not None and peak >= _NEAR * limit_mb


def _status_mb(process: str, name: str) -> float | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / _KIB_A_MIB
    return None
