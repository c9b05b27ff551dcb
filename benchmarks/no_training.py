"""Objectives that train nothing: what is measured is the service around them.

Each notes the time in its first and in its last line; `no_training:one_second` is one in a specification.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

from studies.objective import TrialContext


def at_once(params: Mapping[str, Any], context: TrialContext) -> float:
    """A trial of no length."""
    return _recorded(params, context, 0.0)


def one_second(params: Mapping[str, Any], context: TrialContext) -> float:
    """A trial that takes a second, and nobody's processor."""
    return _recorded(params, context, 1.0)


def twenty_seconds(params: Mapping[str, Any], context: TrialContext) -> float:
    """A trial as long as those of the demo."""
    return _recorded(params, context, 20.0)


def smooth(params: Mapping[str, Any]) -> float:
    """Return a score with one best place."""
    return 0.7 - 0.1 * abs(math.log10(params["learning_rate"]) + 4) - 0.05 * abs(params["dropout"] - 0.3)


def _recorded(params: Mapping[str, Any], context: TrialContext, seconds: float) -> float:
    began = time.time()
    time.sleep(seconds)
    score = smooth(params)
    context.record(first_line=began, last_line=time.time())
    return score
