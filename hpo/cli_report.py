"""`hpo report`: what a study has learnt."""

from typing import Annotated

from cyclopts import Parameter

from budgets.errors import InputError
from hpo.output import Json, Storage, print_json, worker_count

Flag = Annotated[bool, Parameter(negative="")]

# More than anybody reads of one test part.
_MOST = 100


def report(
    study: str,
    /,
    *,
    final: Flag = False,
    top_k: int | None = None,
    final_seeds: int | None = None,
    workers: str = "auto",
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Train the best configurations again over fresh seeds, and only then read the untouched test part, once.

    hpo report quickstart --final

    Args:
        study: The study, of Phase 1; finalists may come from its Phase 2.
        final: Read the test part; called again, it shows what it said.
        top_k: How many configurations are read; default: 3.
        final_seeds: How many seeds each is trained with; default: 3.
        workers: Trainings at once, or auto.
    """
    if not final:
        raise InputError("hpo report needs --final, not nothing: add it")
    return read_finalists(study, top_k, final_seeds, worker_count(workers), storage, as_json=json_output)


def read_finalists(
    study: str, top_k: int | None, seeds: int | None, workers: int | None, storage: str | None, *, as_json: bool
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
    if as_json:
        summary = {"summary": list(sentences(ended.reading)), "just_read": ended.is_new, "trials_since": ended.since}
        print_json({**ended.reading.as_json(), **summary})
    else:
        print_reading(ended.reading, is_new=ended.is_new, since=ended.since)
    return 0
