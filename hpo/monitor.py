"""What a study's state is, in numbers: for `hpo status`, for the progress display and for the final table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from hpo.alerts import Facts, Finding, find_alerts
from hpo.control import Control
from hpo.instability import Unstable, unstable
from hpo.noise import SeedNoise, pooled_noise
from hpo.presence import is_dead
from hpo.records import Counts, Key, Pace, StudyRecord, StudyState, Throughput, TrialRecord, TrialState, WorkerRecord
from studies.sections import AlertSpec

_HOUR = 3600.0
_SHOWN_VITALS = ("memory_mb", "trial_memory_mb", "trial_gpu_mb", "own_memory_mb", "memory_after", "gpus", "disk_free")


@dataclass(frozen=True)
class Status:
    """A study as people and programs see it.

    Attributes:
        noise: between seeds; None while no configuration has two scores.
        best_scores: of the best trial's configuration, over all its seeds, where it has several.
    """

    study: StudyRecord
    counts: Counts
    best: TrialRecord | None
    forced_open: tuple[str, ...]
    trials_per_hour: float | None
    eta_seconds: float | None
    workers: tuple[WorkerRecord, ...]
    alerts: tuple[Finding, ...]
    unstable: tuple[Unstable, ...] = ()
    noise: SeedNoise | None = None
    best_scores: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that `hpo status --json` prints."""
        trials = asdict(self.counts)
        return {
            "study": self.study.name,
            "phase": self.study.phase,
            "state": self.study.state.value,
            "reason": self.study.reason,
            "evidence": dict(self.study.evidence),
            "trials": trials,
            "forced_open": list(self.forced_open),
            "best": _best_json(self.best, self.best_scores) if self.best else None,
            "noise": self.noise.as_json() if self.noise else None,
            "baseline": self.study.prepared.get("sizes", {}).get("baseline"),
            "trials_per_hour": self.trials_per_hour,
            "eta_seconds": self.eta_seconds,
            "workers": [_worker_json(worker) for worker in self.workers],
            "alerts": [alert.text for alert in self.alerts],
            "unstable": [found.swing.number for found in self.unstable],
        }


def read_status(control: Control, study: StudyRecord, size_key: str, lost_after_seconds: float) -> Status:
    """Return the status of a study, counted by the database."""
    counts, is_running = control.counts(study.name), study.state is StudyState.RUNNING
    everybody = control.workers()
    living = [worker for worker in everybody if not is_dead(worker, lost_after_seconds)]
    own = [worker for worker in everybody if _works_on(worker, study)]
    workers = tuple(worker for worker in living if worker in own)
    best = control.best(study.name, study.spec.get("direction", "maximize"))
    thresholds, pace = AlertSpec.model_validate(study.spec.get("alerts", {})), control.pace(study.name)
    swinging, repeated = tuple(unstable(control.batch_swings(study.name))), control.repeated_scores(study.name)
    facts = Facts(
        study=study,
        thresholds=thresholds,
        counts=counts,
        best=best,
        trials_per_hour=_trials_per_hour(pace, is_running=is_running),
        running_seconds=pace.since_change,
        workers=own,
        living=living,
        attended=bool(workers) or any(_takes(worker, study.name) for worker in living),
        unstable=swinging,
        failures=control.repeated_failures(study.name, thresholds.repeated_failures),
        raised=control.recent_alerts() if is_running else (),
        lost_after_seconds=lost_after_seconds,
    )
    return Status(
        study=study,
        counts=counts,
        best=best,
        forced_open=tuple(control.open_designs(study.name)),
        trials_per_hour=facts.trials_per_hour,
        eta_seconds=_eta(control, study, counts, size_key, len(workers)) if is_running else 0.0,
        workers=workers,
        alerts=find_alerts(facts),
        unstable=swinging,
        noise=pooled_noise(repeated),
        best_scores=_scores_of(best, repeated),
    )


def _scores_of(best: TrialRecord | None, repeated: Sequence[tuple[Key, int, float]]) -> tuple[float, ...]:
    """Return the scores of the best trial's configuration, one a seed."""
    own = {seed: score for key, seed, score in repeated if best is not None and key == best.key}
    return tuple(own.values())


def _works_on(worker: WorkerRecord, study: StudyRecord) -> bool:
    """Whether it has a trial of the study, or waits for one."""
    if worker.trial is not None:
        return worker.trial[0] == study.name
    return study.state is StudyState.RUNNING and _takes(worker, study.name)


def _takes(worker: WorkerRecord, name: str) -> bool:
    """Whether it was started for this study or for any."""
    only = worker.vitals.get("studies")
    return not only or name in only


def _best_json(best: TrialRecord, scores: Sequence[float]) -> dict[str, Any]:
    """Return the best trial, also by its mean over seeds; what is searched by its logarithm also as what it is."""
    plain = [name.removesuffix("_log2") for name in best.params if name.endswith("_log2")]
    params = {**best.params, **{name: best.attributes[name] for name in plain if name in best.attributes}}
    of_seeds = {"mean": mean(scores) if scores else best.score, "seeds": max(1, len(scores))}
    return {"number": best.number, "score": best.score, "params": params, **of_seeds}


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


def _trials_per_hour(pace: Pace, *, is_running: bool) -> float | None:
    """Return the trials that ended an hour; None where that can't be told yet."""
    if pace.seconds is None or (pace.ended == 0 and is_running and pace.seconds < _HOUR):
        return None
    return round(pace.ended * _HOUR / max(pace.seconds, 1.0), 2)


def _eta(control: Control, study: StudyRecord, counts: Counts, size_key: str, workers: int) -> float | None:
    """Return the seconds until the cap is used: every size by its own duration, the longest trial at the least.

    None where nobody works on it, or nothing is known yet.
    """
    if not counts.has_work:
        return 0.0
    seconds = _seconds_by_size(control.throughput(study.name, size_key), study.prepared, size_key)
    if not seconds or workers == 0:
        return None
    average = sum(seconds.values()) / len(seconds)
    running = control.elapsed_of_running(study.name, size_key)
    left_of_running = [max(0.0, seconds.get(size, average) - elapsed) for size, elapsed in running]
    waiting = control.pending_sizes(study.name, size_key)
    for size, _ in running:
        waiting[size] = waiting.get(size, 1) - 1
    left_of_waiting = [seconds.get(size, average) for size, count in waiting.items() if count > 0]
    total = sum(left_of_running) + sum(seconds.get(size, average) * max(0, n) for size, n in waiting.items())
    total += max(0, counts.cap - counts.used) * average
    return max(total / workers, *left_of_running, *left_of_waiting, 0.0)


def _seconds_by_size(throughput: Sequence[Throughput], prepared: Mapping[str, Any], size_key: str) -> dict[str, float]:
    """Return the duration of a trial of each size: measured, or by its operations where none has ended yet.

    Sizes are texts, as the database has them: of Phase 2 they are numbers elsewhere.
    """
    measured = {item.size: item.mean_seconds for item in throughput}
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
            amounts.setdefault(str(rule["when"][size_key]), []).append(rule["values"]["flops"])
    return {size: sum(values) / len(values) for size, values in amounts.items()}


def top_trials(trials: Sequence[TrialRecord], direction: str, count: int) -> list[TrialRecord]:
    """Return the best complete trials, the best first."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: trial.score or 0.0, reverse=direction == "maximize")[:count]
