"""One trial in a process of its own: both ends of it.

`execute` runs in the fork: it calls the objective and reports. `TrialProcess` is the worker's end: it passes
intermediate values on and turns every way to end, crash and kill included, into an `Outcome`.
"""

import math
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.claims import Claim
from hpo.fork_server import Channel, Exited, Message, Raised, Returned, Said, fork
from hpo.records import Cause, Outcome
from studies.declaration import Prepared
from studies.objective import DivergedError, PrunedError, TrialContext, resolve
from studies.spec import Spec

_TRACEBACK_LINES = 12
# Linux counts the peak in KiB, macOS in bytes.
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


# What the service itself stores with a trial, whatever the objective records.
_RESERVED = frozenset(
    {"design_id", "design", "group", "origin", "slot", "turn", "attempt", "seed", "worker", "cause", "message"}
    | {"seconds", "trial_seconds", "peak_memory_mb", "fingerprint", "retry_of", "retry_cause"}
)


@dataclass(frozen=True)
class Report:
    """An intermediate value of the score."""

    value: float
    step: int


def artifacts_directory(home: Path, study: str, number: int) -> Path:
    """Where a trial keeps its files."""
    return home / "artifacts" / study / f"{number:05d}"


def prepare(_channel: Channel, preparation: str, spec: Spec, home: Path | None) -> Prepared:
    """Read the data and count the models of a study; called in a fork. Without a home nothing is written."""
    prepared: Prepared = resolve(preparation)(spec, home)
    return prepared


def execute(channel: Channel, claim: Claim, objective: str, home: Path, threads: int) -> Outcome:
    """Run one trial to its end; called in a fork."""
    stop: list[Any] = []
    # Without a worker nobody would take the result: end, and give the memory back.
    channel.listen(stop.append, gone=lambda: os._exit(1))
    directory = artifacts_directory(home, claim.study, claim.trial.number)
    directory.mkdir(parents=True, exist_ok=True)
    _log_to(directory / "log.txt")

    def send(value: float, step: int) -> bool:
        channel.say(Report(value, step))
        return bool(stop)

    trial = claim.trial
    context = TrialContext(
        spec=claim.spec,
        number=trial.number,
        attempt=trial.attempt,
        seed=trial.seed,
        directory=directory,
        home=home,
        sizes=claim.prepared.get("sizes", {}),
        threads=threads,
        reserved=_RESERVED | trial.attributes.keys(),
        send=send,
    )
    started = time.monotonic()
    outcome = _judge(lambda: float(resolve(objective)(claim.params, context)))
    measured = {
        "trial_seconds": round(time.monotonic() - started, 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT / 2**20, 1),
        "fingerprint": claim.spec.fingerprint,
    }
    return Outcome(outcome.cause, outcome.score, storable_text(outcome.message), {**context.attributes, **measured})


class TrialProcess:
    """A running trial, seen from its worker."""

    def __init__(self, claim: Claim, objective: str, address: str, home: Path, threads: int) -> None:
        self.claim = claim
        self._fork = fork(address, "hpo.trial:execute", claim, objective, home, threads)
        self._ending: Message | None = None

    def wait(self, timeout: float, report: Callable[[float, int], None]) -> Outcome | None:
        """Return how the trial ended, or None when it still runs after `timeout` seconds."""
        message = self._fork.receive(timeout)
        if isinstance(message, Said):
            report(message.value.value, message.value.step)
        elif isinstance(message, Returned | Raised):
            self._ending = message
        elif isinstance(message, Exited):
            return _outcome(self._ending, message.code)
        return None

    def kill(self) -> None:
        """End the trial at once."""
        self._fork.kill()


def _judge(run: Callable[[], float]) -> Outcome:
    """Call an objective and tell the ways to end apart."""
    try:
        score = run()
    except PrunedError as pruned:
        return Outcome(Cause.PRUNED, message=str(pruned))
    except DivergedError as diverged:
        return Outcome(Cause.DIVERGED, message=str(diverged))
    except MemoryError as error:
        return Outcome(Cause.OUT_OF_MEMORY, message=f"out of memory: {error}")
    except RuntimeError as error:
        if "out of memory" in str(error) or "can't allocate memory" in str(error):
            return Outcome(Cause.OUT_OF_MEMORY, message=str(error))
        raise
    if not math.isfinite(score):
        return Outcome(Cause.DIVERGED, message=f"the score is {score}")
    return Outcome(None, score=score)


def _outcome(ending: Message | None, code: int) -> Outcome:
    if isinstance(ending, Returned):
        outcome: Outcome = ending.value
        return outcome
    if isinstance(ending, Raised):
        tail = "\n".join(ending.traceback.strip().splitlines()[-_TRACEBACK_LINES:])
        return Outcome(Cause.FAILED, message=storable_text(tail))
    how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
    return Outcome(Cause.FAILED, message=f"the process of the trial {how} before it had a score")


def storable_text(text: str) -> str:
    """Return a message without what Postgres can't store: NUL characters and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _log_to(path: Path) -> None:
    """Send whatever the objective prints to a file: the terminal belongs to the progress display."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
