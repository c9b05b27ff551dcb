"""The batch of a trial: explicit in its record, and what is run."""

import math
from collections.abc import Mapping
from typing import Any

from budgets import BatchPlan
from studies.sections import TrainingSpec


def batch_plan(params: Mapping[str, Any], training: TrainingSpec) -> BatchPlan:
    """Return the batch of a trial.

    The effective batch is the one that Phase 2 searches, or the specification's. The micro-batch is what the trial was
    given, for example after it ran out of memory, or the specification's, or else its effective batch; of one that
    Phase 2 searches, what of that divides it.
    """
    effective = int(params.get("effective_batch", training.effective_batch))
    micro = int(params.get("micro_batch", training.micro_batch_size))
    return BatchPlan(effective, math.gcd(min(micro, effective), effective))


def batch_values(plan: BatchPlan) -> dict[str, int]:
    """Return the plan in the words of a trial's record."""
    return {"effective_batch": plan.effective, "micro_batch": plan.micro, "accumulation": plan.accumulation}


def lighter(training: TrainingSpec, values: Mapping[str, Any]) -> dict[str, int] | None:
    """Return what changes in a trial's values so that it takes less memory and gives the same result.

    That is half the micro-batch and twice the accumulation; None where a forward pass takes a single window already.
    """
    halved = batch_plan(values, training).halved()
    return None if halved is None else batch_values(halved)
