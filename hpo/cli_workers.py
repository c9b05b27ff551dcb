"""`hpo worker`, `hpo fleet` and `hpo reap`: who does the work."""

from typing import Annotated

from cyclopts import App, Parameter

from budgets.errors import InputError
from hpo.output import Json, Storage, complain, count, print_json, say, worker_count

Flag = Annotated[bool, Parameter(negative="")]
Studies = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]

fleet = App(
    name="fleet",
    help="The workers of this machine: how many fit, start and supervise them, let some leave.",
    help_format="plaintext",
)


def worker(
    *,
    study: Studies = None,
    idle_exit: float | None = None,
    max_trials: int | None = None,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Take trials of any open study until told to leave.

    SIGTERM or Ctrl-C lets the trial under way end or save itself, within HPO_GRACE_SECONDS, and a checkpoint is gone on
    from later; a second one gives the trial back at once.

    hpo worker --idle-exit 600

    Args:
        study: The only study to work on, or several.
        idle_exit: Leave after so many seconds without work.
        max_trials: Leave after so many trials.
    """
    import logging

    from hpo import launch_workers
    from hpo.settings import load_settings

    if max_trials is not None and max_trials < 1:
        raise InputError(f"--max-trials is 1 or more, not {max_trials}: leave it out for no limit")
    _check_idle_exit(idle_exit)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    ended = launch_workers.work(
        load_settings(), storage, studies=study or (), idle_exit=idle_exit, max_trials=max_trials
    )
    print_json({"trials": ended}) if json_output else say(f"this worker ended {count(ended, 'trial')}")
    return 0


@fleet.command
def plan(
    *,
    study: Studies = None,
    workers: str = "auto",
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Say how many workers fit this machine and why: RAM, GPU memory, cores, and the trials an hour to expect.

    hpo fleet plan
    hpo fleet plan --study quickstart --workers 4

    Args:
        study: Plan for this study, or several; default: the open ones, and without any all budgets.
        workers: How many there will be; default: as many as fit.
    """
    from hpo import planning
    from hpo.fleet_plan_view import print_plan
    from hpo.run_view import RunView
    from hpo.settings import load_settings

    size = worker_count(workers)
    if size == 0:
        raise InputError("--workers is 1 or more for a plan, not 0: leave it out for auto")
    found = planning.plan(load_settings(), storage, study or (), size, RunView(quiet=json_output).working)
    print_json(found.as_json()) if json_output else print_plan(found)
    return 0


@fleet.command
def up(
    *,
    workers: str = "auto",
    study: Studies = None,
    idle_exit: float | None = None,
    json_log: Flag = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Start workers on this machine and look after them: what dies is started again, within limits.

    All workers and trials are forks of one process that has torch and NeuralForecast loaded. Each worker has a log in
    HPO_HOME/logs, and fleet.log there joins them.

    hpo fleet up --workers 4

    Args:
        workers: How many, or auto: what memory and cores allow.
        study: The only study to work on, or several; default: any open one.
        idle_exit: A worker leaves after so many seconds without work.
        json_log: Write the logs as JSON, one object a line.
    """
    from hpo import launch_workers
    from hpo.settings import load_settings

    size = worker_count(workers)
    if size == 0:
        raise InputError("--workers is 1 or more for a fleet, not 0: leave it out for auto")
    _check_idle_exit(idle_exit)
    fault = launch_workers.fleet_up(
        load_settings(), storage, size, studies=study or (), idle_exit=idle_exit, json_log=json_log, say=complain
    )
    if json_output:
        print_json({"fault": fault or None})
    elif fault:
        complain(fault)
    return 1 if fault else 0


@fleet.command
def drain(
    workers: int,
    /,
    *,
    host: str | None = None,
    everywhere: Flag = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Ask workers to leave after the trial that they have, the idle ones first.

    hpo fleet drain 2

    Args:
        workers: How many.
        host: Of this host; default: of this machine.
        everywhere: Of any host.
    """
    from hpo import app as service
    from hpo.settings import load_settings

    if workers < 1:
        raise InputError(f"the number of workers to leave is 1 or more, not {workers}: `hpo status` lists them")
    asked = service.drain(load_settings(), storage, workers, host, everywhere=everywhere)
    said = f"asked {count(asked, 'worker')} to leave after the trial under way; `hpo status` shows who is left"
    print_json({"asked": asked}) if json_output else say(said)
    return 0


def reap(*, storage: Storage = None, json_output: Json = False) -> int:
    """Put the trials of dead workers back into the queue; workers do the same by themselves.

    hpo reap
    """
    from hpo import app as service
    from hpo.settings import load_settings

    reaped = service.reap(load_settings(), storage)
    print_json({"reaped": reaped}) if json_output else say(f"trials of dead workers that wait again: {reaped}")
    return 0


def _check_idle_exit(idle_exit: float | None) -> None:
    if idle_exit is not None and not 0 <= idle_exit < float("inf"):
        raise InputError(f"--idle-exit is a number of seconds from 0, not {idle_exit}: leave it out to wait forever")
