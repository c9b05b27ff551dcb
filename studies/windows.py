"""Windows cut out of a study's panel, and the micro-batches of them that a model is trained on."""

import ctypes
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from budgets import BatchPlan
from studies.data.panel import Panel

Batch = tuple[dict[str, Tensor], Tensor]

CPU: Final = torch.device("cpu")

# From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


class Windows:
    """The panel as tensors, and windows cut out of it.

    Args:
        panel: whose arrays are read where they are, mapped from a file or not.
        device: where the windows are wanted.
        resident: whether the panel itself is copied there, so that a window costs no copy; else every batch is gathered
            in pinned memory and copied while the model still computes.

    Attributes:
        panel: that the windows are of.
        device: where `at` puts them.
    """

    def __init__(self, panel: Panel, device: torch.device = CPU, *, resident: bool = True) -> None:
        self.panel, self.device = panel, device
        where = device if resident else CPU
        self._pinned = where != device
        features, labels = (_tensor(array).to(where) for array in (panel.features, panel.labels))
        # Views [first row, step, ...] in which a window is one row, and one copy of whole rows of memory. 32 windows of
        # 2 series take 37 µs with 20 features and 0.50 ms with 200; by an index for every row they took 166 µs and
        # 1.7 ms (of 50 series with 200 features 130 and 163 ms: the memory's speed).
        self._features = features.unfold(0, panel.window + panel.horizon, 1).movedim(-1, 1)
        self._history = labels.unfold(0, panel.window, 1).movedim(-1, 1)
        self._labels = labels

    def at(self, decisions: NDArray[np.int64]) -> Batch:
        """Return inputs and targets [decisions, series] of the windows that end at these decisions.

        Raises:
            IndexError: a window is not all inside the panel.
        """
        ends = torch.from_numpy(decisions).to(self._labels.device, non_blocking=True)
        starts = ends - (self.panel.window - 1)
        inputs = {
            "insample_y": self._gather(self._history, starts),
            "futr_exog": self._gather(self._features, starts).permute(0, 3, 1, 2),
        }
        return inputs, self._gather(self._labels, ends + self.panel.horizon)

    def in_memory(self) -> "Windows":
        """Return the same windows as a data worker gathers them, which must not touch a card after its fork."""
        return self if self.device == CPU else Windows(self.panel)

    def _gather(self, rows: Tensor, chosen: Tensor) -> Tensor:
        if not self._pinned:
            return rows.index_select(0, chosen)
        # Torch keeps pinned memory for the next batch, and not before this one has been copied.
        gathered = torch.empty((len(chosen), *rows.shape[1:]), dtype=rows.dtype, pin_memory=True)
        torch.index_select(rows, 0, chosen, out=gathered)
        return gathered.to(self.device, non_blocking=True)


def _tensor(array: NDArray[np.float32]) -> Tensor:
    """Return an array as a tensor over the same memory, that of a read-only file included."""
    with warnings.catch_warnings():
        # Torch has no tensors that can't be written, and warns. Nobody writes here, and the kernel would not let them.
        warnings.filterwarnings("ignore", message=".*not writable")
        return torch.from_numpy(np.ascontiguousarray(array))


class TrainingWindows(IterableDataset[Batch]):
    """Micro-batches of windows of the train part, drawn with replacement, without end."""

    def __init__(self, windows: Windows, plan: BatchPlan, seed: int, steps_done: int = 0) -> None:
        self._windows, self._plan, self._seed, self._steps_done = windows, plan, seed, steps_done

    def __iter__(self) -> Iterator[Batch]:
        """Yield what this process is to gather: of several data workers each takes every n-th micro-batch."""
        worker = get_worker_info()
        first, every = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # The loader asks its workers in turn, so the order is that of one process.
        return (self._windows.at(decisions) for decisions in islice(self._decisions(), first, None, every))

    def for_workers(self) -> "TrainingWindows":
        """Return the same micro-batches, gathered in memory."""
        return TrainingWindows(self._windows.in_memory(), self._plan, self._seed, self._steps_done)

    def _decisions(self) -> Iterator[NDArray[np.int64]]:
        """Draw a whole effective batch at once, so that its windows do not depend on the micro-batch."""
        random = np.random.default_rng(self._seed)
        decisions = np.asarray(self._windows.panel.splits.train, dtype=np.int64)
        # Lightning fetches ahead of training, so a generator saved with a checkpoint would be ahead of the weights.
        # Drawing again what the finished steps drew takes microseconds a step.
        for _ in range(self._steps_done):
            random.choice(decisions, self._plan.effective)
        while True:
            yield from np.split(random.choice(decisions, self._plan.effective), self._plan.accumulation)


class _Loader(DataLoader[Batch]):
    """Begins its data workers with SIGTERM blocked, and so blocked in every thread of theirs, torch's own too."""

    def __iter__(self) -> Any:  # noqa: ANN401  torch's iterators have no public type
        """Begin the data workers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def load(drawn: TrainingWindows, data_workers: int) -> DataLoader[Batch]:
    """Return the loader of a training: its own process gathers the windows, or so many others do."""
    trial = os.getpid()
    gathered_elsewhere = data_workers > 0 and isinstance(drawn, TrainingWindows)
    return _Loader(
        drawn.for_workers() if gathered_elsewhere else drawn,
        batch_size=None,
        num_workers=data_workers,
        # In memory that a card reads by itself, while the model computes.
        pin_memory=gathered_elsewhere and torch.cuda.is_available(),
        worker_init_fn=(lambda _number: _live_and_die_with(trial)) if data_workers else None,
    )


def _live_and_die_with(trial: int) -> None:
    """Make this data worker end with its trial, and not before.

    A service manager sends SIGTERM to every process of a service, and a terminal SIGINT. The trial saves its work
    then, between two steps, and a step needs its windows: without them it would have failed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_when_asked_by, args=(trial,), name="sigterm", daemon=True).start()
    # Torch's own watch takes 5 seconds, in which a killed trial would leave its data workers behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != trial:
        os._exit(1)


def _end_when_asked_by(trial: int) -> None:
    """Obey the SIGTERM of the trial itself, which multiprocessing sends where it leaves without closing its loader."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trial:
        pass
    os._exit(0)
