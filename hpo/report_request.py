"""Having the report of a study put into the dashboard, in a fork: drawing takes memory that a worker must not keep."""

from hpo.errors import StorageError
from hpo.fork_server import ForkFailedError, call
from hpo.settings import Settings


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
