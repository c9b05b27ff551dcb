"""What a trial keeps on this machine's disk: its files, its checkpoint, and its score until that is written.

The score is kept because the database may be away for hours when a trial of days ends, and because its worker may
die in the moment between.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from hpo.records import Cause, Outcome, TrialRecord

_OUTCOME = "outcome.json"


def artifacts_directory(home: Path, study: str, number: int) -> Path:
    """Where a trial keeps its files."""
    return home / "artifacts" / study / f"{number:05d}"


def checkpoint_directory(home: Path, study: str, slot: int) -> Path:
    """Where all attempts at one configuration find what the last one saved."""
    return home / "checkpoints" / study / f"slot-{slot:05d}"


def keep_outcome(directory: Path, worker: str, outcome: Outcome) -> None:
    """Put an outcome on the disk for good: it is there after a power cut."""
    partial = directory / f"{_OUTCOME}.part"
    with partial.open("w") as file:
        json.dump({"worker": worker, **asdict(outcome)}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(directory / _OUTCOME)


def kept_outcome(home: Path, study: str, trial: TrialRecord) -> Outcome | None:
    """Return the outcome that a trial's process kept for the worker that holds it, if it got that far."""
    try:
        kept = json.loads((artifacts_directory(home, study, trial.number) / _OUTCOME).read_text())
    except (OSError, ValueError):
        return None
    if kept.pop("worker") != trial.worker:
        return None
    return Outcome(**{**kept, "cause": Cause(kept["cause"]) if kept["cause"] else None})


def forget_outcome(home: Path, study: str, number: int) -> None:
    """Remove what was kept: it is written now."""
    (artifacts_directory(home, study, number) / _OUTCOME).unlink(missing_ok=True)


def forget_checkpoint(home: Path, study: str, slot: int) -> None:
    """Remove what the attempts at a configuration saved: it has ended for good."""
    shutil.rmtree(checkpoint_directory(home, study, slot), ignore_errors=True)


def trials_with(home: Path, study: str, name: str) -> set[int]:
    """Return the numbers of the trials that keep a file of that name on this machine."""
    found = (home / "artifacts" / study).glob(f"*/{name}")
    # Beside them lie the folders of Phase 2.
    return {int(path.parent.name) for path in found if path.parent.name.isdecimal()}


def move_files(home: Path, study: str, number: int, to: int) -> None:
    """Give what a trial has kept to the one that gets its score; what can't be moved stays."""
    target = artifacts_directory(home, study, to)
    with suppress(OSError):
        target.mkdir(parents=True, exist_ok=True)
        for path in artifacts_directory(home, study, number).iterdir():
            if path.is_file() and path.name != _OUTCOME:
                path.replace(target / path.name)


def forget_file(home: Path, study: str, number: int, name: str) -> None:
    """Remove a file that a trial kept; one that can't be removed stays."""
    with suppress(OSError):
        (artifacts_directory(home, study, number) / name).unlink()
