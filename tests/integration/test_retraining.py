"""Trainings of finalists in processes of their own: what fails, what is tried again, what is gone on with."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpo.artifacts import artifacts_directory, forget_outcome
from hpo.claims import Claim
from hpo.fork_server import ForkFailedError, ForkServer
from hpo.records import Cause, Origin, Outcome, TrialRecord, TrialState
from hpo.retraining import Pool, retrain, weights_of
from hpo.settings import Settings
from hpo.stopping import StopSignals
from studies.spec import Spec

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
        with ForkServer(("studies.objective", "hpo.trial")) as running:
            running.wait_until_ready()
            yield running


@dataclass
class Heard:
    """What a watcher is told."""

    steps: list[tuple[int, int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    at: threading.Event = field(default_factory=threading.Event)

    def at_step(self, place: int, step: int) -> None:
        self.steps.append((place, step))
        if step > 0:
            self.at.set()

    def ended(self, place: int, _outcome: Outcome) -> None:
        self.ends.append(place)


def claim(seed: int, end: str) -> Claim:
    """A training whose seed names it."""
    spec = Spec.model_validate({"name": "s", "objective": "finalist_objectives:train", "budgets": ["750k"]})
    trial = TrialRecord(seed, seed, 1, 1, Origin.SAMPLED, {"end": end}, seed, TrialState.RUNNING, worker="final")
    return Claim("s/final/version/key", spec, trial, {"end": end}, {"derived": ()}, left=0)


def pool_of(server: ForkServer, home: Path, stop: StopSignals | None = None, workers: int = 2) -> Pool:
    return Pool(Settings(home=home, grace_seconds=20), server.address, workers, 1, stop or StopSignals())


def calls(home: Path) -> Counter[str]:
    return Counter((home / "calls.txt").read_text().splitlines())


def test_what_fails_is_tried_as_often_as_the_study_says_and_loses_nothing_else(
    server: ForkServer, tmp_path: Path
) -> None:
    claims = [claim(1, "ends"), claim(2, "diverges"), claim(3, "fails"), claim(4, "fails once"), claim(5, "ends")]
    heard = Heard()
    outcomes = retrain(claims, pool_of(server, tmp_path), heard)
    assert [outcome and outcome.score for outcome in outcomes] == [0.51, None, None, 0.54, 0.55]
    assert [outcome and outcome.cause for outcome in outcomes] == [None, Cause.DIVERGED, Cause.FAILED, None, None]
    assert outcomes[2] is not None
    assert "no luck today" in outcomes[2].message
    assert calls(tmp_path) == {"1": 1, "2": 1, "3": 3, "4": 2, "5": 1}
    assert sorted(heard.ends) == [0, 1, 2, 3, 4]


def test_a_score_without_weights_is_no_finalist(server: ForkServer, tmp_path: Path) -> None:
    outcome = retrain([claim(1, "keeps nothing")], pool_of(server, tmp_path), Heard())[0]
    assert outcome is not None
    assert (outcome.cause, outcome.score) == (Cause.FAILED, None)
    assert "its weights could not be kept" in outcome.message


def test_what_has_ended_is_not_trained_again_unless_its_weights_or_score_are_gone(
    server: ForkServer, tmp_path: Path
) -> None:
    claims = [claim(seed, "ends") for seed in (1, 2, 3)]
    first = retrain(claims, pool_of(server, tmp_path), Heard())
    heard = Heard()
    assert retrain(claims, pool_of(server, tmp_path), heard) == first
    assert (sorted(heard.ends), heard.steps) == ([0, 1, 2], [])
    weights_of(tmp_path, claims[0]).unlink()
    forget_outcome(tmp_path, claims[1].study, 2)
    again = retrain(claims, pool_of(server, tmp_path), Heard())
    assert [outcome and outcome.score for outcome in again] == [0.51, 0.52, 0.53]
    assert calls(tmp_path) == {"1": 2, "2": 2, "3": 1}


def test_what_is_told_to_stop_saves_itself_and_is_gone_on_with(server: ForkServer, tmp_path: Path) -> None:
    stop, heard = StopSignals(), Heard()
    claims = [claim(1, "ends"), claim(2, "waits"), claim(3, "ends")]
    ended: list[Outcome | None] = []
    thread = threading.Thread(
        target=lambda: ended.extend(retrain(claims, pool_of(server, tmp_path, stop, workers=1), heard))
    )
    thread.start()
    assert heard.at.wait(30)
    stop.terminate()
    thread.join(30)
    assert [outcome and outcome.score for outcome in ended] == [0.51, None, None]
    assert "3" not in calls(tmp_path)
    assert not (artifacts_directory(tmp_path, claims[1].study, 2) / "outcome.json").exists()
    others = [claim(1, "ends"), claim(2, "ends"), claim(3, "ends")]
    again = retrain(others, pool_of(server, tmp_path), Heard())
    assert [outcome and outcome.score for outcome in again] == [0.51, 0.52, 0.53]
    assert calls(tmp_path) == {"1": 1, "2": 2, "3": 1}


def test_a_fork_server_that_is_gone_is_said_in_words(tmp_path: Path) -> None:
    pool = Pool(Settings(home=tmp_path), str(tmp_path / "nobody"), 1, 1, StopSignals())
    with pytest.raises(ForkFailedError, match="the fork server is gone"):
        retrain([claim(1, "ends")], pool, Heard())
    assert list((tmp_path / "memory").glob("trial-*")) == []
