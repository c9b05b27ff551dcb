"""For how long whoever is told to go tries on."""

import time
from multiprocessing import Pipe

from hpo.fork_server import Channel
from hpo.stopping import Patience, StopSignals


def tries(patience: Patience, most: int = 1000) -> int:
    """Return how often this patience allows another try, up to `most`."""
    return next((count for count in range(most) if not patience.wait()), most)


def told(word: str) -> StopSignals:
    stop = StopSignals()
    stop.heard(word)
    return stop


def test_who_puts_a_trial_back_at_once_tries_more_than_once() -> None:
    assert tries(Patience(told("abandon"), grace_seconds=30.0), most=5) == 5


def test_who_puts_a_trial_back_at_once_does_not_try_for_the_whole_grace_period() -> None:
    began = time.monotonic()
    assert 10 < tries(Patience(told("abandon"), grace_seconds=300.0)) < 1000
    assert time.monotonic() - began < 60


def test_the_grace_period_bounds_every_try() -> None:
    assert tries(Patience(told("abandon"), grace_seconds=0.3)) < 5
    assert tries(Patience(told("suspend"), grace_seconds=0.3)) < 3


def test_nothing_is_tried_again_where_nothing_is_at_stake() -> None:
    for word in ("suspend", "abandon"):
        assert tries(Patience(told(word), grace_seconds=0.0)) == 0


def test_a_line_of_the_log_that_nobody_hears_does_not_end_the_process() -> None:
    here, there = Pipe()
    there.close()
    Channel(here).mention("a line")
