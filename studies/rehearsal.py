"""A training of two steps of a tiny model, for the fork server to do before it forks trials; see docs/adr/0027.

Much is done once in a process, whoever trains first: modules that are imported where they are needed, what Python and
torch look up and keep, lines of source that torch reads to note where a generator was seeded. In each fork anew that
took a quarter of the time to its first step.
"""

import logging
import os
import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import torch

from studies.data.panel import Panel
from studies.data.splits import Splits
from studies.objective import TrialContext
from studies.precision import FULL
from studies.reading import read_spec
from studies.spec import Spec
from studies.training import train

_LOG = logging.getLogger(__name__)

_WINDOW, _ROWS, _SERIES, _FEATURES = 8, 64, 2, 3
TINY: Final = {
    **{"budget": "750k", "style": "shallow", "dropout": 0.1, "learning_rate": 1e-3, "weight_decay": 1e-3},
    # Not the specification's `auto`: that is measured once a process, and not on one thread beside an import.
    **{"d_model": 8, "n_layers": 2, "n_heads": 1, "precision": FULL},
}


def can_rehearse() -> bool:
    """Return whether torch is built for the CPU alone.

    Else autograd starts a thread for every card, which no fork has, and a fork could not use what has been touched.
    """
    return torch.accelerator.current_accelerator() is None


def rehearse() -> None:
    """Train, where that is possible; whatever goes wrong, the first trial will say it better."""
    if not can_rehearse():
        return
    try:
        with tempfile.TemporaryDirectory(prefix="hpo-rehearsal-") as directory, _nothing_stays():
            # Of more threads than its own a fork would have the numbers and not the threads.
            train(TINY, TrialContext(tiny_spec(), 0, 1, 1, Path(directory), Path(directory), threads=1), tiny_panel())
    # Nothing depends on it. The second is Lightning's answer to a SIGTERM, which here is for the command alone.
    except (Exception, SystemExit) as error:
        _LOG.warning("the rehearsal failed, and trials begin more slowly: %s: %s", type(error).__name__, error)


@contextmanager
def _nothing_stays() -> Iterator[None]:
    """Say nothing, and take back what a training sets for its process: threads, random numbers, the environment."""
    threads, variables, disabled = torch.get_num_threads(), dict(os.environ), logging.root.manager.disable
    drawn = random.getstate(), np.random.get_state(), torch.get_rng_state()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        torch.set_rng_state(drawn[2])
        torch.set_num_threads(threads)
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)


def tiny_spec() -> Spec:
    """Return a study of one step, a look, and a step after a look."""
    training = {"max_steps": 2, "check_every": 1, "window": _WINDOW, "effective_batch": 4}
    # Weights are written through to the disk: that takes long, and a trial's own time does not become shorter by it.
    return read_spec("quickstart", {"training": training, "keep_weights": 0})


def tiny_panel() -> Panel:
    """Return noise of the form of prices, with both labels in every part."""
    random, last = np.random.default_rng(1), _ROWS - _WINDOW
    train, validation = range(_WINDOW, last - _WINDOW), range(last - _WINDOW, last)
    return Panel(
        series=tuple(f"series_{n}" for n in range(_SERIES)),
        dates=np.datetime64("2000-01-03", "ns") + np.arange(_ROWS) * np.timedelta64(timedelta(days=1)),
        feature_names=tuple(f"feature_{n}" for n in range(_FEATURES)),
        features=random.standard_normal((_ROWS, _SERIES, _FEATURES), dtype=np.float32),
        labels=np.indices((_ROWS, _SERIES)).sum(axis=0).astype(np.float32) % 2,
        horizon=1,
        window=_WINDOW,
        splits=Splits(train, validation, range(last, last)),
        base_rates={"train": 0.5, "validation": 0.5},
    )
