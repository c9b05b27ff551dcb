"""One trial in a process of its own: both ends of it.

`execute` runs in the fork: it calls the objective and reports. `TrialProcess` is the worker's end: it passes
intermediate values on and turns every way to end, crash and kill included, into an `Outcome`.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.artifacts import artifacts_directory, checkpoint_directory, keep_outcome
from hpo.claims import Claim
from hpo.fork_server import Channel, Exited, Fork, Message, Raised, Returned, Said, fork
from hpo.pruning import BEST_SO_FAR, Curve
from hpo.records import Cause, Outcome, TrialRecord
from hpo.settings import compute_on
from hpo.trial_memory import (
    KernelKills,
    be_killed_first,
    is_near,
    limit_memory,
    own_peak_mb,
    peak_mb,
    resident_mb,
    says_out_of_memory,
)
from studies.declaration import Prepared
from studies.objective import DivergedError, PrunedError, TrialContext, resolve
from studies.spec import Spec

_TRACEBACK_LINES = 12


# What the service itself stores with a trial, whatever the objective records.
_RESERVED = frozenset(
    {
        "design_id",
        "design",
        "group",
        "origin",
        "slot",
        "turn",
        "attempt",
        "seed",
        "repeat_of",
        "repeat_role",
        "worker",
        "cause",
        "message",
    }
    | {"seconds", "trial_seconds", "peak_memory_mb", "start_memory_mb", "fingerprint"}
    | {BEST_SO_FAR}
    | {"retry_of", "retry_cause", "retried_as", "imported_from", "made_lighter", "memory_retries", "infeasible"}
)


@dataclass(frozen=True)
class Report:
    """An intermediate value of the score."""

    value: float
    step: int


def prepare(_channel: Channel, preparation: str, spec: Spec, home: Path | None, keep: bool = True) -> Prepared:
    """Read the data and count the models of a study; called in a fork. Nothing is written unless it is to be kept."""
    prepared: Prepared = resolve(preparation)(spec, home, keep=keep)
    return prepared


def check_ready(_channel: Channel, readiness: str, spec: Spec, prepared: Mapping[str, Any], home: Path) -> None:
    """Raise InputError when this machine cannot train a study's trials; called in a fork.

    A worker would otherwise take trial after trial of it and fail each one, attempt by attempt.
    """
    resolve(readiness)(spec, prepared.get("sizes", {}), home)


@dataclass(frozen=True)
class Prune:
    """The worker's word that a trial is hopeless, and why."""

    why: str


class _Stop:
    """The worker's wish that the trial ends, whether the objective knows of it, and why it is for good if it is."""

    def __init__(self) -> None:
        self._wanted = False
        self.known = False
        self.hopeless = ""

    def heard(self, word: object) -> None:
        if isinstance(word, Prune):
            self.hopeless = word.why
        self._wanted = True

    def asked(self) -> bool:
        self.known = self.known or self._wanted
        return self._wanted


@dataclass(frozen=True)
class TrialLimits:
    """What one trial may use.

    Attributes:
        threads: of computation.
        memory_mb: resident size of its process in MiB, what it shares included; None for no limit.
        card: the GPU that it has been given, by CUDA's identifier; None where it trains on the CPU.
    """

    threads: int = 1
    memory_mb: float | None = None
    card: str | None = None


def execute(channel: Channel, claim: Claim, objective: str, home: Path, limits: TrialLimits) -> Outcome:
    """Run one trial to its end; called in a fork."""
    stop, trial = _Stop(), claim.trial
    # Without a worker nobody would take the result: end, and give the memory back.
    channel.listen(stop.heard, gone=lambda: os._exit(1))
    directory = artifacts_directory(home, claim.study, trial.number)
    directory.mkdir(parents=True, exist_ok=True)
    send_output_to(directory / "log.txt")
    be_killed_first()
    if limits.card:
        compute_on(limits.card)

    curve = Curve()

    def send(value: float, step: int) -> bool:
        nonlocal curve
        curve = curve.after(step, value, claim.spec.direction)
        channel.say(Report(value, step))
        return False

    context = TrialContext(
        spec=claim.spec,
        number=trial.number,
        attempt=trial.attempt,
        seed=trial.seed,
        directory=directory,
        checkpoint_directory=checkpoint_directory(home, claim.study, trial.slot),
        home=home,
        sizes=claim.prepared.get("sizes", {}),
        threads=limits.threads,
        reserved=_RESERVED,
        derived=trial.attributes,
        send=send,
        asks=stop.asked,
        hopeless=lambda: bool(stop.hopeless),
    )
    started, resident = time.monotonic(), resident_mb()

    def run() -> float:
        if limits.memory_mb is not None:
            limit_memory(limits.memory_mb, limits.threads)
        return float(resolve(objective)(claim.params, context))

    outcome = _judge(run, limits.memory_mb)
    measured = {
        "trial_seconds": round(time.monotonic() - started, 3),
        "start_memory_mb": round(resident, 1),
        "peak_memory_mb": round(own_peak_mb(), 1),
        "fingerprint": claim.spec.fingerprint,
        **(curve.as_attributes() if claim.spec.pruning.enabled else {}),
    }
    outcome = _as_told(outcome, stop, {**context.attributes, **measured})
    if outcome.score is not None:
        _keep(outcome, directory, trial)
    return outcome


def _as_told(outcome: Outcome, stop: _Stop, attributes: dict[str, Any]) -> Outcome:
    """Return how a trial ended, given what it was told."""
    if stop.known and stop.hopeless:
        return Outcome(Cause.PRUNED, None, stop.hopeless, attributes)
    message = storable_text(outcome.message)
    if stop.known:
        # Whatever it returned, it cut its work short for that.
        return Outcome(Cause.INTERRUPTED, None, message or "it was told to stop", attributes)
    return Outcome(outcome.cause, outcome.score, message, attributes)


def _keep(outcome: Outcome, directory: Path, trial: TrialRecord) -> None:
    """Put the score on the disk before anybody hears of it: its worker may be gone, or the database."""
    assert trial.worker is not None
    try:
        keep_outcome(directory, trial.worker, outcome)
    except OSError as error:
        # A full disk costs the safety net, not the score.
        print(f"the score could not be kept on the disk: {error}", file=sys.stderr)  # noqa: T201  to the trial's log


def _begun(spare: Fork | None, address: str, *arguments: object) -> Fork:
    """Have a fork execute a trial: the spare one, or another where that was killed while it waited.

    Raises:
        OSError: the server is gone.
    """
    if spare is not None:
        with suppress(OSError):
            spare.begin("hpo.trial:execute", *arguments)
            return spare
    return fork(address, "hpo.trial:execute", *arguments)


class TrialProcess:
    """A running trial, seen from its worker.

    Args:
        claim: the trial.
        objective: that is called.
        address: of the fork server.
        home: where it keeps its files.
        limits: on what it uses.
        spare: a fork that waits already, to run in.
    """

    def __init__(
        self,
        claim: Claim,
        objective: str,
        address: str,
        home: Path,
        limits: TrialLimits,
        spare: Fork | None = None,
    ) -> None:
        self.claim = claim
        self._limits = limits
        self._kills = KernelKills()
        self._peak: float | None = None
        self._fork = _begun(spare, address, claim, objective, home, limits)
        self._ending: Message | None = None

    def wait(self, timeout: float, report: Callable[[float, int], None]) -> Outcome | None:
        """Return how the trial ended, or None when it still runs after `timeout` seconds."""
        self._kills.look()
        message = self._fork.receive(timeout)
        if self.pid is not None:
            # Kept: of a process that the kernel kills nobody can ask any more.
            self._peak = peak_mb(self.pid) or self._peak
        if isinstance(message, Said):
            report(message.value.value, message.value.step)
        elif isinstance(message, Returned | Raised):
            self._ending = message
        elif isinstance(message, Exited):
            return self._outcome(message.code)
        return None

    @property
    def pid(self) -> int | None:
        """Its process id, once it has begun."""
        return self._fork.pid

    @property
    def last_words(self) -> Outcome | None:
        """How it ended, as soon as it has said so: its process then has its memory to give back, and no more to do."""
        return None if self._ending is None else self._outcome(0)

    def ask_to_stop(self) -> None:
        """Ask the objective to save its work and end."""
        self._fork.send("stop")

    def prune(self, why: str) -> None:
        """Ask the objective to end for good; one that never asks whether to stop goes on to its score."""
        self._fork.send(Prune(why))

    def _outcome(self, code: int) -> Outcome:
        """Return how the trial ended, from its last words and the end of its process."""
        if isinstance(self._ending, Returned):
            outcome: Outcome = self._ending.value
            return outcome
        if isinstance(self._ending, Raised):
            tail = "\n".join(self._ending.traceback.strip().splitlines()[-_TRACEBACK_LINES:])
            return Outcome(Cause.FAILED, message=storable_text(tail), attributes=self._measured())
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        message = f"the process of the trial {how} before it had a score"
        if code == -signal.SIGKILL:
            # The limit refuses memory and sends no signal: this was the kernel, or somebody.
            why = "the kernel killed it" if self._kills.any_lately() else ""
        else:
            why = "at its limit" if is_near(self._peak, self._limits.memory_mb) else ""
        if why:
            return Outcome(Cause.OUT_OF_MEMORY, None, f"out of memory: {why}; {message}", self._measured())
        return Outcome(Cause.FAILED, None, message, self._measured())

    def _measured(self) -> dict[str, Any]:
        return {} if self._peak is None else {"peak_memory_mb": round(self._peak, 1)}

    def kill(self, why: str) -> Outcome:
        """End the trial at once; return its outcome where it had one already and was only on its way out."""
        for message in self._fork.kill():
            if isinstance(message, Returned):
                self._ending = message
        if isinstance(self._ending, Returned):
            outcome: Outcome = self._ending.value
            return outcome
        return Outcome(Cause.INTERRUPTED, None, why, self._measured())


def _judge(run: Callable[[], float], memory_mb: float | None) -> Outcome:
    """Call an objective and tell the ways to end apart."""
    try:
        score = run()
    except PrunedError as pruned:
        return Outcome(Cause.PRUNED, message=str(pruned))
    except DivergedError as diverged:
        return Outcome(Cause.DIVERGED, message=str(diverged))
    except (MemoryError, RuntimeError, OSError) as error:
        if says_out_of_memory(error, memory_mb):
            return Outcome(Cause.OUT_OF_MEMORY, message=f"out of memory: {error}")
        raise
    if not math.isfinite(score):
        return Outcome(Cause.DIVERGED, message=f"the score is {score}")
    return Outcome(None, score=score)


def storable_text(text: str) -> str:
    """Return a message without what Postgres can't store: NUL characters and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def send_output_to(path: Path) -> None:
    """Send whatever the objective prints to a file: the terminal belongs to the progress display."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
