"""Trainings that count in no study: each in a process of its own, as a worker runs a trial, but nobody gives it out.

What has ended is kept on the disk with its weights, and what was interrupted has its checkpoint: called again, it goes
on from there.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from hpo.artifacts import artifacts_directory, forget_checkpoint, kept_outcome
from hpo.attempts import Attempts
from hpo.claims import Claim
from hpo.fork_server import ForkFailedError
from hpo.memory_room import MemoryRoom, Reservation
from hpo.records import Cause, Outcome
from hpo.settings import Settings
from hpo.stopping import StopSignals
from hpo.trial import TrialLimits, TrialProcess
from hpo.trial_room import needed_by, usable_at_least, usable_here
from studies.checkpoint_contents import WEIGHTS_NAME
from studies.declaration import Derived, declare

# How long one look at a running training waits for a word of it.
_LOOK_SECONDS = 0.1


class Watcher(Protocol):
    """Who is told how it goes; trainings are named by their place in the list."""

    def at_step(self, place: int, step: int) -> None:
        """A training has looked at the validation part; 0 where it begins."""

    def ended(self, place: int, outcome: Outcome) -> None:
        """A training has ended for good."""


@dataclass(frozen=True)
class Pool:
    """What trainings run in.

    Attributes:
        settings: of this machine.
        address: of the fork server.
        workers: how many at once.
        threads: of each.
        stop: how they are told to go.
    """

    settings: Settings
    address: str
    workers: int
    threads: int
    stop: StopSignals


@dataclass
class _Running:
    place: int
    claim: Claim
    process: TrialProcess
    reservation: Reservation
    asked_at: float | None = None


def weights_of(home: Path, claim: Claim) -> Path:
    """Return where a training leaves the weights of its best look."""
    return artifacts_directory(home, claim.study, claim.trial.number) / WEIGHTS_NAME


def retrain(claims: Sequence[Claim], pool: Pool, watcher: Watcher) -> list[Outcome | None]:
    """Run these trainings, but for those that have ended before; None for what was interrupted."""
    return _Retraining(claims, pool, watcher).run()


class _Retraining:
    def __init__(self, claims: Sequence[Claim], pool: Pool, watcher: Watcher) -> None:
        self._pool, self._watcher = pool, watcher
        self._claims = list(claims)
        self._outcomes: list[Outcome | None] = [self._ended_before(claim) for claim in claims]
        self._waiting = deque(place for place, outcome in enumerate(self._outcomes) if outcome is None)
        self._running: list[_Running] = []
        self._room = MemoryRoom(pool.settings.home)

    def run(self) -> list[Outcome | None]:
        for place, outcome in enumerate(self._outcomes):
            if outcome is not None:
                self._watcher.ended(place, outcome)
        try:
            while self._running or (self._waiting and not self._leaving):
                self._fill()
                for running in list(self._running):
                    self._look(running)
                if not self._running:
                    self._pool.stop.wake.wait(_LOOK_SECONDS)
        finally:
            for running in self._running:
                running.process.kill("its command has ended")
                running.reservation.release()
        return self._outcomes

    @property
    def _leaving(self) -> bool:
        return self._pool.stop.suspend.is_set()

    def _ended_before(self, claim: Claim) -> Outcome | None:
        kept = kept_outcome(self._pool.settings.home, claim.study, claim.trial)
        return kept if kept is not None and weights_of(self._pool.settings.home, claim).exists() else None

    def _fill(self) -> None:
        """Begin as many as there are places and memory for."""
        while self._waiting and not self._leaving and len(self._running) < self._pool.workers:
            claim = self._claims[self._waiting[0]]
            reservation = self._room.reserve(needed_by(claim), usable_here, usable_at_least)
            if reservation is None:
                return
            self._begin(self._waiting.popleft(), claim, reservation)

    def _begin(self, place: int, claim: Claim, reservation: Reservation) -> None:
        pool = self._pool
        limits = TrialLimits(pool.threads, pool.settings.trial_memory_mb, reservation.card)
        try:
            objective = declare(claim.spec).objective
            process = TrialProcess(claim, objective, pool.address, pool.settings.home, limits)
        except OSError:
            reservation.release()
            raise ForkFailedError(
                "the fork server is gone, and what it had begun can't be trained without it"
            ) from None
        self._running.append(_Running(place, claim, process, reservation))
        self._watcher.at_step(place, 0)

    def _look(self, running: _Running) -> None:
        outcome = running.process.wait(
            _LOOK_SECONDS / len(self._running), lambda _value, step: self._watcher.at_step(running.place, step)
        )
        if outcome is None and self._leaving:
            outcome = self._hurry(running)
        if outcome is not None:
            self._running.remove(running)
            running.reservation.release()
            self._end(running, outcome)

    def _hurry(self, running: _Running) -> Outcome | None:
        """Ask a training to save itself; end it when its time is over."""
        if running.asked_at is None:
            running.asked_at = time.monotonic()
            running.process.ask_to_stop()
        late = time.monotonic() - running.asked_at > self._pool.settings.grace_seconds
        return running.process.kill("it was told to stop") if late or self._pool.stop.abandon.is_set() else None

    def _end(self, running: _Running, outcome: Outcome) -> None:
        place, claim = running.place, running.claim
        if outcome.cause is None and not weights_of(self._pool.settings.home, claim).exists():
            outcome = Outcome(Cause.FAILED, None, "its weights could not be kept: there may be no room on the disk")
        if outcome.cause is not None and self._leaving:
            return
        attempts = _attempts(claim)
        if outcome.cause is not None and attempts.runs_again(claim.trial, outcome.cause):
            again = replace(attempts.successor(claim.trial, outcome.cause), worker=claim.trial.worker)
            self._claims[place] = replace(claim, trial=again, params=attempts.values(again))
            self._waiting.appendleft(place)
            return
        forget_checkpoint(self._pool.settings.home, claim.study, claim.trial.slot)
        self._outcomes[place] = outcome
        self._watcher.ended(place, outcome)


def _attempts(claim: Claim) -> Attempts:
    derived = tuple(Derived(**rule) for rule in claim.prepared.get("derived", ()))
    return Attempts(declare(claim.spec), claim.spec.max_attempts, derived)
