"""Looking and steering: every command that starts no work. Those that do are in `hpo.launch`.

Every command is a function that takes plain values and returns plain values; `hpo.cli` parses and prints.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpo import control_schema
from hpo.artifacts import checkpoint_directory
from hpo.errors import StorageError, StudyGoneError
from hpo.monitor import Status
from hpo.optuna_versions import optuna_version
from hpo.presence import is_dead, this_host
from hpo.records import StudyState, TrialRecord
from hpo.service import Service, is_untouched, open_existing, open_service
from hpo.settings import Settings
from hpo.storage import database_away, open_storage
from studies.checkpoint_contents import CHECKPOINT_NAME
from studies.spec import LARGEST_CAP, Spec

if TYPE_CHECKING:
    from hpo.dashboard import Listener


def status(settings: Settings, storage_url: str | None, name: str | None) -> list[Status]:
    """Return the status of one study, or of all."""
    if name is None and is_untouched(settings, storage_url):
        return []
    with open_existing(settings, storage_url, name) as service:
        return [service.status(each) for each in ([name] if name else service.control.study_names())]


def watch(settings: Settings, storage_url: str | None, name: str | None) -> Iterator[list[Status] | None]:
    """Yield the status again and again, over one connection; None while the database is away."""
    with open_existing(settings, storage_url, name) as service:
        while True:
            try:
                found = [service.status(each) for each in ([name] if name else service.control.study_names())]
            except database_away():
                yield None
            else:
                yield found


def trials(settings: Settings, storage_url: str | None, name: str) -> list[TrialRecord]:
    """Return all trials of a study."""
    with open_existing(settings, storage_url, name) as service:
        return service.control.trials(service.find(name).name)


def checkpoint(settings: Settings, storage_url: str | None, name: str, number: int) -> Path:
    """Return where a trial's checkpoint lies on this machine.

    Raises:
        StorageError: there is no such trial, or it has none here.
    """
    with open_existing(settings, storage_url, name) as service:
        study = service.find(name).name
        trial = service.control.trial(study, number)
    if trial is None:
        raise StorageError(f"study {name} has no trial {number}: `hpo status {name} --json` counts them from 0")
    path = checkpoint_directory(settings.home, study, trial.slot) / CHECKPOINT_NAME
    if not path.exists():
        raise StorageError(
            f"trial {number} of {name} is {trial.state.value} and has no checkpoint on this machine: there is one only "
            "until the trial has ended, on the machine that trains it"
        )
    return path


def stop(settings: Settings, storage_url: str | None, name: str) -> Status:
    """Give out no more trials; those under way end normally."""
    with open_existing(settings, storage_url, name) as service:
        service.find(name)
        service.control.decide(name, StudyState.STOPPED, "stopped by hpo stop", {})
        # Also where its page in the dashboard was deleted: then this is the way to be rid of it.
        with suppress(StudyGoneError):
            service.claims(name).publish()
        return service.status(name)


def resume(settings: Settings, storage_url: str | None, name: str, cap: int | None) -> Status:
    """Give out trials again, whatever the study was stopped by; a convergence stays overridden."""
    with open_existing(settings, storage_url, name) as service:
        study, control = service.find(name), service.control
        new_cap, used = study.cap if cap is None else cap, control.counts(name).used
        if new_cap <= used and (cap is not None or study.state is StudyState.FINISHED):
            raise StorageError(
                f"study {name} has used {used} trials, so a cap of {new_cap} leaves none: "
                f"resume it with --trials above {used}"
            )
        if new_cap > LARGEST_CAP:
            raise StorageError(f"--trials is a cap of at most {LARGEST_CAP:,}, not {new_cap}: take a smaller one")
        spec = Spec.model_validate({**study.spec, "trials": new_cap})
        off = study.convergence_off or study.state is StudyState.CONVERGED
        resumed = replace(
            study, cap=spec.trials, spec=spec.as_json(), fingerprint=spec.fingerprint, convergence_off=off
        )
        control.resume(resumed, "resumed" + (", without the convergence rule" if off else ""))
        service.claims(name).publish()
        return service.status(name)


def reap(settings: Settings, storage_url: str | None) -> int:
    """Put back the trials of dead workers in all studies that have any; return how many."""
    if is_untouched(settings, storage_url):
        return 0
    with open_service(settings, storage_url) as service:
        return sum(_settle(service, work.study) for work in service.control.open_work())


def _settle(service: Service, name: str) -> int:
    try:
        return service.claims(name).settle()
    except StudyGoneError:
        # A worker that passes raises the alert; the other studies are settled all the same.
        return 0


def drain(settings: Settings, storage_url: str | None, count: int, host: str | None, *, everywhere: bool) -> int:
    """Ask workers to leave after their trial, the idle first; return how many were asked.

    Args:
        settings: of this machine.
        storage_url: where they look for work.
        count: how many.
        host: of this host; default: of this one.
        everywhere: of any host.
    """
    if is_untouched(settings, storage_url):
        return 0
    with open_service(settings, storage_url) as service:
        wanted, lost_after = host or this_host(), settings.lost_after_seconds
        living = [worker for worker in service.control.workers() if not is_dead(worker, lost_after)]
        among = [worker.id for worker in living if everywhere or worker.host == wanted]
        return service.control.ask_to_leave(among, count)


def dashboard(
    settings: Settings,
    storage_url: str | None,
    listener: "Listener",
    *,
    writable: bool,
    announce: Callable[[], None],
) -> None:
    """Serve the dashboard until this process is told to leave; `announce` is called when it answers."""
    from hpo.dashboard import serve

    none_yet = StorageError("no study yet: `hpo run quickstart` makes one")
    if is_untouched(settings, storage_url):
        raise none_yet
    with open_storage(settings, storage_url) as storage:
        control_schema.is_ready(storage.engine)
        # Who looks makes no tables.
        if optuna_version(storage.engine) is None:
            raise none_yet
        serve(storage, listener, writable=writable, announce=announce)
