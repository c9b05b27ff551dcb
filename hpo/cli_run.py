"""`hpo run` and `hpo phase2`: the search itself."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from budgets.errors import InputError
from hpo.masking import hide_parameters, without_passwords
from hpo.output import Json, Storage, complain, one_line, print_json, program, say, worker_count

if TYPE_CHECKING:
    from hpo.launch import Result
    from hpo.phase2 import Phase2Options, Phase2Plan
    from studies.spec import Spec

Flag = Annotated[bool, Parameter(negative="")]
Budgets = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]
_PHASE2_TRIALS = 25


def run(  # noqa: PLR0913  one parameter a flag
    study: str | None = None,
    /,
    *,
    model: str | None = None,
    data_tier: str | None = None,
    data: Path | None = None,
    name: str | None = None,
    trials: int | None = None,
    forced_extremes: bool | None = None,
    budgets: Budgets = None,
    early_stop_patience: int | None = None,
    early_stop_threshold: float | None = None,
    early_stop_top_k: int | None = None,
    workers: str = "auto",
    then_phase2: Flag = False,
    supplementary: Flag = False,
    param_budget: Budgets = None,
    dry_run: Flag = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Run Phase 1 with local workers until it has converged or used its cap. A run that was ended goes on.

    hpo run quickstart
    hpo run --model itransformer --data-tier a200 --trials 70 --forced-extremes --dry-run
    hpo run my-study.yaml --budgets 2M 20M --workers 4 --then-phase2

    Args:
        study: A built-in study (quickstart, itransformer-a200) or a YAML file; default: itransformer-a200.
        model: Model family: itransformer.
        data_tier: How many indicators: a20, a50, a100 or a200.
        data: CSV or Parquet with unique_id, ds, open, high, low, close, volume; default: the built-in prices.
        name: Name of the study in the storage.
        trials: Cap on the whole study, forced configurations included.
        forced_extremes: Whether the forced configurations are trained first.
        budgets: Parameter budgets to search: 750k 2M 20M 200M.
        early_stop_patience: Complete trials before convergence may stop the search.
        early_stop_threshold: Spread of the best scores that counts as converged.
        early_stop_top_k: How many distinct configurations are compared.
        workers: Local workers, or auto; 0 only creates the study.
        then_phase2: Run Phase 2 when Phase 1 has ended.
        supplementary: Run Phase 2 of this study, as hpo phase2 does; --trials is then the cap of each of its studies.
        param_budget: The budgets of Phase 2, instead of the top of the ranking.
        dry_run: Print what would be done and what it would cost, and write nothing.
    """
    if param_budget and not (supplementary or then_phase2):
        raise InputError("--param-budget names budgets of Phase 2: add --supplementary or --then-phase2")
    rule = {"patience": early_stop_patience, "threshold": early_stop_threshold, "top_k": early_stop_top_k}
    overrides = {
        "model": model,
        "name": name,
        "trials": None if supplementary else trials,
        "forced_extremes": forced_extremes,
        "budgets": budgets,
        "data": _without_none({"tier": data_tier} | _data_source(data)),
        "early_stop": _without_none(rule),
    }
    spec, size = _read_spec(study, overrides), worker_count(workers)
    options = _options(param_budget, trials if supplementary else None)
    if supplementary:
        return _phase2(spec.name, options, storage, size, dry_run=dry_run, as_json=json_output)
    if dry_run:
        return _dry_run(spec, storage, as_json=json_output)
    code, ended = _run(spec, storage, size, as_json=json_output, quiet=json_output and then_phase2)
    if not then_phase2 or code != 0 or not ended:
        return code
    return _phase2(spec.name, options, storage, size, dry_run=False, as_json=json_output)


def phase2(  # noqa: PLR0913  one parameter a flag
    study: str,
    /,
    *,
    top_budgets: int = 2,
    param_budget: Budgets = None,
    rank_by: Literal["mean", "best"] = "mean",
    trials: int = _PHASE2_TRIALS,
    workers: str = "auto",
    dry_run: Flag = False,
    force: Flag = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Search the best budgets of a finished Phase 1 on: heads, learning rate, weight decay and batch.

    Each budget gets a study of its own, STUDY/phase2/BUDGET: the corners around its best trial first, then TPE.
    Calling it again changes nothing, and goes on where it was.

    hpo phase2 quickstart --dry-run
    hpo phase2 quickstart --param-budget 2M --trials 30

    Args:
        study: The study of Phase 1.
        top_budgets: How many budgets from the top of the ranking.
        param_budget: These budgets instead, whatever their rank.
        rank_by: A budget's mean of its three best configurations, or its best alone.
        trials: Cap on each study, corners included.
        workers: Local workers, or auto; 0 only creates the studies, and leaves them to workers elsewhere.
        dry_run: Print the ranking and the corners, and write nothing.
        force: Also before Phase 1 has ended by itself.
    """
    from hpo.phase2 import Phase2Options

    options = Phase2Options(trials, top_budgets, _canonical(param_budget), rank_by, force)
    return _phase2(study, options, storage, worker_count(workers), dry_run=dry_run, as_json=json_output)


def _options(param_budget: list[str] | None, trials: int | None) -> "Phase2Options":
    from hpo.phase2 import Phase2Options

    return Phase2Options(trials=_PHASE2_TRIALS if trials is None else trials, param_budgets=_canonical(param_budget))


def _canonical(budgets: list[str] | None) -> tuple[str, ...]:
    """Return the budgets by the names of the table: 2m and 2000000 are 2M."""
    from budgets import BUDGET_CONFIGS, parse_budget

    names = {parse_budget(name): name for name in BUDGET_CONFIGS}
    return tuple(names.get(parse_budget(budget), budget) for budget in budgets or ())


def _phase2(
    name: str, options: "Phase2Options", storage: str | None, workers: int | None, *, dry_run: bool, as_json: bool
) -> int:
    from hpo import launch
    from hpo.plan_view import print_phase2
    from hpo.run_view import RunView
    from hpo.settings import load_settings

    settings, view = load_settings(), RunView(quiet=as_json)

    def show(planned: "Phase2Plan", rows: list[dict[str, Any]]) -> None:
        if as_json:
            ranking = [ranked.as_json() for ranked in planned.ranking]
            print_json({"top_budgets": list(planned.top_budgets), "ranking": ranking, "studies": rows})
        else:
            print_phase2(name, planned, rows, options, made=not dry_run)

    if dry_run:
        show(*launch.plan_supplement(name, settings, storage, options))
        if not as_json:
            say("\nnothing was written")
        return 0
    results = launch.supplement(name, settings, storage, options, workers, view, show)
    if not as_json:
        for result in results:
            _show(result, workers)
    return max(map(_conclude, results), default=0)


def _run(spec: "Spec", storage: str | None, workers: int | None, *, as_json: bool, quiet: bool) -> tuple[int, bool]:
    """Run Phase 1; return the exit code, and whether the search has come to its own end."""
    from hpo import launch
    from hpo.run_view import RunView
    from hpo.settings import load_settings

    result = launch.run(spec, load_settings(), storage, workers, RunView(quiet=as_json))
    if not as_json:
        _show(result, workers)
    elif not quiet:
        print_json(result.status.as_json())
    return _conclude(result), result.status.study.ended


def _show(result: "Result", workers: int | None) -> None:
    from hpo.run_view import print_results
    from studies.declaration import declare
    from studies.spec import Spec

    score_name = declare(Spec.model_validate(result.status.study.spec)).score_name
    print_results(result.status, result.trials, score_name, next_steps=_next_steps(result, workers))


def _conclude(result: "Result") -> int:
    """Say what went wrong; return the exit code."""
    study = result.status.study
    if result.interrupted:
        complain(f"interrupted; the trials that had not ended wait again: {_again()} goes on where it was")
        return 130
    if result.fault:
        complain(f"a worker ended early: {one_line(result.fault)}")
    if result.status.counts.complete == 0 and study.state.value == "finished":
        complain(f"no trial has completed: `{program()} status {study.name} --failures` says why")
        return 1
    if result.fault and study.state.value == "running":
        complain(f"the study is not done: {_again()} goes on where it was")
        return 1
    return 0


def _next_steps(result: "Result", workers: int | None) -> list[str]:
    study, hpo = result.status.study, program()
    if study.state.value == "running":
        again = f"{hpo} worker --study {study.name}    work on it, on this machine or another"
        return [again] if workers == 0 else []
    if study.state.value == "stopped":
        return [f"{hpo} resume {study.name}    let it give out trials again"]
    steps = [
        f"{hpo} resume {study.name} --trials {study.cap + 20}    allow more trials",
        f"{hpo} dashboard    browse the trials",
    ]
    return [f"{hpo} phase2 {study.name}    search the best budgets on", *steps] if study.phase == 1 else steps


def _dry_run(spec: "Spec", storage: str | None, *, as_json: bool) -> int:
    from hpo import launch
    from hpo.settings import load_settings

    planned = launch.plan(spec, load_settings(), storage)
    if as_json:
        print_json(planned)
    else:
        from hpo.plan_view import print_plan

        print_plan(planned)
    return 0


def _read_spec(study: str | None, overrides: dict[str, Any]) -> "Spec":
    from studies.reading import DEFAULT_STUDY, read_spec

    given = {key: value for key, value in overrides.items() if value is not None and value != {}}
    if study is None and "name" not in given:
        data = given.get("data", {})
        file = Path(data["path"]).stem if "path" in data else None
        parts = (given.get("model", "itransformer"), data.get("tier", "a200"), file)
        given["name"] = "-".join(str(part) for part in parts if part)
    return read_spec(DEFAULT_STUDY if study is None else study, given)


def _data_source(path: Path | None) -> dict[str, Any]:
    return {} if path is None else {"path": str(path.resolve()), "example": None}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None or key == "example"}


def _again() -> str:
    arguments, _ = without_passwords(sys.argv[1:])
    return "`" + shlex.join([program(), *map(hide_parameters, arguments)]) + "`"
