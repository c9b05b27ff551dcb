"""Having the report of a study put into the dashboard, in a fork: drawing takes memory that a worker must not keep."""

import logging
from collections.abc import Callable

from hpo.control import Control
from hpo.errors import StorageError
from hpo.fork_server import ForkFailedError, call
from hpo.records import StudyState
from hpo.settings import Settings

_LOG = logging.getLogger("hpo.worker")


def request_report(address: str, settings: Settings, storage_url: str | None, study: str) -> str:
    """Put figures and summary of a study that has ended into optuna-dashboard, unless they are there.

    Args:
        address: of a fork server.
        settings: of this machine.
        storage_url: where the study is; None is what the settings say.
        study: its name; with a study of Phase 2 goes the one that it supplements.

    Returns:
        What went wrong, in one line; empty where nothing did. The trials are safe either way.
    """
    try:
        call(address, "hpo.report.publish:publish_in_fork", settings, storage_url, study)
    except (OSError, ForkFailedError, StorageError, ValueError) as error:
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return ""


def settle_reports(control: Control, worker: str, unreported: set[str], report: Callable[[str], str]) -> None:
    """Have the report made of each of these studies that has ended, if this worker has ended its last trial.

    Of many idle workers one then reads all trials, and the report misses none that was under way at the end. A study is
    taken off the list when nothing is left to do for it.

    Args:
        control: of the storage.
        worker: this one's id.
        unreported: studies that it has worked on since their last report.
        report: has the report of a study made; returns what went wrong, or nothing.
    """
    for name in sorted(unreported):
        study = control.study(name)
        if study is not None and (study.state is StudyState.RUNNING or control.counts(name).running):
            continue
        mine = study is not None and study.ended and control.last_to_end(name) == worker
        if fault := report(name) if mine else "":
            _LOG.warning("the report of %s is not in the dashboard: %s", name, fault)
        else:
            unreported.discard(name)
