"""Objectives that the acceptance tests search: quick, and badly behaved where a test wants that."""

import json
import math
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from studies.objective import PrunedError


def score(params: Mapping[str, Any], context: Any) -> float:
    """A smooth score with one best place."""
    time.sleep(float(os.environ.get("TRIAL_SECONDS", "0")))
    context.report(0.5, 1)
    context.record(seen_d_model=params["d_model"])
    return score_of(params)


def score_of(params: Mapping[str, Any]) -> float:
    """What `score` returns, without what it does."""
    return 0.7 - 0.1 * abs(math.log10(params["learning_rate"]) + 4) - 0.05 * abs(params.get("dropout", 0.3) - 0.3)


def sized(params: Mapping[str, Any], context: Any) -> float:
    """Larger models do better, in either phase."""
    return score_of(params) + 0.01 * math.log10(params["estimated_params"])


def slow(params: Mapping[str, Any], context: Any) -> float:
    """A second and a half a trial: long enough to be killed in."""
    time.sleep(1.5)
    return score(params, context)


def misbehaving(params: Mapping[str, Any], context: Any) -> float:
    """Every way to end badly, by design."""
    design = (params["budget"], params["style"], params["dropout"], params["learning_rate"], params["weight_decay"])
    if design == ("2M", "shallow", 0.1, 1e-4, 1e-3):
        raise ValueError("this one always fails")
    if design == ("2M", "shallow", 0.3, 1e-4, 1e-3):
        return math.nan
    if design == ("2M", "shallow", 0.7, 1e-4, 1e-3):
        os.kill(os.getpid(), signal.SIGKILL)
    if design == ("2M", "shallow", 0.5, 1e-5, 1e-3):
        raise MemoryError("no more")
    if design == ("2M", "deep", 0.5, 1e-4, 1e-3) and context.attempt == 1:
        raise OSError("only the first time")
    print("said to the log, not to the terminal")
    return 0.6


def unstorable(params: Mapping[str, Any], context: Any) -> float:
    """Records what can't be stored, and raises what can't be written."""
    if params["style"] == "deep":
        raise ValueError("a NUL \0 and a lone surrogate \ud800")
    values = {"750k": {"a": object()}, "2M": {"a": math.nan}, "20M": {"a": "x\0y"}, "200M": {"design_id": "mine"}}
    context.record(**values[params["budget"]])
    return 0.5


def numpy_numbers(params: Mapping[str, Any], context: Any) -> float:
    """Records NumPy's numbers, as everybody does, and a size that is no number."""
    context.record(a=np.float32(1.5), b=np.int64(3), exact_params="many", auc_low="low")
    return float(np.float64(0.5))


def hungry(params: Mapping[str, Any], context: Any) -> float:
    """Takes 40 MiB a window of the micro-batch, and deep models far more than any machine of the tests gives."""
    windows = params["micro_batch"] if params["style"] == "shallow" else 1000
    taken = []
    for _ in range(windows):
        # Touched, so that it is resident; slowly, so that a look at the process sees it grow.
        taken.append(np.ones(40 * 2**17))
        time.sleep(0.02)
    context.record(windows_at_once=len(taken))
    return score_of(params)


def lawful(params: Mapping[str, Any], context: Any) -> float:
    """A law of size, a learning rate and a dropout that matter, and noise between seeds."""
    loss = 0.15 + 6.0 * params["estimated_params"] ** -0.3
    loss += 0.02 * abs(math.log10(params["learning_rate"]) + 3.5) + 0.05 * (params["dropout"] < 0.2)
    drawn = np.random.default_rng([context.seed, *json.dumps(dict(params), sort_keys=True).encode()])
    score = 1.0 - loss + float(drawn.normal(0, 0.004))
    for step in range(1, 4):
        context.report(score - 0.1 / step, step)
    context.record(flops=params["estimated_params"] * 6_000)
    return score


def luck(params: Mapping[str, Any], context: Any) -> float:
    """Nothing but noise."""
    return float(np.random.default_rng([context.seed, context.number]).normal(0.7, 0.01))


def undefined(params: Mapping[str, Any], context: Any) -> float:
    """Never a number."""
    return math.nan


def noisy(params: Mapping[str, Any], context: Any) -> float:
    """The less dropout the better, and luck: normal by seed and configuration, with a standard deviation of 0.01."""
    luck = np.random.default_rng([context.seed, round(params["dropout"] * 1e6), params["d_model"]])
    return 0.7 - 0.2 * params["dropout"] + 0.01 * float(luck.standard_normal())


def hopeless_by_half(params: Mapping[str, Any], context: Any) -> float:
    """Half of what is sampled is far behind from the first look on, and gives its worker time to say so."""
    behind = round(params["dropout"] * 10_000) % 2
    for step in range(1, 11):
        time.sleep(0.5 if behind and step > 4 else 0.01)
        context.report((score_of(params) - 0.3 * behind) * (1 - 0.5**step), step)
        if context.should_stop():
            raise PrunedError(f"stopped at step {step}")
    return score_of(params) - 0.3 * behind


def not_a_number(params: Mapping[str, Any], context: Any) -> float:
    """Deep models lose their score on the way, and would go on for a minute."""
    context.report(0.5, 1)
    if params["style"] == "deep":
        context.report(math.nan, 2)
        time.sleep(60)
    return score_of(params)
