"""For how long whoever is told to go tries on, and what becomes of its log."""

import logging
import time
from multiprocessing import Pipe

import pytest

from hpo.fork_server import Channel
from hpo.stopping import Patience, StopSignals
from hpo.worker_log import log_to


def told(word: str) -> StopSignals:
    stop = StopSignals()
    stop.heard(word)
    return stop


def tries(patience: Patience) -> int:
    """Return how often this patience allows another try, up to a hundred."""
    return next((count for count in range(100) if not patience.wait()), 100)


def test_who_is_told_to_suspend_tries_for_the_grace_period_and_who_is_told_to_abandon_does_not() -> None:
    assert 0 < tries(Patience(told("suspend"), grace_seconds=1.2)) < 10
    assert tries(Patience(told("abandon"), grace_seconds=300.0)) == 0
    for word in ("suspend", "abandon"):
        assert tries(Patience(told(word), grace_seconds=0.0)) == 0


@pytest.mark.parametrize("word", ["suspend", "abandon"])
def test_the_grace_period_runs_from_the_first_word(word: str) -> None:
    stop = told(word)
    assert not stop.suspended_for(60.0)
    time.sleep(0.2)
    stop.heard("abandon")
    assert stop.suspended_for(0.2)


def test_who_is_told_to_leave_after_its_trial_is_not_suspended() -> None:
    assert not told("leave").suspended_for(0.0)


def test_a_line_of_the_log_that_nobody_hears_does_not_end_the_process() -> None:
    here, there = Pipe()
    there.close()
    logger = logging.getLogger("hpo.worker")
    before = logger.handlers[:], logger.propagate, logger.level
    try:
        log_to(Channel(here))
        logger.warning("a line")
        with pytest.raises(BrokenPipeError):
            here.send("what a worker says otherwise")
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])
