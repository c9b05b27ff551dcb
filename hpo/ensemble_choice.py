"""Which trials may become members of an ensemble, in which order, and why others can't. Pure decisions on records."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hpo.records import StudyRecord, TrialRecord, TrialState
from studies.spec import Spec

# What makes two trials the same configuration, whatever their study calls its parameters.
_DECIDING = (*("d_model", "n_layers", "n_heads", "dropout", "learning_rate", "weight_decay", "effective_batch"),)
# A worker's id is host, process and six letters: see `hpo.presence.this_worker`.
_AFTER_THE_HOST = 2


@dataclass(frozen=True)
class Source:
    """A study that members come from."""

    record: StudyRecord
    spec: Spec


@dataclass(frozen=True)
class Configuration:
    """Complete trials that differ in the seed alone.

    Attributes:
        trials: with the study that each belongs to, the first one first.
        score: their mean.
    """

    trials: tuple[tuple[Source, TrialRecord], ...]
    score: float


@dataclass(frozen=True)
class Missing:
    """A trial that would be a member by its score and can't be."""

    study: str
    trial: int
    score: float
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"study": self.study, "trial": self.trial, "score": self.score, "why": self.why}


def rank_configurations(
    sources: Iterable[tuple[Source, Sequence[TrialRecord]]],
) -> list[Configuration]:
    """Return the configurations of these studies, the best first; of equal ones the earlier."""
    groups: dict[tuple[object, ...], list[tuple[Source, TrialRecord]]] = {}
    for source, trials in sources:
        for trial in trials:
            if trial.state is TrialState.COMPLETE and trial.score is not None:
                groups.setdefault(_key(trial), []).append((source, trial))
    found = [
        Configuration(tuple(members), fmean(trial.score or 0.0 for _, trial in members)) for members in groups.values()
    ]
    return sorted(found, key=lambda each: -each.score)


def _key(trial: TrialRecord) -> tuple[object, ...]:
    values: Mapping[str, Any] = {**trial.attributes, **trial.params}
    return tuple(values.get(name) for name in _DECIDING)


def reason_for(source: Source, trial: TrialRecord, host: str, missing: Sequence[str]) -> str:
    """Return why a trial's files are not here, and the remedy.

    Args:
        source: its study.
        trial: whose files are missing.
        host: this machine.
        missing: which files.
    """
    where = (trial.worker or "").rsplit("-", _AFTER_THE_HOST)[0]
    name, folder = source.record.name, f"HPO_HOME/artifacts/{source.record.name}/{trial.number:05d}"
    lacks = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not here"
    if where and where != host:
        return f"{lacks}: it was trained on {where}; copy {folder} from there, or use --retrain"
    return (
        f"{lacks}: {name} keeps the weights of its best {source.spec.keep_weights} trials (keep_weights), or it was "
        "trained before weights were kept; use --retrain"
    )
