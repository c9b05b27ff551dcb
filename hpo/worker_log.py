"""The lines of a worker's log, on their way to whoever keeps them."""

import logging
from dataclasses import dataclass

from hpo.fork_server import Channel

_LOG = logging.getLogger("hpo.worker")


@dataclass(frozen=True)
class LogLine:
    """One line; `created` is in seconds since the epoch."""

    created: float
    level: str
    message: str


class _ToChannel(logging.Handler):
    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        # A worker whose command was killed has still to give its trial back, and may say so to nobody.
        self._channel.mention(LogLine(record.created, record.levelname, record.getMessage()))


def log_to(channel: Channel) -> None:
    """Send what a worker logs to whoever started it."""
    _LOG.setLevel(logging.INFO)
    _LOG.addHandler(_ToChannel(channel))
    _LOG.propagate = False
