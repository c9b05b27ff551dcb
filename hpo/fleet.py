"""The workers of this machine: forked from one server, watched, restarted within limits."""

import os

import psutil

from hpo.fork_server import Exited, Fork, Raised, fork, wait_for_message
from hpo.settings import Settings
from hpo.worker import WorkerOptions

# A worker that dies is started again; one that keeps dying is a fault that a restart doesn't mend.
_RESTARTS = 3
# Memory that a trial takes beside its parameters: the process, the data, the activations of a small batch.
_TRIAL_BYTES = 600 * 2**20
# Weights, gradients and two Adam moments in 32 bits, and the workspace of the largest layer.
_BYTES_A_PARAMETER = 20


def workers_that_fit(largest_parameters: int) -> int:
    """Return one worker a core, or as many as the largest model leaves memory for; at least one."""
    a_trial = _TRIAL_BYTES + _BYTES_A_PARAMETER * largest_parameters
    return max(1, min(available_cores(), int(psutil.virtual_memory().available * 0.8 / a_trial)))


def available_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Fleet:
    """Starts workers and looks after them."""

    def __init__(self, options: WorkerOptions, settings: Settings, size: int) -> None:
        self._options, self._settings = options, settings
        self._restarts = _RESTARTS
        self.fault = ""
        self._workers: list[Fork] = [self._start() for _ in range(size)]

    @property
    def size(self) -> int:
        """How many workers are there."""
        return len(self._workers)

    def watch(self, timeout: float) -> None:
        """Listen to the workers for a while; start again what died, as long as the limit allows it."""
        for worker in wait_for_message(self._workers, timeout):
            message = worker.receive(0)
            if isinstance(message, Raised):
                self.fault = f"{message.kind}: {message.message}"
            if isinstance(message, Exited):
                self._workers.remove(worker)
                self._replace(message.code)

    def leave(self) -> None:
        """Let every worker end its trial and go."""
        self._say("leave")

    def abandon(self) -> None:
        """Let every worker give its trial back and go at once."""
        self._say("abandon")

    def _say(self, word: str) -> None:
        self._restarts = 0
        for worker in self._workers:
            worker.send(word)

    def _replace(self, code: int) -> None:
        if code == 0:
            return
        self.fault = self.fault or f"a worker ended with code {code}"
        if self._restarts > 0:
            self._restarts -= 1
            self._workers.append(self._start())

    def _start(self) -> Fork:
        return fork(self._options.fork_address, "hpo.worker:work_in_fork", self._options, self._settings)
