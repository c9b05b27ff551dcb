"""The workers of this machine, and the broker that takes trials for them: forked from one server, and watched.

Whoever dies is started again after a pause that grows. A worker that keeps dying is given up, and an alert says so:
another restart does not mend what kills it. The broker is not given up while workers are there: they hold scores that
it has to write down.
"""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hpo import broker
from hpo.fork_server import Exited, Fork, ForkFailedError, ForkServer, Raised, Said, fork, wait_for_message
from hpo.settings import Settings
from hpo.stopping import StopSignals
from hpo.worker_log import LogLine
from hpo.worker_options import WorkerOptions

# A worker that has died this often within the window is given up.
_DEATHS, _WINDOW_SECONDS = 6, 600.0
# Before a restart, doubled with every death in the window.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# How long the broker is waited for when the last worker has left: it may still be putting back their trials.
_LEAVE_SECONDS = 15.0
# Between two tries to store an alert while the database is away.
_SAY_AGAIN_SECONDS = 5.0


@dataclass
class _Place:
    """One of the fleet's processes, and those that follow it when it dies."""

    label: str
    process: Fork | None = None
    start_at: float | None = 0.0
    deaths: deque[float] = field(default_factory=deque)
    last_words: str = ""


class Fleet:
    """Starts workers and looks after them.

    Args:
        server: that they are forked from; it is started again when it has died.
        options: of every worker; the addresses of the server and the broker are filled in.
        settings: of every worker.
        size: how many.
        log: takes every line that a worker logs, with the worker's label.
        alert: stores what a person should look at, and returns whether it could.
    """

    def __init__(
        self,
        server: ForkServer,
        options: WorkerOptions,
        settings: Settings,
        size: int,
        *,
        log: Callable[[str, LogLine], None] = lambda _label, _line: None,
        alert: Callable[[str], bool] = lambda _message: True,
    ) -> None:
        self._server, self._options, self._settings = server, options, settings
        self._log, self._alert = log, alert
        self._word = ""
        self._unsaid: list[str] = []
        self._say_again_at = 0.0
        self.fault = ""
        self._places = [_Place(f"worker-{number}") for number in range(1, size + 1)]
        self._broker, self._broker_of = _Place("broker", start_at=None), ""
        # The same for every broker that follows: workers that live on have to find the next one.
        self._broker_address = str(Path(tempfile.mkdtemp(prefix="hpo-broker-")) / "socket")
        self._start_due()

    @property
    def size(self) -> int:
        """How many workers are there, or will be after a pause."""
        return sum(place.process is not None or place.start_at is not None for place in self._places)

    @property
    def busy(self) -> bool:
        """Whether there is anything to watch: a worker, or an alert that could not be stored yet."""
        return self.size > 0 or (bool(self._unsaid) and not self._word)

    def watch(self, timeout: float) -> None:
        """Listen to the processes for a while, and start again those whose pause is over."""
        working = {place.process: place for place in (*self._places, self._broker) if place.process is not None}
        if not working:
            time.sleep(timeout)
        for worker in wait_for_message(list(working), timeout):
            self._hear(working[worker], worker)
        self._start_due()
        if self.size == 0:
            self._end_broker()
        self._raise_alerts()

    def obey(self, stop: StopSignals) -> bool:
        """Pass the strongest word on to all workers, once; return whether that was done now."""
        word = "abandon" if stop.abandon.is_set() else "suspend" if stop.suspend.is_set() else ""
        if word == self._word:
            return False
        self._word = word
        for place in self._places:
            place.start_at = None
        for place in (*self._places, self._broker):
            if place.process is not None:
                place.process.send(word)
        if self.size == 0:
            self._end_broker()
        return True

    def _hear(self, place: _Place, worker: Fork) -> None:
        message = worker.receive(0)
        if isinstance(message, Said):
            self._log(place.label, message.value)
        elif isinstance(message, Raised):
            place.last_words = f"{message.kind}: {message.message}"
            self._say(place, "ERROR", message.traceback.strip())
        elif isinstance(message, Exited):
            place.process = None
            if message.code != 0:
                self._died(place, message.code)

    def _died(self, place: _Place, code: int) -> None:
        how = place.last_words or (f"killed by signal {-code}" if code < 0 else f"ended with code {code}")
        place.last_words = ""
        now = time.monotonic()
        place.deaths.append(now)
        while now - place.deaths[0] > _WINDOW_SECONDS:
            place.deaths.popleft()
        self._say(place, "ERROR", f"died: {how}")
        if self._word and place is not self._broker:
            return
        if len(place.deaths) >= _DEATHS and place is not self._broker:
            minutes = _WINDOW_SECONDS / 60
            self.fault = f"{place.label} died {len(place.deaths)} times within {minutes:.0f} minutes ({how})"
            self._say(place, "ERROR", "given up")
            self._unsaid.append(f"{self.fault}: it is not started again, mend the cause and start the fleet anew")
            return
        place.start_at = now + min(_FIRST_PAUSE * 2 ** (len(place.deaths) - 1), _LONGEST_PAUSE)

    def _raise_alerts(self) -> None:
        """Store the alerts; what can't be stored while the database is away is tried again."""
        if self._unsaid and time.monotonic() >= self._say_again_at:
            self._unsaid = [message for message in self._unsaid if not self._alert(message)]
            self._say_again_at = time.monotonic() + _SAY_AGAIN_SECONDS

    def _start_due(self) -> None:
        for place in (self._broker, *self._places):
            if place.start_at is not None and time.monotonic() >= place.start_at:
                place.start_at = None
                try:
                    self._start(place)
                except (OSError, ForkFailedError) as error:
                    place.last_words = str(error).strip()
                    self._died(place, code=1)

    def _start(self, place: _Place) -> None:
        try:
            self._fork(place)
        except OSError:
            # The kernel, short of memory, prefers to kill the largest process: that is the server.
            self._server.start_again()
            self._fork(place)

    def _fork(self, place: _Place) -> None:
        server = self._server.address
        options = replace(self._options, fork_address=server, broker=self._broker_address)
        if self._broker.process is None or self._broker_of != server:
            self._fork_broker(server, options)
        if place is not self._broker:
            place.process = fork(server, "hpo.worker:work_in_fork", options, self._settings)

    def _fork_broker(self, server: str, options: WorkerOptions) -> None:
        if self._broker.process is not None:
            # Its server has died. It stays until those that it serves have left or called the next one.
            self._broker.process.dismiss()
            self._broker.process = None
        log = partial(self._log, self._broker.label)
        self._broker.process = broker.start(server, self._broker_address, options, self._settings, log)
        self._broker_of = server
        if self._word:
            self._broker.process.send(self._word)

    def _end_broker(self) -> None:
        process, self._broker.process, self._broker.start_at = self._broker.process, None, None
        if process is not None:
            process.send("leave")
            ends_at = time.monotonic() + _LEAVE_SECONDS
            while not isinstance(message := process.receive(max(0.0, ends_at - time.monotonic())), Exited):
                if message is None:
                    process.kill()
                    break
        shutil.rmtree(Path(self._broker_address).parent, ignore_errors=True)

    def _say(self, place: _Place, level: str, text: str) -> None:
        self._log(place.label, LogLine(time.time(), level, text))
