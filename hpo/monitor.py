"""What a study's state is, in numbers: for `hpo status`, for the progress display and for the final table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from hpo.control import Control
from hpo.presence import is_dead
from hpo.records import Counts, StudyRecord, StudyState, Throughput, TrialRecord, TrialState, WorkerRecord

_HOUR = 3600.0


@dataclass(frozen=True)
class Status:
    """A study as people and programs see it."""

    study: StudyRecord
    counts: Counts
    best: TrialRecord | None
    forced_open: tuple[str, ...]
    trials_per_hour: float | None
    eta_seconds: float | None
    workers: tuple[WorkerRecord, ...]
    alerts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that `hpo status --json` prints."""
        trials = asdict(self.counts)
        best = self.best
        return {
            "study": self.study.name,
            "phase": self.study.phase,
            "state": self.study.state.value,
            "reason": self.study.reason,
            "evidence": dict(self.study.evidence),
            "trials": trials,
            "forced_open": list(self.forced_open),
            "best": {"number": best.number, "score": best.score, "params": dict(best.params)} if best else None,
            "baseline": self.study.prepared.get("sizes", {}).get("baseline"),
            "trials_per_hour": self.trials_per_hour,
            "eta_seconds": self.eta_seconds,
            "workers": [_worker_json(worker) for worker in self.workers],
            "alerts": list(self.alerts),
        }


def read_status(control: Control, study: StudyRecord, size_key: str, lost_after_seconds: float) -> Status:
    """Return the status of a study, counted by the database."""
    counts = control.counts(study.name)
    throughput = control.throughput(study.name, size_key)
    workers = tuple(w for w in control.workers() if not is_dead(w, lost_after_seconds))
    here = tuple(worker for worker in workers if worker.trial is not None and worker.trial[0] == study.name)
    best = control.best(study.name, study.spec.get("direction", "maximize"))
    remaining = _remaining_seconds(control, study, counts, throughput, size_key)
    eta = remaining / max(1, len(here)) if remaining is not None else None
    return Status(
        study=study,
        counts=counts,
        best=best,
        forced_open=tuple(control.open_designs(study.name)),
        trials_per_hour=_trials_per_hour(throughput),
        eta_seconds=0.0 if study.state is not StudyState.RUNNING else eta,
        workers=here,
        alerts=tuple(_alerts(study.name, counts, best)),
    )


def _worker_json(worker: WorkerRecord) -> dict[str, Any]:
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "silent_seconds": round(worker.silent_seconds, 1),
        "trial": worker.trial[1] if worker.trial else None,
    }


def _trials_per_hour(throughput: Sequence[Throughput]) -> float | None:
    """Return trials ended in the last hour, or since the first began where that is less than an hour ago."""
    if not throughput:
        return None
    running_for = (datetime.now(UTC) - min(item.first_start for item in throughput)).total_seconds()
    hours = min(_HOUR, max(running_for, 1.0)) / _HOUR
    return round(sum(item.last_hour for item in throughput) / hours, 2)


def _remaining_seconds(
    control: Control, study: StudyRecord, counts: Counts, throughput: Sequence[Throughput], size_key: str
) -> float | None:
    """Return the work left until the cap, in seconds of one worker: every size by its own duration."""
    seconds = _seconds_by_size(throughput, study.prepared, size_key)
    if not seconds:
        return None
    average = sum(seconds.values()) / len(seconds)
    pending = control.pending_sizes(study.name, size_key)
    left = sum(seconds.get(size, average) * count for size, count in pending.items())
    left -= sum(
        min(done, seconds.get(size, average)) for size, done in control.elapsed_of_running(study.name, size_key)
    )
    return left + max(0, counts.cap - counts.used) * average


def _seconds_by_size(throughput: Sequence[Throughput], prepared: Mapping[str, Any], size_key: str) -> dict[str, float]:
    """Return the duration of a trial of each size: measured, or by its operations where none has ended yet."""
    measured = {item.size: item.mean_seconds for item in throughput if item.mean_seconds is not None}
    flops = _flops_by_size(prepared, size_key)
    known = [size for size in measured if flops.get(size)]
    if not known:
        return measured
    seconds_a_flop = sum(measured[size] for size in known) / sum(flops[size] for size in known)
    return {size: amount * seconds_a_flop for size, amount in flops.items()} | measured


def _flops_by_size(prepared: Mapping[str, Any], size_key: str) -> dict[str, float]:
    amounts: dict[str, list[float]] = {}
    for rule in prepared.get("derived", ()):
        if "flops" in rule["values"]:
            amounts.setdefault(rule["when"][size_key], []).append(rule["values"]["flops"])
    return {size: sum(values) / len(values) for size, values in amounts.items()}


def _alerts(name: str, counts: Counts, best: TrialRecord | None) -> list[str]:
    alerts = []
    if counts.failed:
        alerts.append(f"failed for good: {counts.failed}; `hpo status {name} --failures` says why")
    if best is not None and best.attributes.get("collapsed"):
        alerts.append(f"the predictions of the best trial, {best.number}, have collapsed to nearly a constant")
    return alerts


def top_trials(trials: Sequence[TrialRecord], direction: str, count: int) -> list[TrialRecord]:
    """Return the best complete trials, the best first."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: trial.score or 0.0, reverse=direction == "maximize")[:count]
