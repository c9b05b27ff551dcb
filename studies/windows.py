"""Windows cut out of a study's panel, and the micro-batches of them that a model is trained on."""

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from budgets import BatchPlan
from studies.data.panel import Panel

Batch = tuple[dict[str, Tensor], Tensor]

# From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


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
    return _Loader(
        drawn,
        batch_size=None,
        num_workers=data_workers,
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
