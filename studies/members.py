"""What may become a member of an ensemble, and where an ensemble's files lie. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from studies.checkpoint_contents import WEIGHTS_NAME

ENSEMBLE_NAME: Final = "ensemble.json"
#: What the validation predictions of a trial are called.
PREDICTIONS_NAME: Final = "validation.npz"
#: What a trial keeps that becomes a member.
MEMBER_FILES: Final = (WEIGHTS_NAME, PREDICTIONS_NAME)


@dataclass(frozen=True)
class Candidate:
    """A finished trial whose `MEMBER_FILES` are in `directory`."""

    study: str
    trial: int
    seed: int
    model: str
    score: float
    directory: Path


def member_weights(directory: Path, place: int) -> Path:
    """Where the weights of an ensemble's member lie."""
    return directory / "members" / f"{place:02d}" / WEIGHTS_NAME


def holds_ensemble(directory: Path) -> bool:
    """Whether a directory is an ensemble of any version."""
    return (directory / ENSEMBLE_NAME).is_file()
