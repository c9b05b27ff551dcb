"""Objectives that learn step by step, with a file of what they did; hopeless ones learn next to nothing."""

import math
import time
from collections.abc import Mapping
from typing import Any

from studies.objective import PrunedError

STEPS = 20


def is_hopeless(params: Mapping[str, Any]) -> bool:
    """The highest learning rate, which is forced, and half of what is sampled."""
    return float(params["learning_rate"]) > 9e-4 or _is_odd(params)


def _is_odd(params: Mapping[str, Any]) -> bool:
    """No sampler finds out what that has to do with the score, and none of the forced is odd."""
    return round(float(params["dropout"]) * 10_000) % 2 == 1


def final_score(params: Mapping[str, Any]) -> float:
    """A 2M is far behind every 750k: within its budget it is as good as it can be."""
    level = 0.8 if params["budget"] == "750k" else 0.5
    return level - 0.2 * is_hopeless(params) + 0.01 * float(params["dropout"])


def learn(params: Mapping[str, Any], context: Any) -> float:
    """Reports after every step, and asks whether to stop."""
    score = 0.0
    for step in range(1, STEPS + 1):
        # The word comes from another process, and on a busy machine that takes its time.
        time.sleep(0.5 if step > 8 and _is_odd(params) else 0.01)
        score = final_score(params) * (1 - math.exp(-step / 4))
        context.report(score, step)
        if context.should_stop():
            context.checkpoint_directory.mkdir(parents=True, exist_ok=True)
            (context.checkpoint_directory / "state").write_text("saved in vain")
            context.record(steps=step, for_good=context.ends_for_good())
            raise PrunedError(f"stopped at step {step}")
    context.record(steps=STEPS)
    return score


def becomes_no_number(params: Mapping[str, Any], context: Any) -> float:
    """Reports NaN in the middle, and would go on for long."""
    context.report(0.5, 1)
    context.report(math.nan, 2)
    time.sleep(60)
    return 0.5


def waits_for_word(params: Mapping[str, Any], context: Any) -> float:
    """Returns what it has when it is told to stop."""
    context.report(0.25, 1)
    for _ in range(1200):
        if context.should_stop():
            return 0.25
        time.sleep(0.05)
    return 1.0


def asks_nobody(params: Mapping[str, Any], context: Any) -> float:
    """Never asks whether to stop."""
    for step in range(1, 21):
        context.report(0.25, step)
        time.sleep(0.02)
    return 0.25
