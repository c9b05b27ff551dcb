"""Whether a trial is tried again, and as what. Pure decisions on records."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpo.records import Cause, TrialRecord, TrialState
from studies.declaration import Declaration, Derived, derive


@dataclass(frozen=True)
class Attempts:
    """The rule of one study.

    A trial that failed or was lost is tried again with the same parameters, `max_attempts` times in all. One that ran
    out of memory is tried again smaller, with the same result, for as long as it can be made smaller; that uses up no
    attempt. One that was interrupted was no attempt.
    """

    declaration: Declaration
    max_attempts: int
    derived: Sequence[Derived]

    def values(self, trial: TrialRecord) -> dict[str, Any]:
        """Return what the objective is called with: the parameters, what follows, and what memory has changed in it."""
        derived = derive(trial.params, tuple(self.derived))
        return {**trial.params, **derived, **trial.attributes.get("made_lighter", {})}

    def runs_again(self, trial: TrialRecord, cause: Cause | None) -> bool:
        """Return whether the same parameters are worth another attempt after this end."""
        if cause is None or not cause.retried:
            return False
        if cause is Cause.OUT_OF_MEMORY:
            return self._lighter(trial) is not None
        tries = trial.attempt - trial.attributes.get("memory_retries", 0)
        return cause is Cause.INTERRUPTED or tries < self.max_attempts

    def successor(self, trial: TrialRecord, cause: Cause) -> TrialRecord:
        """Return the trial that waits in place of one that ended so; its number is not known yet."""
        attributes = {**trial.attributes, "retry_of": trial.number, "retry_cause": cause.value}
        if cause is Cause.OUT_OF_MEMORY:
            lighter = self._lighter(trial) or {}
            retries = trial.attributes.get("memory_retries", 0) + 1
            attributes |= {**lighter, "made_lighter": lighter, "memory_retries": retries}
        return replace(
            trial,
            turn=trial.turn + 1,
            attempt=trial.attempt + (cause is not Cause.INTERRUPTED),
            state=TrialState.WAITING,
            worker=None,
            attributes=attributes,
        )

    def as_run(self, trial: TrialRecord, successor: TrialRecord) -> dict[str, Any]:
        """Return what a successor's record has to say otherwise where it gets the score of the trial before it."""
        known, smaller = trial.attributes.get("made_lighter", {}), successor.attributes.get("made_lighter", {})
        if known == smaller:
            return {}
        values = self.values(trial)
        return {**{name: values[name] for name in smaller if name in values}, "made_lighter": known}

    def _lighter(self, trial: TrialRecord) -> dict[str, int] | None:
        return self.declaration.lighter(self.values(trial))


def final_state(cause: Cause | None) -> TrialState:
    """Return the state of a trial that ended so for good."""
    if cause is None:
        return TrialState.COMPLETE
    return TrialState.PRUNED if cause is Cause.PRUNED else TrialState.FAILED


def judgement(cause: Cause | None) -> dict[str, Any]:
    """Return what is stored beside the end of a trial that is not tried again."""
    return {"infeasible": True} if cause is Cause.OUT_OF_MEMORY else {}
