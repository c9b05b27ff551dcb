"""Where a worker gets its trials from, and to whom it says how they ended."""

from typing import Protocol

from hpo.claims import Claim
from hpo.records import Outcome, TrialRecord


class AskAgainError(Exception):
    """Nothing can be taken or written down now; later it may."""


class TrialSource(Protocol):
    """The open studies: `hpo.worklist` for a worker that is alone, `hpo.broker_client` for one of several."""

    server_gone: bool
    """Whether the fork server did not answer."""

    def take(self, worker: str) -> Claim | None:
        """Give a trial to this worker, which holds none; None where there is none to give."""

    def write_end(self, study: str, trial: TrialRecord, outcome: Outcome) -> bool:
        """Write down how a trial ended; return False when its worker does not hold it any more.

        Raises:
            KeyError: there is no such study any more.
        """

    def follow_up(self, study: str, number: int) -> None:
        """Do what follows the end of a trial and need not be waited for: tell Optuna, and clear up.

        Raises:
            KeyError: there is no such study or trial any more.
        """

    def report(self, study: str, number: int, value: float, step: int) -> None:
        """Pass an intermediate value on to Optuna."""

    def works_on(self, study: str) -> bool:
        """Return whether trials of that study can be run here, as far as this is known."""
