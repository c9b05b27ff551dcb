"""What a study's state is, in numbers: for `hpo status`, for the progress display and for the final table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from hpo.alerts import Facts, find_alerts
from hpo.control import Control
from hpo.presence import is_dead
from hpo.records import Counts, StudyRecord, StudyState, Throughput, TrialRecord, TrialState, WorkerRecord
from studies.spec import AlertSpec

_HOUR = 3600.0
_SHOWN_VITALS = ("memory_mb", "trial_memory_mb", "trial_gpu_mb", "own_memory_mb", "memory_after", "gpus", "disk_free")


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
    workers = [w for w in control.workers() if w.trial is None or w.trial[0] == study.name]
    living = [worker for worker in workers if not is_dead(worker, lost_after_seconds)]
    best = control.best(study.name, study.spec.get("direction", "maximize"))
    is_running, rate = study.state is StudyState.RUNNING, _trials_per_hour(throughput)
    thresholds = AlertSpec.model_validate(study.spec.get("alerts", {}))
    facts = Facts(
        study=study,
        thresholds=thresholds,
        counts=counts,
        best=best,
        trials_per_hour=rate,
        # Those without a trial concern a study for as long as it has work for them.
        workers=[worker for worker in workers if worker.trial or is_running],
        failures=control.repeated_failures(study.name, thresholds.repeated_failures),
        raised=control.recent_alerts() if is_running else (),
        lost_after_seconds=lost_after_seconds,
    )
    return Status(
        study=study,
        counts=counts,
        best=best,
        forced_open=tuple(control.open_designs(study.name)),
        trials_per_hour=rate,
        eta_seconds=_eta(control, study, counts, throughput, size_key, len(living)) if is_running else 0.0,
        workers=tuple(worker for worker in living if worker.trial or is_running),
        alerts=find_alerts(facts),
    )


def _worker_json(worker: WorkerRecord) -> dict[str, Any]:
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "silent_seconds": round(worker.silent_seconds, 1),
        "trial": worker.trial[1] if worker.trial else None,
        "leaving": worker.leave_asked,
        **{name: worker.vitals.get(name) for name in _SHOWN_VITALS},
    }


def _trials_per_hour(throughput: Sequence[Throughput]) -> float | None:
    """Return trials ended in the last hour, or since the first began where that is less than an hour ago."""
    if not throughput:
        return None
    running_for = (datetime.now(UTC) - min(item.first_start for item in throughput)).total_seconds()
    hours = min(_HOUR, max(running_for, 1.0)) / _HOUR
    return round(sum(item.last_hour for item in throughput) / hours, 2)


def _eta(
    control: Control,
    study: StudyRecord,
    counts: Counts,
    throughput: Sequence[Throughput],
    size_key: str,
    workers: int,
) -> float | None:
    """Return the seconds until the cap is used: every size by its own duration, the longest trial at the least."""
    seconds = _seconds_by_size(throughput, study.prepared, size_key)
    if not seconds:
        return None
    average = sum(seconds.values()) / len(seconds)
    pending = control.pending_sizes(study.name, size_key)
    running = control.elapsed_of_running(study.name, size_key)
    left_of_running = [max(0.0, seconds.get(size, average) - elapsed) for size, elapsed in running]
    waiting = dict(pending)
    for size, _ in running:
        waiting[size] = waiting.get(size, 1) - 1
    left_of_waiting = [seconds.get(size, average) for size, count in waiting.items() if count > 0]
    total = sum(left_of_running) + sum(seconds.get(size, average) * max(0, n) for size, n in waiting.items())
    total += max(0, counts.cap - counts.used) * average
    return max(total / max(1, workers), *left_of_running, *left_of_waiting, 0.0)


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


def top_trials(trials: Sequence[TrialRecord], direction: str, count: int) -> list[TrialRecord]:
    """Return the best complete trials, the best first."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: trial.score or 0.0, reverse=direction == "maximize")[:count]
