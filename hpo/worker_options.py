"""How a worker works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        storage_url: where the studies are; None is the embedded server.
        fork_address: of the fork server that trials come from.
        studies: the only studies to work on; none is any open one.
        prepared: whether these studies' data and objective have been looked at on this machine just now.
        threads: a trial may use.
        until_done: leave when these studies give out no more trials and none is running.
        idle_exit: leave after so many seconds without work; None waits forever.
        max_trials: leave after so many trials.
        broker: address of the process that takes trials for all workers of the machine; None takes them itself.
    """

    storage_url: str | None
    fork_address: str
    studies: tuple[str, ...] = ()
    prepared: bool = False
    threads: int = 1
    until_done: bool = False
    idle_exit: float | None = None
    max_trials: int | None = None
    broker: str | None = None
