"""How a study stands, in words and tables of at most 80 columns."""

import json
import time
from collections.abc import Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hpo.monitor import Status
from hpo.records import StudyState, TrialRecord, TrialState, WorkerRecord

_WORKER_COLUMNS = ("trial", "worker", "its trial", "GPU", "last beat")


def print_statuses(statuses: Sequence[Status]) -> None:
    """Print a paragraph for every study."""
    console = Console(highlight=False)
    for number, status in enumerate(statuses):
        console.print(*([""] if number else []), status_block(status), sep="\n")


def watch(looks: Iterator[list[Status] | None], every: float, *, single: bool, as_json: bool) -> int:
    """Show one look after the other until Ctrl-C; None is a database that is away. Returns the exit code."""
    if as_json:
        for found in looks:
            if found is not None:
                shown = [status.as_json() for status in found]
                print(json.dumps(shown[0] if single else {"studies": shown}), flush=True)  # noqa: T201
            time.sleep(every)
    with Live(console=Console(highlight=False), auto_refresh=False, screen=False) as live:
        try:
            for found in looks:
                live.update(_screen(found), refresh=True)
                time.sleep(every)
        except KeyboardInterrupt:
            return 0
    return 0


def _screen(found: list[Status] | None) -> Group:
    if found is None:
        return Group(Text("the database is away; waiting for it", style="yellow"))
    if not found:
        return Group(Text("no study yet: `hpo run quickstart` makes one"))
    return Group(*(status_block(status) for status in found), Text(time.strftime("%H:%M:%S, Ctrl-C ends it"), "dim"))


def status_block(status: Status) -> Group:
    """Return a study's counts, best, time to go, workers and alerts."""
    lines = [Text(line, style="bold" if number == 0 else "") for number, line in enumerate(summary(status))]
    alerts = [Text(f"alert: {alert.text}", style="yellow") for alert in status.alerts]
    workers = [_workers_table(status.workers)] if status.workers else []
    return Group(*lines, *workers, *alerts)


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
    parts = [f"{counts.complete} of {counts.cap} trials complete"]
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
    if study.state is StudyState.RUNNING:
        rate = "" if status.trials_per_hour is None else f", {status.trials_per_hour:g} trials an hour"
        lines.append(time_to_go(status) + rate)
    return lines


def trial_name(trial: TrialRecord) -> str:
    """Return what a trial is called on a line: its design, or what sets it apart."""
    attributes = trial.attributes
    if "n_heads_log2" in trial.params and not attributes.get("design"):
        return f"heads {attributes.get('n_heads')} batch {attributes.get('effective_batch')}"
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


def print_failures(trials: Sequence[TrialRecord]) -> None:
    """Print why trials failed or were run again."""
    console = Console(highlight=False)
    for trial in trials:
        if trial.cause is not None:
            how = "ran again" if trial.state is TrialState.REPLACED else "for good"
            console.print(f"trial {trial.number} {trial_name(trial)}, attempt {trial.attempt}: {trial.cause}, {how}")
            console.print(f"  {trial.message}".replace("\n", "\n  "), markup=False, style="dim")
