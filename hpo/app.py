"""The composition root: the one place that knows the concrete storage, catalog, fork server and clock.

Every command is a function that takes plain values and returns plain values; `hpo.cli` parses and prints.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from hpo import control as control_schema
from hpo import embedded
from hpo.claims import Claims
from hpo.control import Control
from hpo.errors import StorageError, UnknownStudyError
from hpo.fleet import Fleet, available_cores, workers_that_fit
from hpo.fork_server import ForkServer, call
from hpo.monitor import Status, read_status
from hpo.phase1 import check_stored, ensure_study
from hpo.presence import is_dead
from hpo.records import StudyRecord, StudyState, TrialRecord
from hpo.run_view import RunView
from hpo.settings import Settings
from hpo.storage import Storage, masked, open_storage
from hpo.worker import DATABASE_AWAY, StopSignals, WorkerOptions, run_worker
from studies.declaration import Declaration, Design, Prepared, declare, derive
from studies.spaces import describe
from studies.spec import Spec

_LOOK_SECONDS = 0.5
_PRELOAD_SERVICE = ("hpo.worker", "hpo.trial")


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    status: Status
    trials: tuple[TrialRecord, ...]
    interrupted: bool = False
    fault: str = ""


def plan(spec: Spec, settings: Settings, storage_url: str | None) -> dict[str, Any]:
    """Return what a run would do, without writing anything: the object of `hpo run --dry-run --json`."""
    _check_storage(spec, settings, storage_url)
    declaration = declare(spec)
    with ForkServer(declaration.preload) as server:
        server.wait_until_ready()
        prepared = _prepare(server, declaration, spec, settings, dry=True)
        speed = call(server.address, "studies.cost:measure_speed") if spec.uses_prices else None
    forced = [_forced_row(design, prepared) for design in declaration.forced]
    return {
        "study": spec.name,
        "cap": spec.trials,
        "forced": forced,
        "space": {name: describe(distribution) for name, distribution in declaration.space.items()},
        "cost": _cost(spec, prepared, forced, speed),
        "data": dict(prepared.sizes),
        "notices": list(prepared.notices),
        "spec": spec.as_json(),
    }


def run(spec: Spec, settings: Settings, storage_url: str | None, workers: int | None, view: RunView) -> Result:
    """Run Phase 1 until it has converged, finished or been stopped; `workers=0` only creates the study.

    Raises:
        InputError: the data, the objective, the storage or a stored study forbid it; nothing was written.
    """
    _check_storage(spec, settings, storage_url)
    declaration = declare(spec)
    with ForkServer((*declaration.preload, *_PRELOAD_SERVICE)) as server:
        with view.working("loading torch, neuralforecast and the data" if spec.uses_prices else "loading"):
            server.wait_until_ready()
            prepared = _prepare(server, declaration, spec, settings, dry=False)
        for notice in prepared.notices:
            view.notice(notice)
        with _open(settings, storage_url) as storage:
            study = ensure_study(storage, spec, prepared)
            size = _fleet_size(workers, prepared) if study.state is StudyState.RUNNING else 0
            options = WorkerOptions(
                storage_url=storage_url,
                fork_address=server.address,
                study=spec.name,
                threads=max(1, available_cores() // max(1, size)),
                until_done=True,
            )
            view.say(_opening_line(study, declaration, storage, options, size))
            return _supervise(storage, study, declaration, Fleet(options, settings, size), settings, view)


def work(
    settings: Settings,
    storage_url: str | None,
    stop: StopSignals,
    *,
    study: str | None,
    idle_exit: float | None,
    max_trials: int | None,
) -> int:
    """Run one long-lived worker in this process; return how many trials it ended."""
    with _open(settings, storage_url) as storage:
        preload = _preload_for(storage, study)
    with ForkServer((*preload, *_PRELOAD_SERVICE)) as server:
        server.wait_until_ready()
        options = WorkerOptions(
            storage_url=storage_url,
            fork_address=server.address,
            study=study,
            threads=available_cores(),
            idle_exit=idle_exit,
            max_trials=max_trials,
        )
        return run_worker(options, settings, stop)


def status(settings: Settings, storage_url: str | None, name: str | None) -> list[Status]:
    """Return the status of one study, or of all."""
    if name is None and _is_untouched(settings, storage_url):
        return []
    with _open_existing(settings, storage_url, name) as storage:
        control = Control(storage.engine)
        names = [name] if name else control.study_names()
        return [_status(control, _find(control, each), settings) for each in names]


def trials(settings: Settings, storage_url: str | None, name: str) -> list[TrialRecord]:
    """Return all trials of a study."""
    with _open_existing(settings, storage_url, name) as storage:
        control = Control(storage.engine)
        return control.trials(_find(control, name).name)


def stop(settings: Settings, storage_url: str | None, name: str) -> Status:
    """Give out no more trials; those under way end normally."""
    with _open_existing(settings, storage_url, name) as storage:
        control = Control(storage.engine)
        _find(control, name)
        control.decide(name, StudyState.STOPPED, "stopped by hpo stop", {})
        return _status(control, _find(control, name), settings)


def resume(settings: Settings, storage_url: str | None, name: str, cap: int | None) -> Status:
    """Give out trials again, whatever the study was stopped by; a convergence stays overridden."""
    with _open_existing(settings, storage_url, name) as storage:
        control = Control(storage.engine)
        study = _find(control, name)
        new_cap, used = study.cap if cap is None else cap, control.counts(name).used
        if new_cap <= used and (cap is not None or study.state is StudyState.FINISHED):
            raise StorageError(
                f"study {name} has used {used} trials, so a cap of {new_cap} leaves none: "
                f"resume it with --trials above {used}"
            )
        spec = Spec.model_validate({**study.spec, "trials": new_cap})
        off = study.convergence_off or study.state is StudyState.CONVERGED
        resumed = replace(
            study, cap=spec.trials, spec=spec.as_json(), fingerprint=spec.fingerprint, convergence_off=off
        )
        control.resume(resumed, "resumed" + (", without the convergence rule" if off else ""))
        return _status(control, _find(control, name), settings)


def reap(settings: Settings, storage_url: str | None) -> int:
    """Put back the trials of dead workers in all running studies; return how many."""
    if _is_untouched(settings, storage_url):
        return 0
    with _open(settings, storage_url) as storage:
        control = Control(storage.engine)
        return sum(_claims(storage, _find(control, name), settings).settle() for name in control.open_studies())


def _supervise(
    storage: Storage,
    study: StudyRecord,
    declaration: Declaration,
    fleet: Fleet,
    settings: Settings,
    view: RunView,
) -> Result:
    control = Control(storage.engine)

    def look() -> Status:
        return _status(control, _find(control, study.name), settings)

    interrupted = False
    with view.watching(declaration.score_name, lambda: control.trials(study.name)) as show:
        try:
            while fleet.size:
                fleet.watch(_LOOK_SECONDS)
                # The workers wait for a database that is away; so does the display.
                with suppress(*DATABASE_AWAY):
                    show(look())
        except KeyboardInterrupt:
            interrupted = True
            fleet.abandon()
        while fleet.size:
            fleet.watch(_LOOK_SECONDS)
        show(look())
    claims = _claims(storage, study, settings)
    claims.settle()
    return Result(look(), tuple(control.trials(study.name)), interrupted, fleet.fault)


def _opening_line(
    study: StudyRecord, declaration: Declaration, storage: Storage, options: WorkerOptions, size: int
) -> str:
    where = "the embedded Postgres" if storage.embedded else masked(storage.url)
    return (
        f"{study.name}: at most {study.cap} trials, {len(declaration.forced)} of them forced; "
        f"{_count(size, 'worker')} with {_count(options.threads, 'thread')} each; stored in {where}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _prepare(server: ForkServer, declaration: Declaration, spec: Spec, settings: Settings, *, dry: bool) -> Prepared:
    home = None if dry else settings.home
    prepared: Prepared = call(server.address, "hpo.trial:prepare", declaration.preparation, spec, home)
    return prepared


def _fleet_size(workers: int | None, prepared: Prepared) -> int:
    largest = max((rule.values.get("exact_params", 0) for rule in prepared.derived), default=0)
    return workers_that_fit(largest) if workers is None else workers


def _status(control: Control, study: StudyRecord, settings: Settings) -> Status:
    size_key = declare(Spec.model_validate(study.spec)).size_key
    return read_status(control, study, size_key, settings.lost_after_seconds)


def _claims(storage: Storage, study: StudyRecord, settings: Settings) -> Claims:
    return Claims(storage, study, lambda worker: is_dead(worker, settings.lost_after_seconds))


def _find(control: Control, name: str) -> StudyRecord:
    study = control.study(name)
    if study is None:
        raise _unknown(name, control.study_names())
    return study


def _unknown(name: str, names: Sequence[str]) -> UnknownStudyError:
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    known = f"the nearest are {', '.join(close)}" if close else "there are none yet"
    return UnknownStudyError(f"unknown study {name!r}: {known}; `hpo status` lists all, `hpo run` makes one")


def _preload_for(storage: Storage, name: str | None) -> tuple[str, ...]:
    control = Control(storage.engine)
    studies = [_find(control, name)] if name else [_find(control, each) for each in control.open_studies()]
    modules: Sequence[str] = [m for s in studies for m in declare(Spec.model_validate(s.spec)).preload]
    # A study that comes later may train on prices: be ready for it unless only one study is asked for.
    return tuple(dict.fromkeys(modules if name else [*modules, "studies.training"]))


@contextmanager
def _open(settings: Settings, storage_url: str | None) -> Iterator[Storage]:
    with open_storage(settings, storage_url) as storage:
        control_schema.migrate(storage.engine)
        yield storage


@contextmanager
def _open_existing(settings: Settings, storage_url: str | None, name: str | None = None) -> Iterator[Storage]:
    """Open a storage to look something up; an embedded server that was never used is not made for that."""
    if name is not None and _is_untouched(settings, storage_url):
        raise _unknown(name, [])
    with _open(settings, storage_url) as storage:
        yield storage


def _is_untouched(settings: Settings, storage_url: str | None) -> bool:
    return storage_url is None and settings.storage is None and not embedded.exists(settings.home)


def _check_storage(spec: Spec, settings: Settings, storage_url: str | None) -> None:
    """Refuse a storage or a stored study that forbids this one, before torch is loaded or anything written."""
    if _is_untouched(settings, storage_url):
        return
    with open_storage(settings, storage_url) as storage:
        if control_schema.exists(storage.engine):
            stored = Control(storage.engine).study(spec.name)
            if stored is not None:
                check_stored(stored, spec)


def _forced_row(design: Design, prepared: Prepared) -> dict[str, Any]:
    derived = derive(design.params, prepared.derived)
    return {
        "id": design.id,
        "name": design.name,
        "group": design.group,
        **design.params,
        "exact_params": None,
        **derived,
    }


def _cost(
    spec: Spec, prepared: Prepared, forced: Sequence[dict[str, Any]], speed: float | None
) -> dict[str, Any] | None:
    """Return operations of the whole study and how long a plain matrix product of this machine takes for them."""
    all_flops = [rule.values["flops"] for rule in prepared.derived if "flops" in rule.values]
    if not all_flops or speed is None:
        return None
    forced_flops = sum(row["flops"] for row in forced)
    sampled_flops = (spec.trials - len(forced)) * sum(all_flops) / len(all_flops)
    return {
        "forced_flops": forced_flops,
        "sampled_flops": round(sampled_flops),
        "machine_flops_per_second": round(speed),
        "least_hours": round((forced_flops + sampled_flops) / speed / 3600, 3),
    }
