"""The trials of one study, read again only where they can have changed.

A trial that has ended never changes. So whoever reads often keeps the ended ones up to the first that has not, and
asks the database for the rest: with 10,000 trials stored that is a few rows instead of all.
"""

from itertools import takewhile

from hpo.control import Control
from hpo.records import TrialRecord


class Ledger:
    """All trials of a study, in the order of their numbers."""

    def __init__(self, control: Control, study: str) -> None:
        self._control, self._study = control, study
        self._settled: list[TrialRecord] = []

    def read(self) -> list[TrialRecord]:
        """Return all trials as the database has them now; called under the study's lock.

        Optuna gives out the lowest waiting number, so no trial appears below one that has begun.
        """
        fresh = self._control.trials(self._study, self._settled[-1].number + 1 if self._settled else 0)
        ended = list(takewhile(lambda trial: not trial.is_open, fresh))
        self._settled += ended
        return self._settled + fresh[len(ended) :]
