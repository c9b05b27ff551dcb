"""`hpo run` and `hpo phase2`: the search itself."""

import shlex
import sys
from collections.abc import Sequence
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
    mode: Literal["fast", "safe"] | None = None,
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
        model: Family: itransformer, patchtst, vanillatransformer, informer, autoformer, fedformer, tft or timexer.
        data_tier: How many indicators: none, a20, a50, a100 or a200; patchtst takes none.
        data: CSV or Parquet with unique_id, ds, open, high, low, close, volume; default: the built-in prices.
        name: Name of the study in the storage.
        trials: Cap on the whole study, forced configurations included.
        forced_extremes: Whether the forced configurations are trained first.
        budgets: Parameter budgets to search: 750k 2M 20M 200M.
        early_stop_patience: Complete trials before convergence may stop the search.
        early_stop_threshold: Spread of the best scores that counts as converged.
        early_stop_top_k: How many distinct configurations are compared.
        mode: safe runs one worker, no data workers, deterministic operations and anomaly checks; the results are those
            of fast.
        workers: Local workers, or auto; 0 only creates the study.
        then_phase2: Run Phase 2 when Phase 1 has ended.
        supplementary: Run Phase 2 of this study, as hpo phase2 does; --trials is then the cap of each of its studies.
        param_budget: The budgets of Phase 2, instead of the top of the ranking.
        dry_run: Print what would be done and what it would cost, and write nothing.
    """
    changing = {
        "--model": model if study or name else None,
        "--data-tier": data_tier if study or name else None,
        "--data": data if study or name else None,
        "--forced-extremes": forced_extremes,
        "--mode": mode,
        "--budgets": budgets,
        "--early-stop-patience": early_stop_patience,
        "--early-stop-threshold": early_stop_threshold,
        "--early-stop-top-k": early_stop_top_k,
    }
    size = worker_count(workers)
    if supplementary:
        _refuse_ignored([flag for flag, value in changing.items() if value is not None], then_phase2=then_phase2)
    elif then_phase2 and size == 0:
        raise InputError(
            "--then-phase2 waits for Phase 1, and --workers 0 leaves that to others: leave one of them out"
        )
    elif param_budget and not then_phase2:
        raise InputError("--param-budget names budgets of Phase 2: add --supplementary or --then-phase2")
    rule = {"patience": early_stop_patience, "threshold": early_stop_threshold, "top_k": early_stop_top_k}
    overrides = {
        "model": model,
        "name": name,
        "trials": None if supplementary else trials,
        "forced_extremes": forced_extremes,
        "mode": mode,
        "budgets": budgets,
        "data": _without_none({"tier": data_tier} | _data_source(data)),
        "early_stop": _without_none(rule),
    }
    spec = _read_spec(study, overrides)
    size, options = _one_if_safe(spec, size), _options(param_budget, trials if supplementary else None)
    if supplementary:
        return _phase2(spec.name, options, storage, size, dry_run=dry_run, as_json=json_output)
    if then_phase2:
        _check_phase2(spec, options)
    if dry_run:
        return _dry_run(spec, storage, as_json=json_output)
    if then_phase2:
        return _both_phases(spec, options, storage, size, as_json=json_output)
    return _phase1(spec, storage, size, as_json=json_output)


def _one_if_safe(spec: "Spec", workers: int | None) -> int | None:
    from hpo.fleet_plan import one_if_safe

    return one_if_safe([spec], workers)


def _refuse_ignored(flags: Sequence[str], *, then_phase2: bool) -> None:
    """Refuse what `--supplementary` would silently leave out of account."""
    if then_phase2:
        raise InputError("--supplementary runs Phase 2 alone and --then-phase2 both phases: leave one of them out")
    if flags:
        raise InputError(f"--supplementary takes Phase 1 as it is stored, without {flags[0]}: leave {flags[0]} out")


def phase2(  # noqa: PLR0913  one parameter a flag
    study: str,
    /,
    *,
    top_budgets: int = 2,
    param_budget: Budgets = None,
    rank_by: Literal["mean", "best"] = "mean",
    trials: int | None = None,
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
        trials: Cap on each study, corners included; default: 25.
        workers: Local workers, or auto; 0 only creates the studies, and leaves them to workers elsewhere.
        dry_run: Print the ranking and the corners, and write nothing.
        force: Also before Phase 1 has ended by itself.
    """
    from hpo.phase2 import Phase2Options

    options = Phase2Options(trials, top_budgets, _canonical(param_budget), rank_by, force)
    return _phase2(study, options, storage, worker_count(workers), dry_run=dry_run, as_json=json_output)


def _check_phase2(spec: "Spec", options: "Phase2Options") -> None:
    from hpo.phase2 import check_options
    from hpo.preflight import look_ahead

    check_options(spec, options)
    look_ahead(spec)


def _options(param_budget: list[str] | None, trials: int | None) -> "Phase2Options":
    from hpo.phase2 import Phase2Options

    return Phase2Options(trials=trials, param_budgets=_canonical(param_budget))


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
    shown: list[dict[str, Any]] = []

    def show(planned: "Phase2Plan", rows: list[dict[str, Any]]) -> None:
        if as_json:
            ranking = [ranked.as_json() for ranked in planned.ranking]
            shown.append({"top_budgets": list(planned.top_budgets), "ranking": ranking, "studies": rows})
        else:
            print_phase2(name, planned, rows, options, made=not dry_run)

    results: list[Result] = []
    if dry_run:
        show(*launch.plan_supplement(name, settings, storage, options))
    else:
        results = launch.supplement(name, settings, storage, options, workers, view, show)
    # After the work: a reader that has gone away must not end it.
    for found in shown:
        print_json(found)
    if dry_run and not as_json:
        say("\nnothing was written")
    for result in () if as_json else results:
        _show(result, workers)
    return _conclude(results)


def _phase1(spec: "Spec", storage: str | None, workers: int | None, *, as_json: bool) -> int:
    result = _run(spec, storage, workers, as_json=as_json)
    print_json(result.status.as_json()) if as_json else _show(result, workers)
    return _conclude([result])


def _both_phases(
    spec: "Spec", options: "Phase2Options", storage: str | None, workers: int | None, *, as_json: bool
) -> int:
    """Run Phase 1 and, when it has come to its own end, Phase 2."""
    from hpo import launch
    from hpo.run_view import RunView
    from hpo.settings import load_settings

    result = _run(spec, storage, workers, as_json=as_json)
    goes_on = result.status.study.ended and result.status.counts.complete > 0 and not result.interrupted
    if not as_json:
        _show(result, workers, last=not goes_on)
    elif not goes_on:
        print_json(result.status.as_json())
    code = _conclude([result])
    if goes_on:
        launch.let_end(spec.name, load_settings(), storage, RunView(quiet=as_json))
        return max(code, _phase2(spec.name, options, storage, workers, dry_run=False, as_json=as_json))
    complain(f"Phase 2 was not begun, for {spec.name} {_why_not(result)}")
    return code or 1


def _why_not(result: "Result") -> str:
    """Return why Phase 2 can't follow, and what to type."""
    study = result.status.study
    if study.state.value == "stopped":
        return f"is stopped: `hpo resume {study.name}`, then {_again()}"
    if result.status.study.ended and not result.interrupted:
        return f"has no complete trial: `hpo status {study.name} --failures` says why"
    return f"has not ended: {_again()} goes on with it, and then with Phase 2"


def _run(spec: "Spec", storage: str | None, workers: int | None, *, as_json: bool) -> "Result":
    from hpo import launch
    from hpo.run_view import RunView
    from hpo.settings import load_settings

    return launch.run(spec, load_settings(), storage, workers, RunView(quiet=as_json))


def _show(result: "Result", workers: int | None, *, last: bool = True) -> None:
    """Print how a study has ended; what to type next only where nothing follows by itself."""
    from hpo.run_view import print_results
    from studies.declaration import declare
    from studies.spec import Spec

    score_name = declare(Spec.model_validate(result.status.study.spec)).score_name
    steps = _next_steps(result, workers) if last else []
    print_results(result.status, result.trials, score_name, next_steps=steps)


def _conclude(results: Sequence["Result"]) -> int:
    """Say what went wrong, once for all studies of a run; return the exit code."""
    if any(result.interrupted for result in results):
        complain(f"interrupted; the trials that had not ended wait again: {_again()} goes on where it was")
        return 130
    for fault in dict.fromkeys(result.fault for result in results if result.fault):
        complain(f"a worker ended early: {one_line(fault)}")
    return max(map(_conclude_one, results), default=0)


def _conclude_one(result: "Result") -> int:
    study = result.status.study
    if result.status.counts.complete == 0 and study.state.value == "finished":
        complain(f"no trial has completed: `{program()} status {study.name} --failures` says why")
        return 1
    if result.fault and study.state.value == "running":
        complain(f"{study.name} is not done: {_again()} goes on where it was")
        return 1
    return 0


def _next_steps(result: "Result", workers: int | None) -> list[str]:
    study, hpo = result.status.study, program()
    if study.state.value == "running":
        again = f"{hpo} worker --study {study.name}    work on it, on this machine or another"
        return [again] if workers == 0 else []
    if study.state.value == "stopped":
        return [f"{hpo} resume {study.name}    let it give out trials again"]
    report = f"{hpo} report {study.name} --out reports    what was learnt, with figures"
    steps = [
        f"{hpo} resume {study.name} --trials {study.cap + 20}    allow more trials",
        f"{hpo} dashboard    browse the trials",
    ]
    onward = [f"{hpo} phase2 {study.name}    search the best budgets on"] if study.phase == 1 else []
    return [report, *onward, *steps]


def _dry_run(spec: "Spec", storage: str | None, *, as_json: bool) -> int:
    from hpo import launch
    from hpo.run_view import RunView
    from hpo.settings import load_settings

    planned = launch.plan(spec, load_settings(), storage, RunView(quiet=as_json))
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
