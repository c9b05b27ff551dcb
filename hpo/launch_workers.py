"""Starting workers that take whatever is open: one worker, a fleet."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hpo.fleet import Fleet
from hpo.fleet_log import FleetLog
from hpo.fleet_plan import automatic_workers, one_if_safe
from hpo.fork_server import ForkServer
from hpo.machine import available_cores
from hpo.output import count
from hpo.preflight import check_limit_of_trials
from hpo.presence import this_host
from hpo.records import StudyRecord
from hpo.service import Service, open_service
from hpo.settings import Settings
from hpo.stopping import StopSignals, obeying_signals
from hpo.storage import database_away
from hpo.trial_sizes import searches_of
from hpo.worker import ServerGoneError, run_worker
from hpo.worker_options import WorkerOptions
from studies.declaration import declare
from studies.spec import Spec

LOOK_SECONDS = 0.5
"""How often a fleet is looked at."""

PRELOAD_SERVICE = "hpo.preload"
"""What every fork server loads beside what its studies need."""


def work(
    settings: Settings,
    storage_url: str | None,
    *,
    studies: Sequence[str],
    idle_exit: float | None,
    max_trials: int | None,
) -> int:
    """Run one long-lived worker in this process; return how many trials it ended."""
    stop = StopSignals()
    with obeying_signals(stop.terminate):
        with open_service(settings, storage_url) as service:
            preload = _preload_for(service, studies)
        with ForkServer((*preload, PRELOAD_SERVICE)) as server:
            server.wait_until_ready()
            check_limit_of_trials(settings, server)
            options = WorkerOptions(
                storage_url=storage_url,
                fork_address=server.address,
                studies=tuple(studies),
                threads=available_cores(),
                idle_exit=idle_exit,
                max_trials=max_trials,
            )
            return _work_through(server, options, settings, stop)


def _work_through(server: ForkServer, options: WorkerOptions, settings: Settings, stop: StopSignals) -> int:
    """Run a worker, and another one where the fork server has died under it; return how many trials they ended."""
    ended = 0
    while True:
        try:
            return ended + run_worker(options, settings, stop)
        except ServerGoneError as gone:
            ended += gone.ended
            if stop.leave.is_set():
                return ended
            server.start_again()
            left = None if options.max_trials is None else options.max_trials - gone.ended
            options = replace(options, fork_address=server.address, max_trials=left)


def fleet_up(
    settings: Settings,
    storage_url: str | None,
    workers: int | None,
    *,
    studies: Sequence[str],
    idle_exit: float | None,
    json_log: bool,
    say: Callable[[str], None],
) -> str:
    """Run a fleet until it is told to go or all its workers have left; return what went wrong, or nothing."""
    stop = StopSignals()
    with obeying_signals(stop.terminate), open_service(settings, storage_url) as service:
        named = [Spec.model_validate(service.find(name).spec) for name in studies]
        workers = one_if_safe(named, workers)
        size = automatic(service, _named_or_open(service, studies)) if workers is None else workers
        with ForkServer((*_preload_for(service, studies), PRELOAD_SERVICE)) as server:
            server.wait_until_ready()
            check_limit_of_trials(settings, server)
            options = WorkerOptions(
                storage_url=storage_url,
                fork_address=server.address,
                studies=tuple(studies),
                threads=max(1, available_cores() // size),
                idle_exit=idle_exit,
            )
            logs = settings.home / "logs"
            say(
                f"{count(size, 'worker')} with {count(options.threads, 'thread')} each; logs in {logs}; "
                "`hpo fleet drain N` lets N leave, Ctrl-C all"
            )
            log = FleetLog(logs, as_json=json_log)
            fleet = Fleet(server, options, settings, size, log=log.line, alert=alerter(service))
            while fleet.busy:
                fleet.watch(LOOK_SECONDS)
                if fleet.obey(stop):
                    say(farewell(stop, settings))
        return fleet.fault


def farewell(stop: StopSignals, settings: Settings) -> str:
    """Return what is said when workers were told to go."""
    if stop.abandon.is_set():
        return "giving the trials under way back at once"
    return (
        f"leaving: trials under way have {settings.grace_seconds:g} s to end or to save themselves; "
        "once more gives them back at once"
    )


def alerter(service: Service) -> Callable[[str], bool]:
    """Return what stores an alert of this machine, and says whether it could."""

    def alert(message: str) -> bool:
        try:
            service.control.raise_alert(this_host(), message)
        except database_away():
            return False
        return True

    return alert


def automatic(service: Service, studies: Sequence[StudyRecord]) -> int:
    """Return how many workers `auto` is for these studies on this machine."""
    return automatic_workers(searches_of(service.control, studies))


def _named_or_open(service: Service, names: Sequence[str]) -> list[StudyRecord]:
    return [service.find(name) for name in names or service.control.open_studies()]


def _preload_for(service: Service, names: Sequence[str]) -> tuple[str, ...]:
    modules = [m for study in _named_or_open(service, names) for m in declare(Spec.model_validate(study.spec)).preload]
    # A study that comes later may train on prices: be ready for it unless only some are asked for.
    return tuple(dict.fromkeys(modules if names else [*modules, "studies.preload"]))
