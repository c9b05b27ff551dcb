"""Trials as a table, for whoever explores."""

from collections.abc import Sequence

import pandas as pd

from hpo.report.evidence import Evidence, Trial


def trials_frame(evidence: Evidence, trials: Sequence[Trial] | None = None) -> pd.DataFrame:
    """Return one row a trial: where it comes from, how it ended, what it cost, and its parameters by name.

    Args:
        evidence: of the study.
        trials: these, in their order; default: all, those of Phase 2 included, the best first.
    """
    if trials is None:
        scored = evidence.ranked()
        trials = [*scored, *(trial for trial in evidence.all_trials if trial.score is None)]
    return pd.DataFrame([_row(trial, evidence.score_name) for trial in trials])


def _row(trial: Trial, score_name: str) -> dict[str, object]:
    return {
        "study": trial.study,
        "trial": trial.number,
        "label": trial.label,
        "kind": trial.kind.value,
        "state": trial.state,
        score_name: trial.score,
        "budget": trial.budget,
        "size": trial.size,
        "seed": trial.seed,
        "seconds": trial.seconds,
        **trial.params,
    }
