"""What in a study needs a person: pure rules over what is stored, with the thresholds of its specification."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from statistics import median
from typing import Any

from hpo.instability import Unstable
from hpo.records import Alert, Counts, RepeatedFailure, StudyRecord, StudyState, TrialRecord, WorkerRecord
from studies.sections import AlertSpec

# Growth is judged by so many measurements: the first trials fill caches, and a few MiB are no leak.
_SETTLED, _LEAST_GROWTH_MB = 3, 20.0
_HOUR = 3600.0


class AlertKind(StrEnum):
    """What an alert is about; the names are labels of `hpo metrics` and never change."""

    REPEATED_FAILURES = "repeated_failures"
    FAILED = "failed"
    COLLAPSED = "collapsed"
    UNSTABLE = "unstable"
    THROUGHPUT = "throughput"
    NO_WORKER = "no_worker"
    SILENT_WORKER = "silent_worker"
    WORKER_MEMORY = "worker_memory"
    MEMORY_GROWTH = "memory_growth"
    GPU_MEMORY = "gpu_memory"
    DISK = "disk"
    RAISED = "raised"


@dataclass(frozen=True)
class Finding:
    """Something that needs a person, in one line with what to do."""

    kind: AlertKind
    text: str


@dataclass(frozen=True)
class Facts:
    """What the rules look at.

    Attributes:
        running_seconds: since the study was last set running, or changed its state otherwise.
        workers: those that hold a trial of this study, dead ones included, or wait for one.
        living: all workers that live, of every study; a machine is shared by all of them.
        attended: whether a living worker works on this study or will come to it.
        lost_after_seconds: of silence, after which a worker counts as dead.
    """

    study: StudyRecord
    thresholds: AlertSpec
    counts: Counts
    best: TrialRecord | None
    trials_per_hour: float | None
    running_seconds: float
    workers: Sequence[WorkerRecord]
    living: Sequence[WorkerRecord]
    attended: bool
    failures: Sequence[RepeatedFailure]
    raised: Sequence[Alert]
    lost_after_seconds: float
    unstable: Sequence[Unstable] = ()


def find_alerts(facts: Facts) -> tuple[Finding, ...]:
    """Return everything that needs a person."""
    return (
        *_of_results(facts),
        *_of_batches(facts),
        *_of_progress(facts),
        *_of_workers(facts),
        *_of_machines(facts),
        *_raised(facts),
    )


def _of_results(facts: Facts) -> Iterator[Finding]:
    for failure in facts.failures:
        # Failures are told apart by what they say; of the other causes this is only the latest.
        which = "for one reason" if failure.cause == "failed" else "the latest"
        said = f"{failure.times} trials ended as {failure.cause}, {which}: {failure.reason or 'not said'}"
        yield Finding(AlertKind.REPEATED_FAILURES, said)
    if facts.counts.failed:
        said = f"failed for good: {facts.counts.failed}; `hpo status {facts.study.name} --failures` says why"
        yield Finding(AlertKind.FAILED, said)
    if facts.best is not None and facts.best.attributes.get("collapsed"):
        said = f"the predictions of the best trial, {facts.best.number}, have collapsed to nearly a constant"
        yield Finding(AlertKind.COLLAPSED, said)


def _of_batches(facts: Facts) -> Iterator[Finding]:
    for found in facts.unstable:
        swing = found.swing
        said = (
            f"the {swing.metric} of trial {swing.number} swings from batch to batch: standard deviation "
            f"{swing.deviation:.3g}, median {found.usual:.3g} for {found.peers} others with batches of "
            f"{swing.effective_batch}; distrust its score, or run it again with a larger effective batch"
        )
        yield Finding(AlertKind.UNSTABLE, said)


def _of_progress(facts: Facts) -> Iterator[Finding]:
    if facts.study.state is not StudyState.RUNNING:
        return
    name = facts.study.name
    if facts.counts.has_work and not facts.attended:
        said = f"no worker: `hpo worker --study {name}` or `hpo fleet up` on any machine goes on with it"
        yield Finding(AlertKind.NO_WORKER, said)
    floor, rate = facts.thresholds.trials_per_hour, facts.trials_per_hour
    if rate is None and facts.running_seconds >= _HOUR:
        rate = 0.0
    if floor is not None and rate is not None and rate < floor:
        said = f"{rate:g} trials an hour, under the floor of {floor:g}: add workers, or see what holds them up"
        yield Finding(AlertKind.THROUGHPUT, said)


def _of_workers(facts: Facts) -> Iterator[Finding]:
    shares, living = _memory_shares(facts), {worker.id for worker in facts.living}
    for worker in facts.workers:
        if worker.trial is not None or worker.id in living:
            yield from _silence(worker, facts)
        if worker.id in living:
            yield from _share(worker, facts.thresholds.worker_memory_mb or shares[worker.host])
            yield from _growth(worker, facts.thresholds.memory_growth)


def _silence(worker: WorkerRecord, facts: Facts) -> Iterator[Finding]:
    lost_after = facts.lost_after_seconds
    if worker.silent_seconds <= (facts.thresholds.silent_seconds or lost_after / 2):
        return
    then = f"after {lost_after:g} s any worker, or `hpo reap`, takes its trial over" if worker.trial else "it is idle"
    said = f"worker {worker.id} has not beaten for {worker.silent_seconds:.0f} s; {then}"
    yield Finding(AlertKind.SILENT_WORKER, said)


def _memory_shares(facts: Facts) -> dict[str, float]:
    """Return an equal share of every machine's memory for each of its living workers."""
    shares = {}
    for host, group in groupby(sorted(facts.living, key=lambda worker: worker.host), lambda worker: worker.host):
        workers = list(group)
        total = max(worker.vitals.get("machine_memory_mb") or 0.0 for worker in workers)
        shares[host] = total / len(workers)
    return shares


def _share(worker: WorkerRecord, share: float) -> Iterator[Finding]:
    vitals = worker.vitals
    memory = (vitals.get("memory_mb") or 0.0) + (vitals.get("trial_memory_mb") or 0.0)
    if share and memory > share:
        said = (
            f"worker {worker.id} and its trial take {memory:,.0f} MiB, over the limit of {share:,.0f}: "
            "`hpo fleet drain 1` leaves more for the others"
        )
        yield Finding(AlertKind.WORKER_MEMORY, said)


def _growth(worker: WorkerRecord, threshold: float) -> Iterator[Finding]:
    vitals = worker.vitals
    after = vitals.get("memory_after") or ()
    if len(after) < 2 * _SETTLED:
        return
    before, now = median(after[:_SETTLED]), median(after[-_SETTLED:])
    if now > before * (1 + threshold) and now - before > _LEAST_GROWTH_MB:
        said = (
            f"worker {worker.id} grows trial over trial: {before:,.0f} MiB of its own, {now:,.0f} MiB "
            f"after {vitals.get('trials_ended', len(after))} trials; `hpo fleet drain 1` and start another"
        )
        yield Finding(AlertKind.MEMORY_GROWTH, said)


def _of_machines(facts: Facts) -> Iterator[Finding]:
    concerned = {worker.host for worker in facts.workers}
    for host, vitals in sorted(newest_vitals(facts.living).items()):
        if host not in concerned:
            continue
        for number, card in enumerate(vitals.get("gpus") or ()):
            used, limit = card["used_mb"] / max(1, card["total_mb"]), facts.thresholds.gpu_memory
            if used > limit:
                said = (
                    f"GPU {number} of {host} ({card['name']}) has {used:.0%} of its memory in use, more than "
                    f"{limit:.0%}: `hpo fleet drain 1 --host {host}`"
                )
                yield Finding(AlertKind.GPU_MEMORY, said)
        free = vitals.get("disk_free")
        if free is not None and free < facts.thresholds.disk_free:
            said = f"the disk of HPO_HOME on {host} has {free:.1%} left: remove old artifacts"
            yield Finding(AlertKind.DISK, said)


def newest_vitals(workers: Sequence[WorkerRecord]) -> dict[str, dict[str, Any]]:
    """Return what the latest beat of every host said; what was true an hour ago raises no alarm."""
    newest: dict[str, WorkerRecord] = {}
    for worker in workers:
        known = newest.get(worker.host)
        if worker.vitals and (known is None or worker.silent_seconds < known.silent_seconds):
            newest[worker.host] = worker
    return {host: dict(worker.vitals) for host, worker in newest.items()}


def _raised(facts: Facts) -> Iterator[Finding]:
    for alert in facts.raised:
        times = f" ({alert.times} times)" if alert.times > 1 else ""
        said = f"{alert.raised_at.astimezone():%H:%M} {alert.host}: {alert.message}{times}"
        yield Finding(AlertKind.RAISED, said)
