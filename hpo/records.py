"""What the service remembers, as frozen values: decisions are pure functions of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class StudyState(StrEnum):
    """Whether a study gives out trials.

    running ──(rule)──> converged ──(resume)──> running
       │ └──(cap used, all ended)──> finished ──(resume with a higher cap)──> running
       └──(stop)──> stopped ──(resume)──> running
    """

    RUNNING = "running"
    CONVERGED = "converged"
    FINISHED = "finished"
    STOPPED = "stopped"


class TrialState(StrEnum):
    """Where a trial is.

    waiting ──(a worker takes it)──> running ──> complete | pruned | failed
                                        └──> replaced: lost, failed or given back; another trial has its slot

    Every state but `replaced` uses one slot of the cap. All transitions out of `running` are guarded by the
    worker that holds the trial.
    """

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    REPLACED = "replaced"


class Cause(StrEnum):
    """Why a trial did not complete."""

    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    PRUNED = "pruned"
    LOST = "lost"
    INTERRUPTED = "interrupted"

    @property
    def retried(self) -> bool:
        """Whether the same parameters are worth another attempt.

        With its seed a diverged trial diverges again, and a pruned one was judged.
        """
        return self not in {Cause.DIVERGED, Cause.PRUNED}


class Origin(StrEnum):
    """Who wanted a trial."""

    FORCED = "forced"
    SAMPLED = "sampled"
    ENQUEUED = "enqueued"


@dataclass(frozen=True)
class StudyRecord:
    """One study's row."""

    name: str
    phase: int
    spec: Mapping[str, Any]
    fingerprint: str
    prepared: Mapping[str, Any]
    cap: int
    state: StudyState
    reason: str
    evidence: Mapping[str, Any]
    convergence_off: bool


@dataclass(frozen=True)
class TrialRecord:
    """One trial's row.

    Attributes:
        number: Optuna's number of the trial.
        slot: the unit of the cap that it uses; all attempts at a configuration share one.
        turn: counts the trials of a slot from 1.
        attempt: counts from 1 as well, without those that were given back through no fault of their own.
        design_id: of a forced configuration.
        score: as the study's direction has it; None unless complete.
        seconds: how long it ran.
    """

    number: int
    slot: int
    turn: int
    attempt: int
    origin: Origin
    params: Mapping[str, Any]
    seed: int
    state: TrialState
    design_id: str | None = None
    worker: str | None = None
    cause: Cause | None = None
    message: str = ""
    score: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def key(self) -> tuple[tuple[str, Any], ...]:
        """Equal for equal configurations."""
        return tuple(sorted(self.params.items()))

    @property
    def uses_slot(self) -> bool:
        """Whether this trial counts towards the cap."""
        return self.state is not TrialState.REPLACED


@dataclass(frozen=True)
class WorkerRecord:
    """One worker that has registered and not left.

    Attributes:
        place: host, boot and process namespace: where its process id means something.
        started: when its process started, in seconds since the epoch, to tell a reused process id.
        silent_seconds: since its last beat, in the database's time.
    """

    id: str
    place: str
    host: str
    pid: int
    started: float
    silent_seconds: float
    trial: tuple[str, int] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, before anybody has written it down."""

    cause: Cause | None
    score: float | None = None
    message: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """Trials of a study by state; `cap` bounds their sum without the replaced."""

    complete: int
    running: int
    waiting: int
    pruned: int
    failed: int
    replaced: int
    cap: int

    @property
    def used(self) -> int:
        """Slots of the cap that are taken."""
        return self.complete + self.running + self.waiting + self.pruned + self.failed


@dataclass(frozen=True)
class Throughput:
    """Ended trials and how long they took, by the parameter that decides the cost."""

    size: str
    ended: int
    mean_seconds: float
    last_hour: int
    first_start: datetime
