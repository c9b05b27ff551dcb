"""A worker's line to the broker of its machine; see `hpo.broker`."""

from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from threading import Event
from typing import Any

from hpo.advisory_lock import LockGivenUpError
from hpo.claims import Claim
from hpo.records import Outcome, TrialRecord
from hpo.stopping import StopSignals
from hpo.trial_source import AskAgainError

# How often a worker that waits for an answer looks whether it should go, in seconds: 64 that wait and look four times a
# second take 2.5 % of two cores. Once it should, it waits as long as the second says; the broker goes on without it.
_LOOK_SECONDS, _ANSWER_SECONDS = 1.0, 0.75


class _GivenUpError(AskAgainError):
    """The worker has to go, and was not answered in time."""


@dataclass(frozen=True)
class Taken:
    """What the broker answers who asks for a trial.

    Attributes:
        studies: whose trials can be run here, as far as this is known.
        server_gone: whether the fork server did not answer.
    """

    claim: Claim | None
    studies: frozenset[str]
    server_gone: bool


@dataclass(frozen=True)
class Answer:
    """The value that the call has returned, or what it has raised."""

    value: Any = None
    error: Exception | None = None


class BrokerClient:
    """The trials of this machine's broker, as `hpo.trial_source.TrialSource`; for one thread.

    Every call raises `AskAgainError` while the broker, or the database behind it, is away: it is started again.

    Args:
        address: of the broker.
        stop: what the worker is told. Once it has to go it waits for no trial, and not for ever for anything else.
    """

    def __init__(self, address: str, stop: StopSignals) -> None:
        self._address, self._stop = address, stop
        self._connection: Connection[Any, Any] | None = None
        self._studies: frozenset[str] = frozenset()
        self.server_gone = False

    def take(self, worker: str) -> Claim | None:
        """See `TrialSource`; raises LockGivenUpError where the worker has to go first."""
        try:
            taken: Taken = self._ask(self._stop.suspend, "take", worker)
        except _GivenUpError:
            # What is answered too late goes to nobody, and the broker puts the trial back.
            raise LockGivenUpError from None
        self._studies, self.server_gone = taken.studies, taken.server_gone
        return taken.claim

    def write_end(self, study: str, trial: TrialRecord, outcome: Outcome) -> bool:
        """See `TrialSource`."""
        held: bool = self._ask(self._stop.abandon, "write_end", study, trial, outcome)
        return held

    def follow_up(self, study: str, number: int) -> None:
        """See `TrialSource`."""
        self._ask(self._stop.abandon, "follow_up", study, number)

    def report(self, study: str, number: int, value: float, step: int) -> None:
        """See `TrialSource`."""
        self._ask(self._stop.suspend, "report", study, number, value, step)

    def works_on(self, study: str) -> bool:
        """See `TrialSource`."""
        return study in self._studies

    def _ask(self, word: Event, *call: object) -> Any:  # noqa: ANN401  as the call returns
        """Call, and wait for the answer, until this word has been heard and a moment has passed."""
        try:
            answer = self._exchange(call, word)
        except (OSError, EOFError):
            self.hang_up()
            raise AskAgainError("the broker of this machine is away") from None
        if answer.error is not None:
            raise answer.error
        return answer.value

    def _exchange(self, call: tuple[object, ...], word: Event) -> Answer:
        if self._connection is None:
            self._connection = Client(self._address, family="AF_UNIX")
        self._connection.send(call)
        while not self._connection.poll(_ANSWER_SECONDS if (late := word.is_set()) else _LOOK_SECONDS):
            if late:
                self.hang_up()
                raise _GivenUpError("the broker of this machine does not answer")
        answer: Answer = self._connection.recv()
        return answer

    def hang_up(self) -> None:
        """Let the broker know that nothing follows; the next call connects anew."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
