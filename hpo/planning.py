"""`hpo fleet plan`: this machine, and the studies that wait for it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from hpo.control import Control
from hpo.fleet_plan import DEFAULT_SEARCH, FleetPlan, plan_fleet
from hpo.fork_server import ForkServer, call
from hpo.machine import own_processes, read_machine
from hpo.preflight import allowance_of
from hpo.presence import is_dead, this_host
from hpo.service import Service, is_untouched, open_existing
from hpo.settings import Settings
from hpo.trial_sizes import Search, searches_of
from studies.declaration import Prepared, declare
from studies.memory import fit_micro_batches
from studies.spec import Spec

_MIB = 2**20


Working = Callable[[str], AbstractContextManager[None]]


def plan(
    settings: Settings, storage_url: str | None, names: Sequence[str], workers: int | None, working: Working
) -> FleetPlan:
    """Return the plan for this machine and these studies; without names for all open ones.

    Where there is none, it is for a study of all budgets, as it would be made by default. `working` shows that
    something takes a while.

    Raises:
        UnknownStudyError: a study is not there.
    """
    own = own_processes()
    machine = read_machine(own=own)
    if not names and is_untouched(settings, storage_url):
        return plan_fleet(machine, [_default_search(settings, working)], workers=workers)
    with open_existing(settings, storage_url, names[0] if names else None) as service:
        studies = [service.find(name) for name in names or service.control.open_studies()]
        searches = searches_of(service.control, studies)
        on_cards = _on_cards(service, settings.lost_after_seconds)
    return plan_fleet(
        machine,
        searches or [_default_search(settings, working)],
        workers=workers,
        card_bytes=on_cards,
        at_work=len(own),
    )


def _default_search(settings: Settings, working: Working) -> Search:
    """Return a study of all budgets, with its models counted as they are before one is made; nothing is written."""
    spec = Spec(name=DEFAULT_SEARCH)
    declaration = declare(spec)
    with ForkServer(declaration.preload) as server:
        with working("loading"):
            server.wait_until_ready()
        with working("counting the models of the default budgets"):
            prepared: Prepared = call(server.address, "hpo.trial:prepare", declaration.preparation, spec, None)
        prepared = fit_micro_batches(spec, prepared, allowance_of(settings, server))
    return Search(spec, asdict(prepared), spec.trials)


def _on_cards(service: Service, lost_after_seconds: float) -> dict[str, int]:
    """Return the most that the trials of this machine's workers hold on its cards, by budget, as they said last."""
    found: dict[str, int] = {}
    for worker in service.control.workers():
        held = worker.vitals.get("trial_gpu_mb")
        if held and worker.trial and worker.host == this_host() and not is_dead(worker, lost_after_seconds):
            budget = _budget(service.control, *worker.trial)
            found[budget] = max(found.get(budget, 0), round(held * _MIB))
    return found


def _budget(control: Control, study: str, number: int) -> str:
    trial = control.trial(study, number)
    values: dict[str, Any] = {} if trial is None else {**trial.attributes, **trial.params}
    return str(values.get("budget"))
