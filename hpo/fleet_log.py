"""The logs of a fleet: one file a worker and a joint one, in `HPO_HOME/logs`, and the joint one on the terminal.

One process writes them all, so that they can be rotated: ten MiB each, three old ones kept.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from hpo.worker_log import LogLine

_BYTES, _OLD_FILES = 10 * 2**20, 3


class FleetLog:
    """Takes lines and puts each where it belongs."""

    def __init__(self, directory: Path, *, as_json: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._as_json = directory, as_json
        self._joint: list[logging.Handler] = [self._file("fleet"), logging.StreamHandler(sys.stderr)]
        self._single: dict[str, logging.Handler] = {}

    def line(self, worker: str, line: LogLine) -> None:
        """Write one line of one worker."""
        if worker not in self._single:
            self._single[worker] = self._file(worker)
        text = self._json(worker, line) if self._as_json else self._text(worker, line)
        for handler in (*self._joint, self._single[worker]):
            handler.emit(logging.makeLogRecord({"msg": text}))

    def _file(self, name: str) -> logging.Handler:
        return RotatingFileHandler(
            self._directory / f"{name}.log", maxBytes=_BYTES, backupCount=_OLD_FILES, delay=True, encoding="utf-8"
        )

    def _text(self, worker: str, line: LogLine) -> str:
        when = datetime.fromtimestamp(line.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return f"{when} {worker} {line.level}: {line.message}"

    def _json(self, worker: str, line: LogLine) -> str:
        when = datetime.fromtimestamp(line.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": when, "worker": worker, "level": line.level, "message": line.message})
