"""Recorded studies for whoever explores: one of both phases with a known truth, and an ensemble on real prices."""

from pathlib import Path
from typing import Any, Final

from hpo import launch
from hpo.ensemble import EnsembleOptions, make
from hpo.phase2 import Phase2Options
from hpo.run_view import RunView
from hpo.service import is_untouched, open_service
from hpo.settings import Settings
from studies.spec import Spec

EXAMPLE: Final[dict[str, Any]] = {
    "name": "example",
    "objective": "studies.example:score",
    "trials": 40,
    "seeds": 4,
    # The whole cap: a convergence after twenty would leave little to look at.
    "early_stop": {"patience": 1000},
}
PRICES: Final[dict[str, Any]] = {
    "name": "example-prices",
    "data": {"example": "indices", "tier": "a20"},
    "budgets": ["750k"],
    "trials": 4,
    "forced_extremes": False,
    "training": {"max_steps": 20, "effective_batch": 32, "check_every": 10},
}
_MEMBERS: Final = 3
_PHASE2_TRIALS: Final = 12
_WORKERS: Final = 2


def make_example(home: Path) -> str:
    """Make the study `example` and its Phase 2 in the embedded Postgres of a folder; return the study's name.

    The objective is `studies.example`. What an earlier call has made stays as it is, and what it could not end is
    gone on with.

    Args:
        home: takes the Postgres; a short path on a local disk.
    """
    settings, view, spec = Settings(home=home), RunView(quiet=True), Spec.model_validate(EXAMPLE)
    if not _is_made(settings, spec.name):
        launch.run(spec, settings, None, _WORKERS, view)
        options = Phase2Options(trials=_PHASE2_TRIALS)
        launch.supplement(spec.name, settings, None, options, _WORKERS, view, lambda _plan, _rows: None)
    return spec.name


def make_ensemble_example(home: Path) -> Path:
    """Train four small models on the built-in prices and return the folder of an ensemble of them.

    What an earlier call has made stays as it is.

    Args:
        home: takes the Postgres; a short path on a local disk.
    """
    settings, view, spec = Settings(home=home), RunView(quiet=True), Spec.model_validate(PRICES)
    directory = home / "ensemble"
    if not directory.exists():
        launch.run(spec, settings, None, _WORKERS, view)
        make(spec.name, settings, None, directory, EnsembleOptions(size=_MEMBERS), view.working)
    return directory


def _is_made(settings: Settings, name: str) -> bool:
    if is_untouched(settings, None):
        return False
    with open_service(settings, None) as service:
        children = [service.find(child) for child in service.control.children(name)]
        return bool(children) and all(child.ended for child in children)
