"""Starting a search: Phase 1 and Phase 2. Workers for whatever is open: `hpo.launch_workers`; what looks: `hpo.app`."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hpo import control_schema
from hpo.advisory_lock import advisory_lock
from hpo.control import Control
from hpo.fleet import Fleet
from hpo.fleet_plan import one_if_safe
from hpo.fork_server import ForkServer, call
from hpo.launch_workers import LOOK_SECONDS, PRELOAD_SERVICE, alerter, automatic, farewell
from hpo.machine import available_cores
from hpo.monitor import Status
from hpo.output import count
from hpo.phase1 import check_same_data, check_stored, ensure_study
from hpo.phase2 import Phase2Options, Phase2Plan, plan_phase2
from hpo.preflight import (
    allowance_of,
    check_limit_of_trials,
    cost_here,
    look_at_plan,
    look_before_preparing,
    look_when_prepared,
)
from hpo.records import StudyRecord, StudyState, TrialRecord
from hpo.report_request import request_report
from hpo.run_view import RunView
from hpo.service import Service, is_untouched, open_existing, open_service
from hpo.settings import Settings
from hpo.stopping import StopSignals, obeying_signals
from hpo.storage import database_away, masked, open_storage
from hpo.study_rows import forced_row, supplement_row
from hpo.worker_options import WorkerOptions
from studies.declaration import Prepared, declare
from studies.memory import fit_micro_batches
from studies.preflight import Finding
from studies.spaces import describe
from studies.spec import Spec

# How often to look for trials that workers elsewhere have.
_OTHERS_SECONDS = 5.0


@dataclass(frozen=True)
class Result:
    """How a study stood when its run ended."""

    status: Status
    trials: tuple[TrialRecord, ...]
    interrupted: bool = False
    fault: str = ""


def plan(spec: Spec, settings: Settings, storage_url: str | None, view: RunView) -> dict[str, Any]:
    """Return what a run would do, without writing anything: the object of `hpo run --dry-run --json`."""
    _check_storage(spec, settings, storage_url)
    look_before_preparing(spec)
    declaration = declare(spec)
    with ForkServer(declaration.preload) as server:
        with view.working("loading"):
            server.wait_until_ready()
        with view.working("reading the data"):
            prepared = _prepare(server, spec, settings, keep=False)
            cost = cost_here(server, spec, prepared)
            found = look_at_plan(spec, prepared, allowance_of(settings, server), cost)
    forced = [forced_row(design, prepared) for design in declaration.forced]
    return {
        "study": spec.name,
        "cap": spec.trials,
        "forced": forced,
        "space": {name: describe(distribution) for name, distribution in declaration.space.items()},
        "cost": cost,
        "data": dict(prepared.sizes),
        "notices": [*prepared.notices, *found],
        "spec": spec.as_json(),
    }


def run(spec: Spec, settings: Settings, storage_url: str | None, workers: int | None, view: RunView) -> Result:
    """Run Phase 1 until it has converged, finished or been stopped; `workers=0` only creates the study.

    Raises:
        InputError: the data, the objective, the storage or a stored study forbid it; nothing was written.
    """
    _check_storage(spec, settings, storage_url)
    found = look_before_preparing(spec)
    with _server_for([spec], view) as server:
        # A study that is only made here may be for larger machines.
        if workers != 0:
            check_limit_of_trials(settings, server)
        with view.working("reading the data"):
            prepared = _prepare(server, spec, settings, keep=False)
        if workers != 0:
            allowance = allowance_of(settings, server, workers)
            with view.working("looking at the rules"):
                cost = cost_here(server, spec, prepared)
            prepared, more = look_when_prepared(spec, prepared, allowance, found, cost)
            found += more
        for notice in (*prepared.notices, *(f"{each.message} [{each.rule}]" for each in found)):
            view.notice(notice)
        with open_service(settings, storage_url) as service:
            study = ensure_study(service.storage, spec, prepared)
            with view.working("keeping the data"):
                arguments = (declare(spec).readiness, spec, study.prepared, settings.home)
                call(server.address, "hpo.trial:check_ready", *arguments)
            return _work_on(service, server, [study], workers, storage_url, view)[0]


def plan_supplement(
    name: str, settings: Settings, storage_url: str | None, options: Phase2Options
) -> tuple[Phase2Plan, list[dict[str, Any]]]:
    """Return the ranking of the budgets and what `hpo phase2` would make, without writing anything."""
    with open_existing(settings, storage_url, name) as service:
        planned = plan_phase2(service.control, service.find(name), options)
        _look_at_new(planned)
        return planned, [supplement_row(service.control, spec, history) for spec, history in planned.studies]


def supplement(
    name: str,
    settings: Settings,
    storage_url: str | None,
    options: Phase2Options,
    workers: int | None,
    view: RunView,
    show: Callable[[Phase2Plan, list[dict[str, Any]]], None],
) -> list[Result]:
    """Make the studies of Phase 2, once however often and by whomever this is called, and work on them.

    Raises:
        InputError: Phase 1 has not ended, a budget has no complete trial, or the data has changed; nothing was written.
    """
    with open_existing(settings, storage_url, name) as service:
        parent = service.find(name)
        # To refuse before anything heavy is loaded.
        found = plan_phase2(service.control, parent, options)
        for finding in _look_at_new(found):
            view.notice(f"{finding.message} [{finding.rule}]")
        specs = [spec for spec, _ in found.studies]
        workers = one_if_safe(specs, workers)
        with _server_for(specs, view) as server:
            if workers != 0:
                check_limit_of_trials(settings, server)
            planned, made = _make_supplements(service, server, parent, options, workers, view)
            rows = [supplement_row(service.control, spec, history) for spec, history in planned.studies]
            show(planned, rows)
            return _work_on(service, server, made, workers, storage_url, view)


def _look_at_new(planned: Phase2Plan) -> list[Finding]:
    """Apply the rules that need no data to the studies that are not there yet."""
    return [
        finding
        for spec, _ in planned.studies
        if spec.name not in planned.existing
        for finding in look_before_preparing(spec)
    ]


def let_end(name: str, settings: Settings, storage_url: str | None, view: RunView) -> None:
    """Wait for the trials of a study that has ended which workers elsewhere still run."""
    with open_existing(settings, storage_url, name) as service, view.working("waiting for trials of other workers"):
        claims = service.claims(name)
        while service.control.counts(name).running:
            claims.settle()
            time.sleep(min(settings.poll_seconds, _OTHERS_SECONDS))


def _make_supplements(
    service: Service,
    server: ForkServer,
    parent: StudyRecord,
    options: Phase2Options,
    workers: int | None,
    view: RunView,
) -> tuple[Phase2Plan, list[StudyRecord]]:
    """Plan and make the studies of Phase 2 under a lock: the second of two callers finds what the first has made."""
    with (
        service.storage.engine.connect() as connection,
        advisory_lock(connection, f"hpo phase2 {parent.name}"),
        view.working("reading the data"),
    ):
        planned = plan_phase2(service.control, parent, options)
        prepared = [_prepare(server, spec, service.settings) for spec, _ in planned.studies]
        for each in prepared:
            check_same_data(parent, each)
        if workers != 0:
            allowance = allowance_of(service.settings, server, workers)
            specs = [spec for spec, _ in planned.studies]
            prepared = [fit_micro_batches(*each, allowance) for each in zip(specs, prepared, strict=True)]
        made = [
            ensure_study(service.storage, spec, each, history)
            for (spec, history), each in zip(planned.studies, prepared, strict=True)
        ]
        service.control.note_again(parent.name)
    service.claims(parent.name).publish()
    return planned, made


def _work_on(
    service: Service,
    server: ForkServer,
    studies: Sequence[StudyRecord],
    workers: int | None,
    storage_url: str | None,
    view: RunView,
) -> list[Result]:
    """Work on these studies with local workers until each has ended."""
    is_open = any(study.state is StudyState.RUNNING for study in studies)
    fitting = automatic(service, studies) if workers is None else workers
    size = fitting if is_open else 0
    options = WorkerOptions(
        storage_url=storage_url,
        fork_address=server.address,
        studies=tuple(study.name for study in studies),
        prepared=True,
        threads=max(1, available_cores() // max(1, size)),
        until_done=True,
    )
    for study in studies:
        view.say(_opening_line(study, service, options, size))
    fleet = Fleet(server, options, service.settings, size, alert=alerter(service))
    interrupted = _supervise(service, studies, fleet, view)
    results = []
    for study in studies:
        # Workers elsewhere judge each other's silence, knowing whether they were cut off themselves.
        service.claims(study.name, lost_after_seconds=math.inf).settle()
        _publish_report(service, server, study.name, storage_url, view)
        trials = tuple(service.control.trials(study.name))
        results.append(Result(service.status(study.name), trials, interrupted, fleet.fault))
    return results


def _publish_report(service: Service, server: ForkServer, name: str, storage_url: str | None, view: RunView) -> None:
    """Put what was learnt into the dashboard when a study has ended."""
    study = service.control.study(name)
    if study is not None and study.ended:
        with view.working("writing the report into the dashboard"):
            fault = request_report(server.address, service.settings, storage_url, name)
        if fault:
            view.say(f"{name}: the report is not in the dashboard ({fault}); `hpo report {name} --publish` tries again")


def _supervise(service: Service, studies: Sequence[StudyRecord], fleet: Fleet, view: RunView) -> bool:
    """Show the progress until the workers have left; return whether they were told to."""

    def statuses() -> list[Status]:
        return [service.status(study.name) for study in studies]

    stop, trials = StopSignals(), service.control.trials
    with obeying_signals(stop.terminate), view.watching(_score_name(studies[0]), statuses, trials) as show:
        while fleet.busy:
            fleet.watch(LOOK_SECONDS)
            if fleet.obey(stop):
                view.say(farewell(stop, service.settings))
            # The workers wait for a database that is away; so does the display.
            with suppress(*database_away()):
                show()
        show()
    return stop.suspend.is_set()


@contextmanager
def _server_for(specs: Iterable[Spec], view: RunView) -> Iterator[ForkServer]:
    modules = [module for spec in specs for module in declare(spec).preload]
    with ForkServer((*dict.fromkeys(modules), PRELOAD_SERVICE)) as server:
        with view.working("loading"):
            server.wait_until_ready()
        yield server


def _score_name(study: StudyRecord) -> str:
    return declare(Spec.model_validate(study.spec)).score_name


def _opening_line(study: StudyRecord, service: Service, options: WorkerOptions, size: int) -> str:
    storage = service.storage
    where = "the embedded Postgres" if storage.embedded else masked(storage.url)
    spec = Spec.model_validate(study.spec)
    forced, repeats = len(declare(spec).forced), f", {spec.repeats} for other seeds" if spec.repeats else ""
    return (
        f"{study.name}: at most {count(study.cap, 'trial')}, {forced} of them forced{repeats}; "
        f"{count(size, 'worker')} with {count(options.threads, 'thread')} each; stored in {where}"
    )


def _prepare(server: ForkServer, spec: Spec, settings: Settings, *, keep: bool = True) -> Prepared:
    arguments = (declare(spec).preparation, spec, settings.home, keep)
    prepared: Prepared = call(server.address, "hpo.trial:prepare", *arguments)
    return prepared


def _check_storage(spec: Spec, settings: Settings, storage_url: str | None) -> None:
    """Refuse a storage or a stored study that forbids this one, before torch is loaded or anything written."""
    if is_untouched(settings, storage_url):
        return
    with open_storage(settings, storage_url) as storage:
        if control_schema.is_ready(storage.engine):
            stored = Control(storage.engine).study(spec.name)
            if stored is not None:
                check_stored(stored, spec)
