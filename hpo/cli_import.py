"""`hpo import`: a study from elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hpo.output import Json, Storage, count, print_json, say

if TYPE_CHECKING:
    from hpo.importing import Imported


def import_(
    study: str,
    /,
    *,
    source: Annotated[str, Parameter(name="--from")],
    name: str | None = None,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Copy a study of Optuna into this storage; nothing is written at its source. Called again, it adds what is new.

    hpo import --from sqlite:///old.db my-study

    Args:
        study: The study's name at its source.
        source: URL of a Postgres, sqlite:///FILE, or the path of a SQLite or journal file.
        name: Its name in this storage; default: the same.
    """
    from dataclasses import asdict

    from hpo.importing import import_study
    from hpo.settings import load_settings

    try:
        with _copying(study, quiet=json_output) as progress:
            found = import_study(load_settings(), storage, source, study, name, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted: the same command goes on with the copy") from None
    print_json(asdict(found)) if json_output else _show(found)
    return 0


def _show(found: "Imported") -> None:
    if found.added or found.renewed or not found.trials:
        renewed = f", {found.renewed} renewed" if found.renewed else ""
        say(
            f"{found.study}: {count(found.added, 'trial')} copied{renewed}, {found.trials} in all, from {found.storage}"
        )
    else:
        say(f"{found.study}: nothing new in {found.storage}, {count(found.trials, 'trial')} as before")
    if found.not_ended:
        say(f"{count(found.not_ended, 'trial')} had not ended there: the same command again brings what has come since")
    say(f"`hpo report {found.study}` says what they show; `hpo dashboard` browses them")


@contextmanager
def _copying(study: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told after every trial, shown on standard error: a bar on a terminal, one line elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet, highlight=False)

    def one_line(done: int, total: int) -> None:
        if done == 1:
            console.print(f"copying {count(total, 'trial')} of {study}", markup=False, soft_wrap=True)

    if not console.is_terminal:
        yield one_line
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(study, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
