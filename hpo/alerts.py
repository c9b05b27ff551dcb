"""What in a study needs a person: pure rules over what is stored, with the thresholds of its specification."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from hpo.records import Alert, Counts, RepeatedFailure, StudyRecord, StudyState, TrialRecord, WorkerRecord
from studies.spec import AlertSpec

# Growth is judged from here on: the first trials fill caches, and a few MiB are no leak.
_SETTLED_TRIALS, _LEAST_GROWTH_MB = 3, 20.0


@dataclass(frozen=True)
class Facts:
    """What the rules look at.

    Attributes:
        workers: those that work on this study or on none, dead ones included.
        lost_after_seconds: of silence, after which a worker counts as dead.
    """

    study: StudyRecord
    thresholds: AlertSpec
    counts: Counts
    best: TrialRecord | None
    trials_per_hour: float | None
    workers: Sequence[WorkerRecord]
    failures: Sequence[RepeatedFailure]
    raised: Sequence[Alert]
    lost_after_seconds: float


def find_alerts(facts: Facts) -> tuple[str, ...]:
    """Return one line for everything that needs a person, with what to do."""
    return (*_of_results(facts), *_of_throughput(facts), *_of_workers(facts), *_of_machines(facts), *_raised(facts))


def _of_results(facts: Facts) -> Iterator[str]:
    for failure in facts.failures:
        yield f"{failure.times} trials ended as {failure.cause} for one reason: {failure.reason or 'not said'}"
    if facts.counts.failed:
        yield f"failed for good: {facts.counts.failed}; `hpo status {facts.study.name} --failures` says why"
    if facts.best is not None and facts.best.attributes.get("collapsed"):
        yield f"the predictions of the best trial, {facts.best.number}, have collapsed to nearly a constant"


def _of_throughput(facts: Facts) -> Iterator[str]:
    floor, rate = facts.thresholds.trials_per_hour, facts.trials_per_hour
    if floor is None or facts.study.state is not StudyState.RUNNING:
        return
    if rate is not None and rate < floor:
        yield f"{rate:g} trials an hour, under the floor of {floor:g}: add workers, or see what holds them up"


def _of_workers(facts: Facts) -> Iterator[str]:
    limit = facts.thresholds.silent_seconds or facts.lost_after_seconds / 2
    shares = _memory_shares(facts)
    for worker in facts.workers:
        if worker.silent_seconds > limit:
            yield (
                f"worker {worker.id} has not beaten for {worker.silent_seconds:.0f} s; after "
                f"{facts.lost_after_seconds:g} s any worker, or `hpo reap`, takes its trial over"
            )
        vitals = worker.vitals
        memory = (vitals.get("memory_mb") or 0.0) + (vitals.get("trial_memory_mb") or 0.0)
        share = facts.thresholds.worker_memory_mb or shares.get(worker.host)
        if share and memory > share:
            yield (
                f"worker {worker.id} and its trial take {memory:,.0f} MiB, over the limit of {share:,.0f}: "
                "`hpo fleet drain 1` leaves more for the others"
            )
        yield from _growth(worker, facts.thresholds.memory_growth)


def _memory_shares(facts: Facts) -> dict[str, float]:
    """Return an equal share of every machine's memory for each of its workers."""
    shares = {}
    for host, group in groupby(sorted(facts.workers, key=lambda worker: worker.host), lambda worker: worker.host):
        workers = list(group)
        total = max(worker.vitals.get("machine_memory_mb") or 0.0 for worker in workers)
        shares[host] = total / len(workers)
    return shares


def _growth(worker: WorkerRecord, threshold: float) -> Iterator[str]:
    after = worker.vitals.get("memory_after") or ()
    if len(after) < 2 * _SETTLED_TRIALS:
        return
    before, now = median(after[:_SETTLED_TRIALS]), median(after[-_SETTLED_TRIALS:])
    if now > before * (1 + threshold) and now - before > _LEAST_GROWTH_MB:
        yield (
            f"worker {worker.id} grows trial over trial: {before:,.0f} MiB of its own, {now:,.0f} MiB "
            f"after {len(after)} trials; `hpo fleet drain 1` and start another"
        )


def _of_machines(facts: Facts) -> Iterator[str]:
    seen: set[str] = set()
    for worker in facts.workers:
        if worker.host in seen or not worker.vitals:
            continue
        seen.add(worker.host)
        for number, card in enumerate(worker.vitals.get("gpus") or ()):
            used = card["used_mb"] / max(1, card["total_mb"])
            if used > facts.thresholds.gpu_memory:
                yield (
                    f"GPU {number} of {worker.host} ({card['name']}) has {used:.0%} of its memory in use, more than "
                    f"{facts.thresholds.gpu_memory:.0%}: `hpo fleet drain 1 --host {worker.host}`"
                )
        free = worker.vitals.get("disk_free")
        if free is not None and free < facts.thresholds.disk_free:
            yield f"the disk of HPO_HOME on {worker.host} has {free:.1%} left: remove old artifacts"


def _raised(facts: Facts) -> Iterator[str]:
    for alert in facts.raised:
        times = f" ({alert.times} times)" if alert.times > 1 else ""
        yield f"{alert.raised_at.astimezone():%H:%M} {alert.host}: {alert.message}{times}"
