"""Whether a search has come to its end: it has converged, or its cap is used. Decisions on records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo.configurations import Configurations
from hpo.convergence import SPREAD_TOLERANCE, Convergence, check_early_stopping_convergence
from hpo.output import count
from hpo.records import Origin, StudyRecord, StudyState, TrialRecord, TrialState
from hpo.repeats import Repeats, Step, once_each, seed_noise
from studies.spec import Spec


@dataclass(frozen=True)
class End:
    """That a search ends now, as what, and why."""

    state: StudyState
    reason: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class SearchEnd:
    """The rules of one study. What it keeps changes nothing but the time that the next look takes."""

    spec: Spec
    repeats: Repeats
    _kept: Configurations = field(default_factory=Configurations, init=False, repr=False, compare=False)

    def look(self, study: StudyRecord, records: Sequence[TrialRecord]) -> tuple[End | None, Step]:
        """Return whether the search ends now, and what repeats are due before it does."""
        verdict = None
        if not study.convergence_off and self._may_have_converged(records):
            verdict = self.convergence(records)
        step = self.repeats.step(records, study.cap, converged=bool(verdict))
        return (None if step.is_due else self._end(study, records, verdict)), step

    def _end(self, study: StudyRecord, records: Sequence[TrialRecord], verdict: Convergence | None) -> End | None:
        if verdict:
            evidence = {**verdict.evidence(), **self.repeats.evidence(records)}
            return End(StudyState.CONVERGED, verdict.reason, evidence)
        if len(records) < study.cap:
            # Nearly always: 10,000 need not be asked whether they use a slot.
            return None
        used = [record for record in records if record.uses_slot]
        if len(used) < study.cap or any(record.is_open for record in used):
            return None
        complete = sum(record.state is TrialState.COMPLETE for record in used)
        failed, pruned = (sum(r.state is state for r in used) for state in (TrialState.FAILED, TrialState.PRUNED))
        reason = f"the cap of {count(study.cap, 'trial')} is used: {complete} complete"
        reason += (f", {pruned} pruned" if pruned else "") + (f", {failed} failed for good" if failed else "")
        counted = {"complete": complete, "failed": failed, "cap": study.cap} | ({"pruned": pruned} if pruned else {})
        return End(StudyState.FINISHED, reason, {**counted, **self.repeats.evidence(records)})

    def _may_have_converged(self, records: Sequence[TrialRecord]) -> bool:
        """Return False where the scores alone rule it out: nearly always, and in a hundredth of the time."""
        self._kept.take_in(records)
        rule = self.spec.early_stop
        best = self._kept.best(rule.top_k, self.spec.direction)
        if self._kept.complete() < rule.patience or len(best) < rule.top_k:
            return False
        return best[-1] - best[0] <= rule.threshold + SPREAD_TOLERANCE

    def convergence(self, records: Sequence[TrialRecord]) -> Convergence:
        """Apply the study's convergence rule to all trials; repeats change a mean, and are no evidence of search."""
        complete = [record for record in once_each(records) if record.state is TrialState.COMPLETE]
        rule, noise = self.spec.early_stop, seed_noise(records)
        return check_early_stopping_convergence(
            [record.score for record in complete],
            patience=rule.patience,
            threshold=rule.threshold,
            top_k=rule.top_k,
            configurations=[record.key for record in complete],
            open_forced=sum(record.origin is Origin.FORCED and record.is_open for record in records),
            direction=self.spec.direction,
            seed_noise=noise.standard_deviation if noise else None,
        )
