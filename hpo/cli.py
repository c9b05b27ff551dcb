"""The command line: parses, calls `hpo.app`, prints. Nothing heavy is imported here.

Exit codes: 0 done, 1 the work failed, 2 the input is wrong (one line, nothing written), 130 interrupted.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from budgets.errors import InputError
from hpo.cli_database import db
from hpo.fork_server import ForkFailedError
from hpo.output import Json, Storage, complain, one_line, print_json, program, say

if TYPE_CHECKING:
    from hpo.app import Result
    from studies.spec import Spec

HELP = """Hyperparameter search for time-series transformers over parameter budgets.

Phase 1 trains the forced configurations, lets TPE explore the rest and stops when the search has converged.

    hpo run quickstart
"""


def _version() -> str:
    from importlib.metadata import version

    return version("budget-hpo")


app = App(name="hpo", help=HELP, help_format="plaintext", version=_version)
app.command(db)


@app.command
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
    budgets: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    early_stop_patience: int | None = None,
    early_stop_threshold: float | None = None,
    early_stop_top_k: int | None = None,
    workers: str = "auto",
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Run Phase 1 with local workers until it has converged or used its cap. A run that was ended goes on.

    hpo run quickstart
    hpo run --model itransformer --data-tier a200 --trials 70 --forced-extremes --dry-run
    hpo run my-study.yaml --budgets 2M 20M --workers 4

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
        dry_run: Print what would be done and what it would cost, and write nothing.
    """
    rule = {"patience": early_stop_patience, "threshold": early_stop_threshold, "top_k": early_stop_top_k}
    overrides = {
        "model": model,
        "name": name,
        "trials": trials,
        "forced_extremes": forced_extremes,
        "budgets": budgets,
        "data": _without_none({"tier": data_tier} | _data_source(data)),
        "early_stop": _without_none(rule),
    }
    spec = _read_spec(study, overrides)
    size = _worker_count(workers)
    if dry_run:
        return _dry_run(spec, storage, as_json=json_output)
    return _run(spec, storage, size, as_json=json_output)


@app.command
def worker(
    *,
    study: str | None = None,
    idle_exit: float | None = None,
    max_trials: int | None = None,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Take trials of any open study until told to leave.

    SIGTERM lets the trial under way end first; a second one, or Ctrl-C, gives it back at once.

    hpo worker --idle-exit 600

    Args:
        study: The only study to work on.
        idle_exit: Leave after so many seconds without work.
        max_trials: Leave after so many trials.
    """
    import signal

    from hpo import app as service
    from hpo.settings import load_settings
    from hpo.worker import StopSignals

    if max_trials is not None and max_trials < 1:
        raise InputError(f"--max-trials is 1 or more, not {max_trials}: leave it out for no limit")
    if idle_exit is not None and not 0 <= idle_exit < float("inf"):
        raise InputError(f"--idle-exit is a number of seconds from 0, not {idle_exit}: leave it out to wait forever")
    stop = StopSignals()

    def on_terminate(*_: object) -> None:
        stop.heard("abandon" if stop.leave.is_set() else "leave")

    signal.signal(signal.SIGTERM, on_terminate)
    signal.signal(signal.SIGINT, lambda *_: stop.heard("abandon"))
    _log_to_stderr()
    ended = service.work(load_settings(), storage, stop, study=study, idle_exit=idle_exit, max_trials=max_trials)
    print_json({"trials": ended}) if json_output else say(f"this worker ended {ended} trials")
    return 0


@app.command
def status(
    study: str | None = None,
    /,
    *,
    failures: Annotated[bool, Parameter(negative="")] = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Show counts, best score, trials an hour, time to go and workers.

    hpo status quickstart

    Args:
        study: One study; default: all.
        failures: Show why trials failed or ran again, the last lines of each.
    """
    from hpo import app as service
    from hpo.settings import load_settings

    settings = load_settings()
    found = service.status(settings, storage, study)
    if json_output:
        print_json(found[0].as_json() if study else {"studies": [each.as_json() for each in found]})
        return 0
    from hpo.run_view import print_failures, summary

    for each in found:
        say("\n".join(summary(each)) + "\n")
        if failures:
            print_failures(service.trials(settings, storage, each.study.name))
    if not found:
        say("no study yet: `hpo run quickstart` makes one")
    return 0


@app.command
def stop(study: str, /, *, storage: Storage = None, json_output: Json = False) -> int:
    """Give out no more trials of a study; those under way end normally.

    hpo stop quickstart
    """
    from hpo import app as service
    from hpo.settings import load_settings

    found = service.stop(load_settings(), storage, study)
    said = f"{study} is {found.study.state.value}; `hpo resume {study}` lets it go on"
    print_json(found.as_json()) if json_output else say(said)
    return 0


@app.command
def resume(study: str, /, *, trials: int | None = None, storage: Storage = None, json_output: Json = False) -> int:
    """Let a stopped, converged or finished study give out trials again; convergence stays overridden.

    hpo resume quickstart --trials 40

    Args:
        study: The study's name.
        trials: A new cap on the whole study.
    """
    from hpo import app as service
    from hpo.settings import load_settings

    found = service.resume(load_settings(), storage, study, trials)
    said = f"{study} is running again with a cap of {found.counts.cap}; `hpo worker --study {study}` works on it"
    print_json(found.as_json()) if json_output else say(said)
    return 0


@app.command
def reap(*, storage: Storage = None, json_output: Json = False) -> int:
    """Put the trials of dead workers back into the queue; workers do the same before every trial.

    hpo reap
    """
    from hpo import app as service
    from hpo.settings import load_settings

    count = service.reap(load_settings(), storage)
    print_json({"reaped": count}) if json_output else say(f"{count} trials of dead workers wait again")
    return 0


@app.command
def schema(*, json_output: Json = False) -> int:  # noqa: ARG001  every command takes --json; this one is JSON anyway
    """Print the JSON schema of a study's YAML file.

    hpo schema > study.schema.json
    """
    from studies.spec import Spec

    print_json(Spec.model_json_schema())
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(execute(arguments))


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        complain(f"{one_line(str(error)).rstrip('.')}: `hpo {_command_of(tokens)}--help` shows what is understood")
        return 2
    except InputError as error:
        complain(one_line(str(error)))
        return 2
    except ForkFailedError as error:
        complain(f"{str(error).strip()}: the same command begins again")
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    return code if isinstance(code, int) else 0


def _run(spec: "Spec", storage: str | None, workers: int | None, *, as_json: bool) -> int:
    from hpo import app as service
    from hpo.run_view import RunView, print_results
    from hpo.settings import load_settings
    from studies.declaration import declare

    result = service.run(spec, load_settings(), storage, workers, RunView(quiet=as_json))
    if as_json:
        print_json(result.status.as_json())
    else:
        print_results(
            result.status,
            result.trials,
            declare(spec).score_name,
            next_steps=_next_steps(spec, result, workers),
        )
    if result.interrupted:
        complain(f"interrupted; every trial under way waits again: {_again()} goes on where it was")
        return 130
    if result.fault:
        complain(f"a worker ended early: {one_line(result.fault)}")
    if result.status.counts.complete == 0 and result.status.study.state.value == "finished":
        complain(f"no trial has completed: `{program()} status {spec.name} --failures` says why")
        return 1
    if result.fault and result.status.study.state.value == "running":
        complain(f"the study is not done: {_again()} goes on where it was")
        return 1
    return 0


def _next_steps(spec: "Spec", result: "Result", workers: int | None) -> list[str]:
    state, hpo = result.status.study.state.value, program()
    if state == "running":
        again = f"{hpo} worker --study {spec.name}    work on it, on this machine or another"
        return [again] if workers == 0 else []
    if state == "stopped":
        return [f"{hpo} resume {spec.name}    let it give out trials again"]
    return [
        f"{hpo} status {spec.name} --json    everything as JSON",
        f"{hpo} resume {spec.name} --trials {spec.trials + 20}    allow more trials",
        f"{hpo} worker --study {spec.name} --idle-exit 60    and search on",
        f'{program("optuna-dashboard")} "$({hpo} db url | tail -n 1)"    browse the trials',
    ]


def _dry_run(spec: "Spec", storage: str | None, *, as_json: bool) -> int:
    from hpo import app as service
    from hpo.settings import load_settings

    planned = service.plan(spec, load_settings(), storage)
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


def _worker_count(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"--workers is a number from 0 or auto, not {text!r}: leave it out for auto")
    return int(text)


def _command_of(tokens: Sequence[str]) -> str:
    words = [token for token in tokens[:2] if token in {*app._commands, *db._commands}]
    return "".join(f"{word} " for word in words)


def _again() -> str:
    return "`" + shlex.join([program(), *sys.argv[1:]]) + "`"


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
