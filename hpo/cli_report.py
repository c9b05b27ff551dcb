"""`hpo report`: what a search has learnt."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from budgets.errors import InputError
from hpo.output import Json, Storage, complain, print_json, say, worker_count

if TYPE_CHECKING:
    from hpo.reporting import Report

Flag = Annotated[bool, Parameter(negative="")]

# More than anybody reads of one test part.
_MOST = 100


def report(  # noqa: PLR0913  one option a line of the help
    study: str,
    /,
    *,
    out: Path | None = None,
    format: Literal["html", "md", "json"] = "html",  # noqa: A002  the option's name
    size: str | None = None,
    publish: Flag = False,
    final: Flag = False,
    top_k: int | None = None,
    final_seeds: int | None = None,
    workers: str = "auto",
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Say what a search has learnt: one HTML file with figures, or text.

    Scores, sizes, effects and costs with their intervals and against the noise, what can't be concluded, and what to do
    next. It reads the stored trials of any single-objective Optuna study, Phase 2 included.

    hpo report quickstart --out reports

    hpo report quickstart --format md

    hpo report quickstart --final

    Args:
        study: The study's name.
        out: A folder for the file STUDY.html; default: reports. Markdown and JSON are printed where it is left out.
        format: html is a page that needs no network; md and json hold the same words and numbers.
        size: The parameter or user attribute that is a trial's size, in a study that another tool has made.
        publish: Put figures and summary into optuna-dashboard as well.
        final: Train the best again over fresh seeds, and only then read the untouched test part, once. Called again, it
            shows what it said.
        top_k: How many configurations are read on the test part; default: 3.
        final_seeds: How many seeds each of them is trained with; default: 3.
        workers: Trainings at once with --final, or auto.
    """
    from hpo.reporting import check_directory
    from hpo.reporting import report as make
    from hpo.settings import load_settings

    directory = Path("reports") if out is None and format == "html" else out
    if directory is not None:
        check_directory(directory)
    if final:
        # The report, where one is asked for as well, holds what the test part has said.
        alone = out is None and format == "html" and size is None and not publish
        quiet = json_output and not alone
        read_finalists(study, top_k, final_seeds, worker_count(workers), storage, as_json=json_output, quiet=quiet)
        if alone:
            return 0
    elif top_k is not None or final_seeds is not None:
        raise InputError("--top-k and --final-seeds say what --final trains: add --final, or leave them out")
    made = make(load_settings(), storage, study, kind=format, directory=directory, size=size, publish=publish)
    _show(made, study, as_json=json_output)
    return 0


def _show(made: "Report", study: str, *, as_json: bool) -> None:
    """Print a report that has been made, or what was learnt beside the file that it went to."""
    if made.published is not None:
        complain(f"{made.published} figures and the summary are in the dashboard: `hpo dashboard` shows them")
    if as_json:
        from hpo.reporting import as_json as whole

        print_json({**whole(made.found, made.words), "file": None if made.path is None else str(made.path)})
    elif made.path is None:
        say(made.text.rstrip("\n"))
    else:
        from hpo.report_view import print_summary

        print_summary(study, made.words, made.path)


def read_finalists(
    study: str,
    top_k: int | None,
    seeds: int | None,
    workers: int | None,
    storage: str | None,
    *,
    as_json: bool,
    quiet: bool = False,
) -> int:
    """Read the test part with the finalists of a study, or show what it said; return the exit code."""
    for option, given in (("--top-k", top_k), ("--final-seeds", seeds)):
        if given is not None and not 1 <= given <= _MOST:
            raise InputError(f"{option} is from 1 to {_MOST}, not {given}: 3 is the default")
    if workers == 0:
        raise InputError("--workers is 1 or more where finalists are trained, not 0: leave it out for auto")
    from hpo.final import FinalOptions
    from hpo.final import final as run
    from hpo.final_view import FinalView, print_reading
    from hpo.report.final_words import sentences
    from hpo.settings import load_settings

    options = FinalOptions(top_k, seeds)
    ended = run(study, load_settings(), storage, options, workers, FinalView(quiet=as_json))
    if quiet:
        return 0
    if as_json:
        summary = {"summary": list(sentences(ended.reading)), "just_read": ended.is_new, "trials_since": ended.since}
        print_json({**ended.reading.as_json(), **summary})
    else:
        print_reading(ended.reading, is_new=ended.is_new, since=ended.since)
    return 0
