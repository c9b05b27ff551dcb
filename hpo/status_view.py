"""How a study stands, in words and tables of at most 80 columns."""

import json
import time
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hpo.monitor import Status
from hpo.noise import SeedNoise
from hpo.output import count
from hpo.records import StudyState, TrialRecord, TrialState, WorkerRecord

_WORKER_COLUMNS = ("trial", "worker", "its trial", "GPU", "last beat")


def print_statuses(statuses: Sequence[Status]) -> None:
    """Print a paragraph for every study."""
    console = Console(highlight=False)
    for number, status in enumerate(statuses):
        console.print(*([""] if number else []), status_block(status), sep="\n")


def watch(looks: Iterator[list[Status] | None], every: float, *, single: bool, as_json: bool) -> int:
    """Show one look after the other until Ctrl-C; None is a database that is away. Returns the exit code."""
    console = Console(highlight=False)
    try:
        if as_json:
            for found in _paced(looks, every):
                if found is not None:
                    shown = [status.as_json() for status in found]
                    print(json.dumps(shown[0] if single else {"studies": shown}), flush=True)  # noqa: T201
        elif console.is_terminal:
            with Live(console=console, auto_refresh=False, screen=False) as live:
                for found in _paced(looks, every):
                    live.update(_screen(found, single=single), refresh=True)
        else:
            for found in _paced(looks, every):
                console.print(_screen(found, single=single), "")
    except KeyboardInterrupt:
        pass
    return 0


def _paced(looks: Iterator[list[Status] | None], every: float) -> Iterator[list[Status] | None]:
    for found in looks:
        yield found
        time.sleep(every)


def _screen(found: list[Status] | None, *, single: bool) -> Group:
    """Return one look: running studies first, those that have ended a line each, so that a screen holds them."""
    if found is None:
        return Group(Text("the database is away; waiting for it", style="yellow"))
    if not found:
        return Group(Text("no study yet: `hpo run quickstart` makes one"))
    full = [status for status in found if single or status.study.state is StudyState.RUNNING]
    ended = [status for status in found if status not in full]
    when = Text(time.strftime("%H:%M:%S, Ctrl-C ends it"), "dim")
    return Group(when, *map(status_block, full), *(Text(_one_line(status), no_wrap=True) for status in ended))


def _one_line(status: Status) -> str:
    counts = status.counts
    alerts = f", {count(len(status.alerts), 'alert')}" if status.alerts else ""
    done = f"{status.study.name}: {status.study.state.value}, {counts.complete} of {counts.cap} complete"
    return f"{done}, best {best_score(status)}{alerts}"


def status_block(status: Status) -> Group:
    """Return a study's counts, best, time to go, alerts and workers."""
    lines = [Text(line, style="bold" if number == 0 else "") for number, line in enumerate(summary(status))]
    alerts = [Text(f"alert: {alert.text}", style="yellow") for alert in status.alerts]
    workers = [_workers_table(status.workers)] if status.workers else []
    return Group(*lines, *alerts, *workers)


def _workers_table(workers: Sequence[WorkerRecord]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("workers", no_wrap=True, overflow="ellipsis", max_width=32)
    for name in _WORKER_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers:
        vitals = worker.vitals
        table.add_row(
            worker.id + (" (leaving)" if worker.leave_asked else ""),
            str(worker.trial[1]) if worker.trial else "–",
            _mib(vitals.get("memory_mb")),
            _mib(vitals.get("trial_memory_mb")),
            _mib(vitals.get("trial_gpu_mb")),
            f"{worker.silent_seconds:.0f} s ago",
        )
    return table


def _mib(value: object) -> str:
    return f"{value:,.0f} MiB" if isinstance(value, int | float) else "–"


def summary(status: Status) -> list[str]:
    """Return a few lines on where a study stands, its alerts left out."""
    counts, study = status.counts, status.study
    parts = [f"{counts.complete} of {count(counts.cap, 'trial')} complete"]
    others = {
        "running": counts.running,
        "waiting": counts.waiting,
        "pruned": counts.pruned,
        "failed": counts.failed,
    }
    parts += [f"{number} {word}" for word, number in others.items() if number]
    if counts.replaced:
        parts.append(f"{counts.replaced} run again")
    lines = [
        f"{study.name}: {study.state.value}{f': {study.reason}' if study.reason else ''}",
        ", ".join(parts),
    ]
    if status.best is not None:
        lines.append(f"best {best_score(status)}: trial {status.best.number}, {trial_name(status.best)}")
        lines[-1] += mean_over_seeds(status.best_scores)
    if status.noise is not None:
        lines.append(noise_line(status.noise))
    if study.state is StudyState.RUNNING:
        rate = "" if status.trials_per_hour is None else f", {status.trials_per_hour:g} trials an hour"
        lines.append(time_to_go(status) + rate)
    return lines


def mean_over_seeds(scores: Sequence[float]) -> str:
    """Return what a best score is worth: it is the luckiest of the seeds of its configuration."""
    return f", mean {mean(scores):.4f} of {len(scores)} seeds" if len(scores) > 1 else ""


def noise_line(noise: SeedNoise) -> str:
    """Return the noise and what it rests on."""
    rests_on = f"{count(noise.configurations, 'configuration')}, {count(noise.degrees_of_freedom, 'repeat')}"
    left_out = f", {count(noise.duplicates, 'duplicate')} left out" if noise.duplicates else ""
    return f"noise between seeds: {noise.standard_deviation:.2g} ({rests_on}{left_out})"


def trial_name(trial: TrialRecord) -> str:
    """Return what a trial is called on a line: its design, or what sets it apart."""
    attributes = trial.attributes
    if "n_heads_log2" in trial.params:
        corner = f"{attributes['design']}, " if attributes.get("design") else ""
        return f"{corner}heads {attributes.get('n_heads')} batch {attributes.get('effective_batch')}"
    return str(attributes.get("design") or attributes.get("shape") or "–")


def best_score(status: Status) -> str:
    """Return the best score with its interval, where it has one."""
    if status.best is None or status.best.score is None:
        return "–"
    inside = interval(status.best, " – ")
    return f"{status.best.score:.4f}" + (f" ({inside})" if inside else "")


def interval(trial: TrialRecord, dash: str) -> str:
    """Return a trial's interval, or nothing."""
    low, high = trial.attributes.get("auc_low"), trial.attributes.get("auc_high")
    return f"{low:.3f}{dash}{high:.3f}" if isinstance(low, float) and isinstance(high, float) else ""


def time_to_go(status: Status) -> str:
    """Return how long the cap will take, or the state that makes the question idle."""
    if status.study.state is not StudyState.RUNNING:
        return status.study.state.value
    if status.eta_seconds is None:
        return "time to go: not known yet" if status.workers else "nobody works on it"
    minutes, seconds = divmod(round(max(0.0, status.eta_seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"about {hours}:{minutes:02}:{seconds:02} to go"


def failures_json(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return why trials failed or were run again."""
    return [
        {
            "number": trial.number,
            "name": trial_name(trial),
            "attempt": trial.attempt,
            "cause": trial.cause.value,
            "runs_again": trial.state is TrialState.REPLACED,
            "message": trial.message,
        }
        for trial in trials
        if trial.cause is not None
    ]


def print_failures(trials: Sequence[TrialRecord]) -> None:
    """Print why trials failed or were run again."""
    console = Console(highlight=False)
    for trial in trials:
        if trial.cause is not None:
            how = "ran again" if trial.state is TrialState.REPLACED else "for good"
            console.print(f"trial {trial.number} {trial_name(trial)}, attempt {trial.attempt}: {trial.cause}, {how}")
            console.print(f"  {trial.message}".replace("\n", "\n  "), markup=False, style="dim")
