"""What the service remembers, as frozen values: decisions are pure functions of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

Key = tuple[tuple[str, Any], ...]
"""A configuration: its parameters by name."""


def key_of(params: Mapping[str, Any]) -> Key:
    """Return the configuration that has these parameters."""
    return tuple(sorted(params.items()))


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


INFEASIBLE: Final = ("memory", 1.0)
"""The constraint of Optuna that a trial violates which fits no memory: its name, and above 0 for violated.

By how much is not known: such a trial ends at whatever the machine has.
"""


class Origin(StrEnum):
    """Who wanted a trial."""

    FORCED = "forced"
    SAMPLED = "sampled"
    ENQUEUED = "enqueued"
    REPEAT = "repeat"
    """A configuration again, with another seed, so that the noise is known; see `seeds` in a specification."""
    IMPORTED = "imported"
    """A trial of another study that the sampler learns from; it uses no slot and is in no count."""


@dataclass(frozen=True)
class StudyRecord:
    """One study's row.

    Attributes:
        parent: the study of Phase 1 that this one supplements.
        history: trials of the parent that the sampler learns from: their params, seed, score and `imported_from`.
        noted: whether the dashboard's note says how the study stands.
    """

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
    parent: str | None = None
    history: Sequence[Mapping[str, Any]] = ()
    noted: bool = False

    @property
    def ended(self) -> bool:
        """Whether the search has come to its own end."""
        return self.state in {StudyState.CONVERGED, StudyState.FINISHED}

    @property
    def imported(self) -> list["TrialRecord"]:
        """The history as records."""
        return [_imported(entry) for entry in self.history]


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

    @cached_property
    def key(self) -> Key:
        """Equal for equal configurations; made once a record, for every decision on a study compares all of them."""
        return key_of(self.params)

    @property
    def is_infeasible(self) -> bool:
        """Whether it ran out of memory and could not be made any smaller."""
        return bool(self.attributes.get("infeasible"))

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in {TrialState.WAITING, TrialState.RUNNING}

    @property
    def uses_slot(self) -> bool:
        """Whether this trial counts towards the cap."""
        return self.state is not TrialState.REPLACED


@dataclass(frozen=True)
class WorkerRecord:
    """One worker that has registered and not left.

    Attributes:
        place: host, boot and process namespace: where its process id means something.
        started: when its process started, to tell a reused process id; see `hpo.presence`.
        silent_seconds: since its last beat, in the database's time.
        vitals: what it said about itself with its last beat; see `hpo.vitals`.
        leave_asked: whether it was asked to leave after its trial.
        has_left: whether it has unregistered.
    """

    id: str
    place: str
    host: str
    pid: int
    started: float
    silent_seconds: float
    trial: tuple[str, int] | None = None
    vitals: Mapping[str, Any] = field(default_factory=dict)
    leave_asked: bool = False
    has_left: bool = False


@dataclass(frozen=True)
class OpenWork:
    """What a study has for a worker that looks for work.

    Attributes:
        spec: the study's specification as it is now.
        gives: whether there is a trial to take, or an end to be decided.
        unsaid: whether Optuna has yet to hear of an end or of a change of state.
        holders: the workers of its running trials.
    """

    study: str
    spec: Mapping[str, Any]
    gives: bool
    unsaid: bool
    holders: tuple[WorkerRecord, ...]


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

    @property
    def has_work(self) -> bool:
        """Whether a trial has not ended, or may still begin."""
        return self.used < self.cap or self.running + self.waiting > 0


@dataclass(frozen=True)
class Throughput:
    """How long ended trials took, by the parameter that decides the cost."""

    size: str
    mean_seconds: float


@dataclass(frozen=True)
class Pace:
    """How many trials have ended, and within how many seconds: the last hour, or less where it began within that.

    Of a running study this counts from when it was last set running; of one that has ended, back from its last end.
    """

    since_change: float
    ended: int
    seconds: float | None


@dataclass(frozen=True)
class RepeatedFailure:
    """Trials that ended badly with one cause; failed ones also with one reason, numbers in it aside.

    Attributes:
        reason: what the latest of them said last.
    """

    cause: str
    reason: str
    times: int
    latest: int


@dataclass(frozen=True)
class Alert:
    """Something that a person should look at, raised by a fleet or a worker."""

    host: str
    message: str
    raised_at: datetime
    times: int = 1


def _imported(entry: Mapping[str, Any]) -> TrialRecord:
    return TrialRecord(
        number=-1,
        slot=0,
        turn=1,
        attempt=1,
        origin=Origin.IMPORTED,
        params=entry["params"],
        seed=entry["seed"],
        state=TrialState.COMPLETE,
        score=entry["score"],
        attributes={"imported_from": entry["imported_from"]},
    )
