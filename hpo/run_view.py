"""What a person sees of a run: live progress on a terminal, plain lines elsewhere, tables at the end.

Everything here goes to standard error but the tables, so that `--json` and pipes stay clean.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from statistics import mean
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from budgets import format_budget
from hpo.monitor import Status, top_trials
from hpo.output import count
from hpo.records import Cause, TrialRecord, TrialState
from hpo.repeats import scores_by_configuration
from hpo.report.noise import Noise
from hpo.status_view import best_score, interval, summary, time_to_go, trial_name

_TOP = 10
_PHASE1_COLUMNS = ("drop", "lr", "decay", "params")
_PHASE2_COLUMNS = ("heads", "batch", "lr", "decay")
_DIMENSIONS = {"n_heads": "heads", "learning_rate": "lr", "weight_decay": "decay", "effective_batch": "batch"}
Look = Callable[[], Sequence[Status]]
TrialsOf = Callable[[str], Sequence[TrialRecord]]


class RunView:
    """Shows a run; quiet where `--json` was asked for."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, text: str) -> None:
        """Say what is about to happen."""
        self._console.print(text, markup=False)

    def notice(self, text: str) -> None:
        """Say something worth knowing."""
        self._console.print(f"notice: {text}", style="yellow", markup=False)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show, on a terminal, that something takes a while."""
        with self._console.status(f"{what} …"):
            yield

    @contextmanager
    def watching(self, score_name: str, look: Look, trials: TrialsOf) -> Iterator[Callable[[], None]]:
        """Yield what shows the progress of studies; it is called now and again for as long as the block lasts."""
        if not self._console.is_terminal:
            names = [status.study.name for status in look()]
            lines = {name: _PlainLines(self._console, name, trials, named=len(names) > 1) for name in names}

            def show() -> None:
                for status in look():
                    lines[status.study.name].show(status)

            yield show
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:
            yield lambda: live.update(Group(*(progress(status, score_name) for status in look())))


class _PlainLines:
    """One line for every trial that has ended, for logs and pipes."""

    def __init__(self, console: Console, study: str, trials: TrialsOf, *, named: bool) -> None:
        self._console, self._study, self._trials = console, study, trials
        self._prefix = f"{study} " if named else ""
        self._said = {trial.number for trial in trials(study) if not _open(trial)}

    def show(self, status: Status) -> None:
        counts = status.counts
        ended = counts.complete + counts.pruned + counts.failed + counts.replaced
        if ended == len(self._said):
            return
        for trial in self._trials(self._study):
            if trial.number not in self._said and not _open(trial):
                self._said.add(trial.number)
                self._console.print(self._line(trial, status), markup=False, soft_wrap=True)

    def _line(self, trial: TrialRecord, status: Status) -> str:
        counts = status.counts
        result = f"{trial.score:.4f}" if trial.score is not None else _bad_end(trial)
        left = f", forced open {len(status.forced_open)}" if status.forced_open else ""
        return (
            f"{self._prefix}{counts.complete}/{counts.cap} trial {trial.number} {trial_name(trial)}: {result} "
            f"in {trial.seconds or 0:.1f} s, best {best_score(status)}{left}, {time_to_go(status)}"
        )


def _bad_end(trial: TrialRecord) -> str:
    return trial.state.value if trial.cause is Cause.PRUNED else f"{trial.state} ({trial.cause})"


def progress(status: Status, score_name: str) -> Group:
    """Return the live display: counts, best, what is open, who works on what."""
    counts = status.counts
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(status.study.name, style="bold"),
        ProgressBar(total=counts.cap, completed=counts.complete, width=24),
        f"{counts.complete}/{count(counts.cap, 'trial')}",
        time_to_go(status),
    )
    lines = [Text(f"best {score_name} {best_score(status)}")]
    if status.forced_open:
        lines.append(Text(f"forced, still open: {', '.join(status.forced_open)}", style="dim"))
    busy = [f"trial {worker.trial[1]}" for worker in status.workers if worker.trial]
    lines.append(Text(f"{len(busy)} running: {', '.join(busy)}" if busy else "no trial is running", style="dim"))
    return Group(head, *lines)


def results_table(trials: Sequence[TrialRecord], direction: str, unstable: Collection[int] = ()) -> Table:
    """Return the best trials as a table of at most 80 columns; those with these numbers are marked as unstable."""
    best = top_trials(trials, direction, _TOP)
    # Phase 2 keeps dropout and size fixed, and searches heads and batch.
    columns = _PHASE2_COLUMNS if any("n_heads_log2" in trial.params for trial in best) else _PHASE1_COLUMNS
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("#", "configuration"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "95 %", *columns, "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in best:
        table.add_row(*_row(trial, columns, is_unstable=trial.number in unstable))
    return table


def print_results(status: Status, trials: Sequence[TrialRecord], score_name: str, *, next_steps: Sequence[str]) -> None:
    """Print the table of results, why the search stopped, and what to type next, on standard output."""
    console = Console(highlight=False, soft_wrap=False)
    if status.counts.complete:
        console.print(f"\nbest trials by {score_name}")
        unstable = {found.swing.number for found in status.unstable}
        console.print(results_table(trials, str(status.study.spec["direction"]), unstable))
        _print_baseline(console, status)
        if any(trial.attributes.get("collapsed") for trial in trials):
            console.print("* collapsed: the predictions are nearly a constant, and the score is worth nothing")
        if unstable:
            console.print("~ unstable: the metric swings from batch to batch far more than that of its peers")
    console.print()
    for line in [*summary(status), *_lead(status, trials), *_order_is_open(status, trials)]:
        console.print(line, markup=False)
    if next_steps:
        console.print("\nnext:")
        for step in next_steps:
            console.print(f"  {step}", markup=False, soft_wrap=True)


def _print_baseline(console: Console, status: Status) -> None:
    """Print what the best trial has to beat, and why it may be less than it looks."""
    baseline = status.study.prepared.get("sizes", {}).get("baseline")
    if baseline is None:
        return
    console.print(f"\nto beat: {baseline['name']},", markup=False)
    console.print(f"         {baseline['score']:.4f} ({baseline['low']:.3f} – {baseline['high']:.3f})")
    console.print(
        f"the best of {count(status.counts.complete, 'trial')}, each at its best look: expect less on new data"
    )


def _lead(status: Status, trials: Sequence[TrialRecord]) -> list[str]:
    """Return a line on whether the noise explains the lead of the best configuration; none where it is not known."""
    if status.noise is None:
        return []
    sign = -1.0 if status.study.spec["direction"] == "maximize" else 1.0
    scores = list(scores_by_configuration(trials).values())
    if len(scores) < 2:
        return []
    first, second = sorted(scores, key=lambda each: sign * mean(each))[:2]
    noise, difference = Noise.of(status.noise), abs(mean(first) - mean(second))
    drowned = noise.smallest_difference(len(first), len(second))
    where = "below" if difference <= drowned else "above"
    return [
        f"the best configuration leads by {difference:.2g} ({count(len(first), 'seed')} against {len(second)}): "
        f"{where} the noise of up to {drowned:.2g}"
    ]


def _order_is_open(status: Status, trials: Sequence[TrialRecord]) -> list[str]:
    """Return a line on how many trials the best one's interval does not exclude."""
    best = status.best
    if best is None or not interval(best, "–") or status.study.spec["direction"] != "maximize":
        return []
    others = [trial for trial in trials if trial.score is not None and trial.number != best.number]
    inside = [trial for trial in others if (trial.score or 0.0) >= best.attributes["auc_low"]]
    if not inside:
        return []
    return [f"scores inside its interval: {len(inside)} of {len(others)} others, so their order is not settled"]


def _row(trial: TrialRecord, columns: Sequence[str], *, is_unstable: bool) -> list[str]:
    # What Phase 2 keeps fixed is among the attributes.
    attributes, params = trial.attributes, {**trial.attributes, **trial.params}
    size = attributes.get("exact_params")
    cells = {
        "drop": _short(params.get("dropout")),
        "lr": _short(params.get("learning_rate")),
        "decay": _short(params.get("weight_decay")),
        "params": format_budget(round(size, -4)) if isinstance(size, int) and size > 0 else "–",
        "heads": str(params.get("n_heads", "–")),
        "batch": str(params.get("effective_batch", "–")),
    }
    return [
        str(trial.number),
        (trial_name(trial) if columns is _PHASE1_COLUMNS else _corner_name(trial))
        + ("*" if attributes.get("collapsed") else "")
        + ("~" if is_unstable else ""),
        f"{trial.score:.4f}",
        interval(trial, "–") or "–",
        *(cells[name] for name in columns),
        f"{trial.seconds or 0:.0f}",
    ]


def _corner_name(trial: TrialRecord) -> str:
    """Return what a trial of Phase 2 is called beside its heads and batch, its dimension as the columns have it."""
    dimension, equals, value = str(trial.attributes.get("design") or trial.origin.value).partition("=")
    return f"{_DIMENSIONS.get(dimension, dimension)}{equals}{value}"


def _short(value: Any) -> str:  # noqa: ANN401  a parameter of any kind
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _open(trial: TrialRecord) -> bool:
    return trial.state in {TrialState.WAITING, TrialState.RUNNING}
