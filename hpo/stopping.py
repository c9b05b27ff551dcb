"""How a worker is told to go.

Three words, each including those before it: `leave` lets the trial under way end first, however long that takes;
`suspend` gives it the grace period to end or to save itself; `abandon` puts it back at once.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# First and longest pause between two tries, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


@dataclass
class StopSignals:
    """What somebody else tells a worker; `wake` ends its sleep."""

    leave: threading.Event = field(default_factory=threading.Event)
    suspend: threading.Event = field(default_factory=threading.Event)
    abandon: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    _suspended_at: float = math.inf

    def heard(self, word: object) -> None:
        """Take a word: `leave`, `suspend` or `abandon`."""
        if word == "abandon":
            self.abandon.set()
        if word in {"abandon", "suspend"}:
            self._suspended_at = min(self._suspended_at, time.monotonic())
            self.suspend.set()
        self.leave.set()
        self.wake.set()

    def suspended_for(self, seconds: float) -> bool:
        """Return whether so much time has passed since the first word to suspend or to abandon."""
        return time.monotonic() - self._suspended_at >= seconds

    def terminate(self) -> None:
        """Take a signal: the first one suspends, the second abandons."""
        self.heard("abandon" if self.suspend.is_set() else "suspend")

    def gone(self) -> None:
        """Whoever started the worker is there no more."""
        self.heard("abandon")


class Patience:
    """Waits between the tries of something that does not work now: longer and longer, until it is time to go.

    Who is not told to go waits for ever. Who is has the grace period from then on, and tries often.
    """

    def __init__(self, stop: StopSignals, grace_seconds: float) -> None:
        self._stop, self._grace_seconds = stop, grace_seconds
        self._go_at = math.inf
        self.pause = _FIRST_PAUSE

    def wait(self) -> bool:
        """Sleep until the next try; return False when there is to be none."""
        if self._stop.suspend.is_set():
            self._go_at = min(self._go_at, time.monotonic() + self._grace_seconds)
            self._stop.abandon.wait(max(0.0, min(_FIRST_PAUSE, self._go_at - time.monotonic())))
        else:
            self._stop.suspend.wait(self.pause)
            self.pause = min(2 * self.pause, _LONGEST_PAUSE)
        return not self._stop.abandon.is_set() and time.monotonic() < self._go_at


@contextmanager
def obeying_signals(obey: Callable[[], None]) -> Iterator[None]:
    """Call `obey` for every SIGTERM and Ctrl-C, in a thread of its own.

    Not in the signal's handler: that runs in the middle of whatever the main thread does, and an event that it set
    there could be waiting for a lock that the main thread holds.
    """
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(read, True)

    def pass_on() -> None:
        while os.read(read, 1) != b"\0":
            obey()

    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    old_write = signal.set_wakeup_fd(write)
    thread = threading.Thread(target=pass_on, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old_write)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(write, b"\0")
        thread.join()
        os.close(read)
        os.close(write)
