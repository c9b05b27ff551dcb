"""Writing down how trials end: for good, or put back into the queue with the same parameters."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpo.artifacts import forget_checkpoint, forget_outcome, kept_outcome, move_files
from hpo.attempts import Attempts, final_state, judgement
from hpo.control import Control
from hpo.mirror import Mirror
from hpo.records import Cause, Outcome, TrialRecord, TrialState

# Holds what nobody holds, for the moment between finding a stray trial and putting it back; in the first migration.
NOBODY = "nobody"


class Endings:
    """Those of one study's trials."""

    def __init__(self, control: Control, mirror: Mirror, study: str, attempts: Attempts, home: Path) -> None:
        self._control, self._mirror, self._study = control, mirror, study
        self._attempts, self._home = attempts, home

    def needs_lock(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Return whether the end is only written under the study's lock: it puts the trial back."""
        return self._attempts.runs_again(trial, outcome.cause)

    def write(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Put a trial back or end it for good; return False when it is not held any more."""
        if self._attempts.runs_again(trial, outcome.cause):
            held = self._put_back(trial, outcome)
        else:
            held = self._control.end_trial(
                self._study,
                trial,
                final_state(outcome.cause),
                cause=outcome.cause,
                message=outcome.message,
                score=outcome.score if outcome.cause is None else None,
                attributes={**outcome.attributes, **judgement(outcome.cause)},
            )
            if held:
                forget_checkpoint(self._home, self._study, trial.slot)
        if held:
            forget_outcome(self._home, self._study, trial.number)
        return held

    def give_to_successor(self, trial: TrialRecord, outcome: Outcome, records: Sequence[TrialRecord]) -> None:
        """Complete the trial that waits in place of one that was taken away; called under the study's lock.

        Args:
            trial: that was taken away.
            outcome: with a score.
            records: all trials of the study.
        """
        following = [record for record in records if record.slot == trial.slot]
        if following and following[-1].state is TrialState.WAITING:
            assert trial.worker is not None
            self._control.start_trial(self._study, following[-1].number, trial.worker)
            attributes = {**self._attempts.as_run(trial, following[-1]), **outcome.attributes}
            move_files(self._home, self._study, trial.number, following[-1].number)
            self.write(replace(following[-1], worker=trial.worker), replace(outcome, attributes=attributes))
        forget_outcome(self._home, self._study, trial.number)

    def lose(self, trial: TrialRecord, cause: Cause) -> bool:
        """Take a trial from a worker that is gone; a score that it could not write any more counts."""
        why = f"worker {trial.worker} is gone" if cause is Cause.LOST else "its worker never heard of it"
        return self.write(trial, kept_outcome(self._home, self._study, trial) or Outcome(cause, message=why))

    def rescue(self, number: int, trial: TrialRecord | None) -> bool:
        """Take over a trial whose worker died between asking Optuna and writing down that it holds it."""
        if trial is None:
            # No slot was taken yet: another proposal takes its place.
            self._mirror.discard(number, Cause.LOST.value, "its worker died before it had a slot")
            return False
        self._control.start_trial(self._study, number, NOBODY)
        outcome = Outcome(Cause.INTERRUPTED, message="its worker died before it began")
        return self._put_back(replace(trial, worker=NOBODY), outcome)

    def _put_back(self, trial: TrialRecord, outcome: Outcome) -> bool:
        """Replace a running trial by one with the same parameters that waits; False when it is not held.

        Called under the study's lock: nobody takes the trial away between the look and the replacement.
        """
        cause = outcome.cause
        assert cause is not None
        now = self._control.trial(self._study, trial.number)
        if now is None or now.state is not TrialState.RUNNING or now.worker != trial.worker:
            return False
        successor = self._attempts.successor(trial, cause)
        number = self._mirror.waiting_number(successor)
        if number is None:
            self._mirror.enqueue(successor)
            number = self._mirror.waiting_number(successor)
        assert number is not None
        return self._control.replace_trial(self._study, trial, outcome, replace(successor, number=number))
