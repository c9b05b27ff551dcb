"""What a person sees of the finalists: the trainings under way, then a table of at most 80 columns and its meaning."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from hpo.records import Outcome
from hpo.report.final_result import FinalScore
from hpo.report.final_words import sentences
from hpo.report.finalists import Finalist
from hpo.report.readings import FinalReading
from hpo.run_view import RunView

Name = tuple[str, int]


class FinalView(RunView):
    """Shows the trainings of finalists; quiet where `--json` was asked for."""

    @contextmanager
    def training(self, names: Sequence[Name], steps: int) -> Iterator["Progress"]:
        """Yield what is told how the trainings go.

        Args:
            names: label of the finalist and seed of every training.
            steps: optimizer steps of each at most.
        """
        if not self._console.is_terminal:
            yield Progress(names, steps, self._console)
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:
            yield Progress(names, steps, self._console, live)


class Progress:
    """A row a finalist and a cell a seed on a terminal; elsewhere a line for every training that has ended."""

    def __init__(self, names: Sequence[Name], steps: int, console: Console, live: Live | None = None) -> None:
        self._names, self._steps, self._console, self._live = names, steps, console, live
        self._cells = ["waits"] * len(names)
        self._done = 0
        self._show()

    def at_step(self, place: int, step: int) -> None:
        """Show how far a training is."""
        self._cells[place] = f"step {step}/{self._steps}"
        self._show()

    def ended(self, place: int, outcome: Outcome) -> None:
        """Show how a training has ended."""
        self._done += 1
        said = f"{outcome.score:.4f}" if outcome.score is not None else str(outcome.cause)
        self._cells[place] = said
        self._show()
        if self._live is None:
            label, seed = self._names[place]
            line = f"{self._done}/{len(self._names)} {label} seed {seed}: validation {said}"
            self._console.print(line, markup=False, soft_wrap=True)

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self.table())

    def table(self) -> Table:
        """Return what a terminal shows."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("finalist", no_wrap=True)
        for seed in dict.fromkeys(seed for _, seed in self._names):
            table.add_column(f"seed {seed}", justify="right", no_wrap=True)
        for label in dict.fromkeys(label for label, _ in self._names):
            cells = [cell for (name, _), cell in zip(self._names, self._cells, strict=True) if name == label]
            table.add_row(label, *cells)
        return table


def print_reading(reading: FinalReading, *, is_new: bool, since: int) -> None:
    """Print what the test part said, and what that means, on standard output."""
    console = Console(highlight=False, soft_wrap=False)
    result = reading.result
    assert result is not None
    when = f"{reading.read_at:%Y-%m-%d %H:%M} UTC"
    has_been = "has been read" if is_new else "was read"
    console.print(f"\nfinalists of {reading.study} on the test part, which {has_been} at {when}", markup=False)
    console.print(_table(reading), markup=False)
    for sentence in sentences(reading):
        console.print(sentence, markup=False)
    if not is_new:
        console.print("This is the stored result: nothing was trained, and nothing was read.")
    if since > 0:
        console.print(f"Since then {reading.study} has had {since} more complete trials, which had no part in this.")


def _table(reading: FinalReading) -> Table:
    """Return a row a finalist, by rank, and one of the baseline."""
    result = reading.result
    assert result is not None
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("#", "finalist"):
        table.add_column(name, no_wrap=True)
    for name in ("chosen", "again", "test AUC", "95 %", "optimism"):
        table.add_column(name, justify="right", no_wrap=True)
    scores = {score.rank: score for score in result.scores}
    for finalist in reading.plan.finalists:
        table.add_row(*_row(finalist, scores.get(finalist.rank)))
    baseline = result.baseline
    table.add_row(
        "", "baseline", "", "", f"{baseline.value:.4f}", f"{baseline.low:.3f}–{baseline.high:.3f}", "", style="dim"
    )
    return table


def _row(finalist: Finalist, score: FinalScore | None) -> tuple[str, ...]:
    start = (str(finalist.rank), finalist.label)
    if score is None:
        return (*start, f"{finalist.chosen_by:.4f}", "failed", "", "", "")
    test = score.test
    marked = "*" * bool(score.collapsed)
    interval = f"{test.low:.3f}–{test.high:.3f}"
    return (
        *start,
        f"{score.chosen_by:.4f}",
        f"{score.validation:.4f}",
        f"{test.value:.4f}{marked}",
        interval,
        f"{score.optimism:+.4f}",
    )
