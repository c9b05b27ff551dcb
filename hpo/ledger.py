"""The trials of one study, read again only where they can have changed.

A trial that has ended never changes. So whoever reads often keeps the ended ones, and asks the database for those that
had not ended and for new ones: with 10,000 trials stored that is a few rows instead of all.
"""

import threading

from hpo.control import Control
from hpo.records import TrialRecord, TrialState


class Ledger:
    """All trials of a study, in the order of their numbers; for any number of threads."""

    def __init__(self, control: Control, study: str) -> None:
        self._control, self._study = control, study
        self._known: dict[int, TrialRecord] = {}
        self._running: set[int] = set()
        self._waiting: set[int] = set()
        self._replaced: set[int] = set()
        self._in_state = (
            (TrialState.RUNNING, self._running),
            (TrialState.WAITING, self._waiting),
            (TrialState.REPLACED, self._replaced),
        )
        self._lock = threading.Lock()

    def read(self) -> list[TrialRecord]:
        """Return all trials as the database has them now."""
        with self._lock:
            last = max(self._known, default=-1)
            total, changed = self._control.changed_trials(self._study, last, self._running, self._waiting)
            self._take_in(changed)
            if len(self._known) != total:
                # One was enqueued by hand in the moment in which a later one was made, and got its slot after that one.
                for known in (self._known, self._running, self._waiting, self._replaced):
                    known.clear()
                self._take_in(self._control.trials(self._study))
            return list(self._known.values())

    @property
    def slots_begun(self) -> int:
        """In how many slots there was a trial that somebody had begun, when the trials were last read."""
        return len(self._known) - len(self._waiting) - len(self._replaced)

    @property
    def waiting(self) -> list[TrialRecord]:
        """The trials that waited when they were last read, in the order of their numbers."""
        with self._lock:
            return [self._known[number] for number in sorted(self._waiting)]

    def _take_in(self, trials: list[TrialRecord]) -> None:
        for trial in trials:
            self._known[trial.number] = trial
            for state, numbers in self._in_state:
                (numbers.add if trial.state is state else numbers.discard)(trial.number)
