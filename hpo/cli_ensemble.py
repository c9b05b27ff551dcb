"""`hpo ensemble` and `hpo replay`: the best members of a study for use, and what they would have said bar by bar."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from budgets.errors import InputError
from hpo.output import Json, Storage, print_json, say

Flag = Annotated[bool, Parameter(negative="")]
From = Annotated[str, Parameter(name="--from")]


def ensemble(
    study: str,
    /,
    *,
    out: Path,
    top_n: int = 5,
    method: Literal["top", "greedy", "both"] = "both",
    retrain: Flag = False,
    overwrite: Flag = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Export the best models of a study, and of its Phase 2, as an ensemble that predicts.

    DIR gets the members' weights and `ensemble.json`: scores singly and together, and what 1 to 10 members cost.
    `python -m studies.predict DIR prices.csv` gives probabilities for new rows.

    hpo ensemble quickstart --top-n 5 --out best5

    Args:
        study: The study's name.
        out: The directory to make.
        top_n: Members of the plain top, and picks of the greedy selection.
        method: The plain top, greedy selection, or both: then the better one on decisions it was not selected on is
            used.
        retrain: Train members whose weights are not on this machine again, with their seed.
        overwrite: Replace an ensemble that is in the directory.
    """
    from hpo.ensemble import EnsembleOptions, make
    from hpo.ensemble_view import print_ensemble
    from hpo.run_view import RunView
    from hpo.settings import load_settings

    options = EnsembleOptions(top_n, None if method == "both" else method, retrain, overwrite)
    content = make(study, load_settings(), storage, out, options, RunView(quiet=json_output).working)
    if json_output:
        print_json({"directory": str(out), **content})
    else:
        print_ensemble(content, out)
    return 0


def replay(  # noqa: PLR0913  one parameter a flag
    directory: Path,
    prices: Path,
    /,
    *,
    first: From,
    to: str | None = None,
    against: Path | None = None,
    threshold: float | None = None,
    cost: float = 0.0005,
    quiet: Flag = False,
    json_output: Json = False,
) -> int:
    """Feed prices to an ensemble bar by bar, as a live trader would see them, and say what came of it.

    Prints the probabilities of every bar as they come. At the end: AUC with its interval, hit rate, and the Sharpe
    ratio of a simple rule with costs beside that of holding: long from close to close of the next bar where the
    probability is at or above the threshold. No future is looked at, and no order is sent.

    hpo replay best5 prices.csv --from 2019-01-02

    hpo replay best5 prices.csv --from 2019-01-02 --against best10 --quiet

    Args:
        directory: What `hpo ensemble` made.
        prices: CSV or Parquet: unique_id, ds, open, high, low, close, volume.
        first: Date of the first decision.
        to: Date of the last decision; default: the last date.
        against: Another ensemble, beside the first one.
        threshold: Probability from which on to be long; default: the share of positives in the train part.
        cost: Of buying and of selling, as a share of what is traded.
        quiet: Print the summary alone.
    """
    from hpo.ensemble_view import print_outcomes
    from hpo.replay import Question, run_replay

    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold is a probability from 0 to 1, not {threshold:g}: leave it out for the base rate")
    if not 0 <= cost < 1:
        raise InputError(f"--cost is a share from 0 to under 1, not {cost:g}: 0.0005 is the default")
    question = Question(prices, first, to, threshold, cost)
    directories = (directory, *([against] if against is not None else []))
    bars: list[dict[str, Any]] = []
    spoken = not (quiet or json_output)
    outcomes = run_replay(directories, question, lambda row: say(_line(row)) if spoken else bars.append(row))
    if json_output:
        print_json({"ensembles": outcomes, "predictions": [] if quiet else bars})
    else:
        print_outcomes(outcomes)
    return 0


def _line(row: dict[str, Any]) -> str:
    """Return one bar of one ensemble, such as `2018-01-02  NASDAQ 0.2134  SP500 0.1877`."""
    found = "  ".join(f"{name} {value:.4f}" for name, value in row["probabilities"].items())
    return f"{row['ds']}  {found}" + (f"  {row['ensemble']}" if row["several"] else "")
