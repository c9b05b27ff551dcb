"""A fork server: one process that has loaded the heavy modules once; everything else is forked from it.

Importing torch and neuralforecast takes 4 to 6 seconds and 800 MB; a fork of a process that has them takes
milliseconds and shares the memory. Python's own forkserver can't be shared: a process that it forked would start
a second server. Here any process that knows the address may ask for a fork, so workers are forks, and the trials
that they start are forks of the same server.

A connection is the life of a fork. The client sends `(callable name, arguments)`; the fork talks back over the same
connection; when it has ended the server appends its exit code. A fork whose client has gone ends at once, and the
server ends when its owner has.
"""

import contextlib
import faulthandler
import gc
import importlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from typing import Any, Self

from budgets.errors import InputError

_PATIENCE_SECONDS = 2.0


class ForkFailedError(RuntimeError):
    """A fork died, or raised what no user could have prevented; the message says how."""


@dataclass(frozen=True)
class Started:
    """The fork is running."""

    pid: int


@dataclass(frozen=True)
class Said:
    """The fork sent a value while it ran."""

    value: Any


@dataclass(frozen=True)
class Returned:
    """The callable has returned."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """The callable raised; `error` is the exception where it is an `InputError`."""

    kind: str
    message: str
    traceback: str
    error: InputError | None = None


@dataclass(frozen=True)
class Exited:
    """The process is gone; a negative code is the signal that ended it. Always the last message."""

    code: int


Message = Started | Said | Returned | Raised | Exited


class Channel:
    """A fork's line to whoever started it."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def say(self, value: object) -> None:
        """Send a value; a client that has gone ends this process."""
        self.put(Said(value))

    def mention(self, value: object) -> None:
        """Send a value that nobody has to hear: this process goes on where the client has gone."""
        with contextlib.suppress(OSError):
            self._send(Said(value))

    def put(self, message: Message) -> None:
        """Send a message; a client that has gone ends this process."""
        try:
            self._send(message)
        except OSError:
            os._exit(1)

    def _send(self, message: Message) -> None:
        with self._lock:
            self._connection.send(message)

    def listen(self, heard: Callable[[Any], None], gone: Callable[[], None]) -> None:
        """Call `heard` with everything that the client sends, and `gone` when it is there no more."""

        def receive() -> None:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    heard(self._connection.recv())
            gone()

        threading.Thread(target=receive, name="channel", daemon=True).start()


class Fork:
    """A process forked from the server, seen from the process that asked for it."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.connection = connection
        self.pid: int | None = None
        self.exit_code: int | None = None

    def begin(self, target: str, *arguments: object) -> None:
        """Have it call `module:callable(channel, *arguments)`; once.

        Raises:
            OSError: it is gone, and the server with it.
        """
        self.connection.send((target, arguments))

    def dismiss(self) -> None:
        """Let a fork go that was given nothing to do; it ends by itself."""
        self.connection.close()

    def receive(self, timeout: float | None = None) -> Message | None:
        """Return the next message, or None when `timeout` seconds have passed without one.

        A server that dies takes its line with it: the fork then counts as killed.
        """
        if self.exit_code is not None:
            return Exited(self.exit_code)
        if not self.connection.poll(timeout):
            return None
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            message = Exited(-signal.SIGKILL)
        if isinstance(message, Started):
            self.pid = message.pid
        if isinstance(message, Exited):
            self.exit_code = message.code
            self.connection.close()
        return message

    def send(self, value: object) -> None:
        """Send a value to the fork; one that is gone already is not an error."""
        with contextlib.suppress(OSError):
            self.connection.send(value)

    def kill(self) -> list[Message]:
        """End the process at once, wait until it is gone, and return what it had still sent."""
        late: list[Message] = []
        while self.pid is None and self.exit_code is None:
            self._keep(late)
        if self.exit_code is None and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        while self.exit_code is None:
            self._keep(late)
        return late

    def _keep(self, late: list[Message]) -> None:
        message = self.receive()
        if message is not None:
            late.append(message)


def spare_fork(address: str) -> Fork:
    """Ask the server at `address` for a fork that waits to be told what to do, and return without waiting for it.

    Raises:
        OSError: there is no server.
    """
    return Fork(Client(address, family="AF_UNIX"))


def fork(address: str, target: str, *arguments: object) -> Fork:
    """Ask the server at `address` to call `module:callable(channel, *arguments)` in a fork of it."""
    made = spare_fork(address)
    made.begin(target, *arguments)
    return made


def call(address: str, target: str, *arguments: object) -> Any:  # noqa: ANN401  whatever the callable returns
    """Call `module:callable(channel, *arguments)` in a fork and return its result.

    Raises:
        InputError: as the callable raised it.
        ForkFailedError: the callable raised anything else, or its process died.
    """
    running = fork(address, target, *arguments)
    outcome: Message | None = None
    while not isinstance(message := running.receive(), Exited):
        outcome = message if isinstance(message, Returned | Raised) else outcome
    if isinstance(outcome, Returned):
        return outcome.value
    if isinstance(outcome, Raised):
        raise outcome.error or ForkFailedError(f"{outcome.kind}: {outcome.message}\n{outcome.traceback}")
    raise ForkFailedError(f"the process of {target} ended with code {message.code} before it was done")


class ForkServer:
    """Starts the server and ends it; a context manager."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._preload = tuple(preload)
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> Self:
        self._start()
        return self

    def start_again(self) -> None:
        """Start another server in place of one that has died, and wait until it is ready."""
        self._end()
        self._start()
        self.wait_until_ready()

    def _start(self) -> None:
        self.address = str(Path(tempfile.mkdtemp(prefix="hpo-fork-")) / "socket")
        # Its own session: Ctrl-C in the terminal is for the command, which then tells its workers.
        command = [sys.executable, "-m", "hpo.fork_server", self.address, *self._preload]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def wait_until_ready(self) -> None:
        """Return when the modules are imported and forks can be asked for.

        Raises:
            ForkFailedError: the server ended instead; its own message is on standard error.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            line = self._process.stdout.readline()
            self._process.stdout.close()
            if not line:
                raise ForkFailedError(f"the fork server ended while it loaded {', '.join(self._preload)}")

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            # Interrupted while it imports, when it does not look at its input yet.
            self._process.kill()
            self._process.wait()
        shutil.rmtree(Path(self.address).parent, ignore_errors=True)


def serve(address: str, preload: Sequence[str]) -> None:
    """Import the modules, then fork whenever somebody connects, until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_sigterm_to_the_owner()
    # Whatever the modules print, the first line of standard output says that they are loaded.
    ready = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for module in preload:
        importlib.import_module(module)
    # A collection in a fork would write to every object it looks at, and so copy the pages that forks share.
    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, Connection[Any, Any]] = {}
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(address)
        listener.listen(128)
        for source in (listener, sys.stdin, wake_read):
            selector.register(source, selectors.EVENT_READ)
        os.write(ready, b"ready\n")
        os.close(ready)
        while True:
            sources = [key.fileobj for key, _ in selector.select()]
            if wake_read in sources:
                os.read(wake_read, 4096)
                _bury(children)
            if sys.stdin in sources:
                # The owner may have been killed: nobody else would remove the socket.
                shutil.rmtree(Path(address).parent, ignore_errors=True)
                return
            if listener in sources:
                _fork_one(Connection(listener.accept()[0].detach()), children, listener)


def _fork_one(
    connection: "Connection[Any, Any]", children: "dict[int, Connection[Any, Any]]", listener: socket.socket
) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        children[pid] = connection
        return
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _leave_sigterm_to_the_owner()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # A fork that held the listener would let clients wait in vain when the server is gone.
        listener.close()
        for other in children.values():
            other.close()
        code = _run(connection)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave_sigterm_to_the_owner() -> None:
    """Ignore SIGTERM in this process, but not in what it may start.

    A service manager sends it to every process of a service. Only the command that was started knows what to do
    then: it tells its workers, and they their trials.
    """
    here = os.getpid()

    def obey_elsewhere(number: int, _frame: object) -> None:
        if os.getpid() != here:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, obey_elsewhere)


def _run(connection: "Connection[Any, Any]") -> int:
    channel = Channel(connection)
    channel.put(Started(os.getpid()))
    faulthandler.enable()
    try:
        try:
            target, arguments = connection.recv()
        except EOFError:
            # Nothing was to be done.
            return 0
        module, _, name = target.partition(":")
        channel.put(Returned(getattr(importlib.import_module(module), name)(channel, *arguments)))
    except Exception as error:  # whatever it is, the client hears of it and decides
        wrong_input = error if isinstance(error, InputError) else None
        channel.put(Raised(type(error).__name__, str(error), traceback.format_exc(), wrong_input))
        return 1
    return 0


def _bury(children: "dict[int, Connection[Any, Any]]") -> None:
    """Collect the dead and tell their clients the exit code."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        connection = children.pop(pid)
        with contextlib.suppress(OSError):
            connection.send(Exited(os.waitstatus_to_exitcode(status)))
        connection.close()


def wait_for_message(forks: Sequence[Fork], timeout: float) -> list[Fork]:
    """Return the forks that have something to say, after at most `timeout` seconds."""
    by_connection = {running.connection: running for running in forks}
    return [by_connection[ready] for ready in wait_for_any(list(by_connection), timeout)]  # type: ignore[index]


if __name__ == "__main__":
    # As hpo.fork_server, not as __main__: messages are pickled under the name that the clients import.
    importlib.import_module("hpo.fork_server").serve(sys.argv[1], sys.argv[2:])
