"""Opening the storage for whoever can wait for it."""

import logging
from contextlib import ExitStack

from hpo.errors import StorageError
from hpo.settings import Settings
from hpo.stopping import Patience, StopSignals
from hpo.storage import Storage, open_storage

_LOG = logging.getLogger("hpo.worker")


def open_patiently(
    stack: ExitStack, storage_url: str | None, settings: Settings, stop: StopSignals, *, at_stake: bool = False
) -> Storage | None:
    """Return the storage as soon as it can be used; None when it is time to go before that.

    Args:
        stack: closes it.
        storage_url: where it is.
        settings: of this machine.
        stop: says when it is time to go.
        at_stake: whether work would be lost without it: then it is tried on for the grace period.
    """
    patience = Patience(stop, settings.grace_seconds if at_stake else 0.0)
    while True:
        try:
            return stack.enter_context(open_storage(settings, storage_url))
        except StorageError as error:
            _LOG.warning("next try in %.1f s: %s", patience.pause, error)
        if not patience.wait():
            return None
