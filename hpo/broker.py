"""The broker of a fleet: one process that takes trials, and writes down their ends, for all workers of a machine.

    worker ──take──> broker ──> the study's lock, Optuna, the control schema
           <──claim──
           ──write_end, follow_up, report──>

Each worker by itself would hold every study once, and read what all others have ended before it proposes. The broker
decides nothing that a worker could not: one that dies loses no more than a worker that dies while it takes a trial,
and the next broker, or any worker elsewhere, goes on. Beats are not its business: a worker says itself that it lives.
"""

import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from hpo.advisory_lock import LockGivenUpError
from hpo.broker_client import Answer, Taken
from hpo.claims import Claim
from hpo.fork_server import Channel, Exited, Fork, ForkFailedError, Raised, Said, fork
from hpo.opening import open_patiently
from hpo.pulse import Pulse
from hpo.records import Cause, Outcome
from hpo.settings import Settings
from hpo.stopping import StopSignals
from hpo.storage import database_away
from hpo.trial_source import AskAgainError
from hpo.worker_log import log_to
from hpo.worker_options import WorkerOptions
from hpo.worklist import Worklist

_LOG = logging.getLogger("hpo.worker")

# That all of the pool's connections are in use for half a minute is also the database's doing.
_AWAY: tuple[type[Exception], ...] = (*database_away(), NoConnectionError)
# What is said to the worker as it is: it knows what to do.
_SAID: tuple[type[Exception], ...] = (KeyError, UpdateFinishedTrialError, LockGivenUpError)
# How long a worker that calls before the storage is open waits for that, in seconds.
_OPENING_SECONDS = 5.0
# How soon the broker notices that it has nobody left, in seconds.
_LOOK_SECONDS = 0.05
# How soon it notices that the fork server is gone.
_SERVER_LOOK_SECONDS = 1.0

READY = "ready"


class BrokerFailedError(RuntimeError):
    """The broker could not do what it was asked, and nobody has thought of why; the message is its traceback."""


def start(
    server_address: str, address: str, options: WorkerOptions, settings: Settings, said: Callable[[Any], None]
) -> Fork:
    """Start a broker, and return when it can be called.

    Args:
        server_address: of the fork server.
        address: of the broker: a socket in a directory of its own. Workers go on with the next broker at this address.
        options: of the workers.
        settings: of this machine.
        said: takes the lines that the broker logs before it can be called.

    Raises:
        OSError: there is no fork server.
        ForkFailedError: the broker has ended.
    """
    made = fork(server_address, "hpo.broker:work_in_fork", address, options, settings)
    while (message := made.receive()) != Said(READY):
        if isinstance(message, Raised | Exited):
            raise ForkFailedError(f"the broker could not be started: {message}")
        if isinstance(message, Said):
            said(message.value)
    return made


def work_in_fork(channel: Channel, address: str, options: WorkerOptions, settings: Settings) -> None:
    """Serve workers at this address until it is told to leave, or whoever started the fork is gone.

    Says `READY` as soon as it can be called. Workers that are still there, to give their trials back, are served.
    """
    stop, over = StopSignals(), threading.Event()
    log_to(channel)

    def hear(word: object) -> None:
        stop.heard(word)
        if word == "leave":
            over.set()

    def gone() -> None:
        stop.gone()
        over.set()

    channel.listen(hear, gone)
    Broker(address, options, settings, stop).serve(lambda: channel.say(READY), over)


class Broker:
    """Serves workers, a thread each.

    Args:
        address: of its socket; that of another broker is replaced.
        options: of the workers.
        settings: of this machine.
        stop: what the workers are told; with the first word it waits for nobody's lock.
    """

    def __init__(self, address: str, options: WorkerOptions, settings: Settings, stop: StopSignals) -> None:
        self._address, self._options, self._settings, self._stop = Path(address), options, settings, stop
        self._worklist: Worklist | None = None
        self._opened = threading.Event()
        # What a study's claims remember is for one at a time; the ends of trials need none of it.
        self._taking = threading.Lock()
        self._clients = 0
        self._counting = threading.Lock()

    def serve(self, ready: Callable[[], None], over: threading.Event) -> None:
        """Serve until it is over, or the fork server has died, and nobody is connected any more."""
        server, listener = os.getppid(), socket.socket(socket.AF_UNIX)
        self._address.unlink(missing_ok=True)
        listener.bind(str(self._address))
        listener.listen(128)
        mine = self._address.stat().st_ino
        threading.Thread(target=self._accept, args=(listener,), name="accept", daemon=True).start()
        ready()
        with ExitStack() as stack:
            self._open(stack)
            while not over.wait(_SERVER_LOOK_SECONDS) and os.getppid() == server:
                pass
            while self._clients:
                time.sleep(_LOOK_SECONDS)
        with suppress(OSError):
            # The command may have been killed: nobody else would remove the socket. It is another broker's, it may be.
            if self._stop.abandon.is_set() and self._address.stat().st_ino == mine:
                self._address.unlink()
                self._address.parent.rmdir()

    def _open(self, stack: ExitStack) -> None:
        given = self._options.storage_url, self._settings, self._stop
        storage = open_patiently(stack, *given, at_stake=True)
        if storage is not None:
            # It beats for nobody, and tells whether this process was cut off: others are silent then as well.
            pulse = Pulse(storage.engine, "", self._settings.beat_seconds, _Deaf(), dict)
            stack.enter_context(pulse)
            self._worklist = Worklist(storage, self._options, self._settings, pulse.connected_seconds, self._stop)
            self._worklist.warm_up()
            self._opened.set()

    def _accept(self, listener: socket.socket) -> None:
        try:
            while True:
                connection: Connection[Any, Any] = Connection(listener.accept()[0].detach())
                with self._counting:
                    self._clients += 1
                threading.Thread(target=self._attend, args=(connection,), name="client", daemon=True).start()
        except BaseException:
            # No more files, or threads. A broker that cannot be reached is worse than none: the next one is started.
            _LOG.exception("the broker can take no more calls")
            os._exit(1)

    def _attend(self, connection: "Connection[Any, Any]") -> None:
        given: Claim | None = None
        try:
            with connection:
                while True:
                    name, *arguments = connection.recv()
                    given, answer = None, self._answer(connection, name, arguments)
                    if isinstance(answer.value, Taken):
                        given = answer.value.claim
                    connection.send(answer)
        except EOFError:
            pass
        except OSError:
            # It has hung up before it read the answer; one that has read it ends with an end of file.
            if given is not None:
                self._put_back(given)
        finally:
            with self._counting:
                self._clients -= 1

    def _answer(self, connection: "Connection[Any, Any]", name: str, arguments: list[Any]) -> Answer:
        if name != "take":
            return self._call(name, arguments)
        with self._taking:
            # A worker that waits for its answer says nothing: there is something to read only when it has hung up.
            if self._stop.suspend.is_set() or connection.poll(0):
                raise ConnectionAbortedError
            return self._call(name, arguments)

    def _call(self, name: str, arguments: list[Any]) -> Answer:
        if not self._opened.wait(0 if self._stop.suspend.is_set() else _OPENING_SECONDS):
            return Answer(error=AskAgainError("the database is away"))
        worklist = self._worklist
        assert worklist is not None
        try:
            value = getattr(worklist, name)(*arguments)
        except _AWAY as error:
            return Answer(error=AskAgainError(f"the database is away: {type(error).__name__}"))
        except _SAID as error:
            return Answer(error=type(error)(*error.args))
        except Exception:  # whatever it is, the worker fails with it, as it would by itself
            return Answer(error=BrokerFailedError(traceback.format_exc()))
        if name == "take":
            if value is not None:
                value = replace(value, left=value.left - self._clients + 1)
            return Answer(Taken(value, frozenset(worklist.claims), worklist.server_gone))
        return Answer(value)

    def _put_back(self, claim: Claim) -> None:
        """Let a trial wait again whose worker has not heard of it; it is reaped as lost where that can't be done."""
        outcome = Outcome(Cause.INTERRUPTED, message="its worker had to go before it heard of it")
        ends_at = time.monotonic() + self._settings.grace_seconds
        while time.monotonic() < ends_at:
            answer = self._call("write_end", [claim.study, claim.trial, outcome])
            if not isinstance(answer.error, AskAgainError | LockGivenUpError):
                return
            time.sleep(_LOOK_SECONDS)


class _Deaf:
    """Nobody wakes the broker, and nobody asks it to leave: that is said to the workers."""

    def work(self) -> None: ...

    def leave(self) -> None: ...
