"""Copying a study that somebody has already into this storage, as often as it grows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from hpo.advisory_lock import advisory_lock
from hpo.control import Control
from hpo.errors import StorageError, UnknownStudyError
from hpo.import_source import ImportSource, open_source
from hpo.report.reading import check_single_objective
from hpo.service import nearest_names, open_service
from hpo.settings import Settings
from hpo.storage import Storage

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

IMPORTED_FROM: Final = "imported_from"
"""The user attribute of a copied study that names its source."""

Progress = Callable[[int, int], None]
"""Called with how many trials are copied, and how many there are to copy."""


@dataclass(frozen=True)
class Imported:
    """What a copy has done.

    Attributes:
        study: its name here.
        source: the name that it has at its source.
        storage: its source, without a password.
        trials: how many it has.
        added: how many of them were new.
        renewed: how many were open when they were copied before, and have changed since.
        not_ended: how many were still running or waiting there.
    """

    study: str
    source: str
    storage: str
    trials: int
    added: int
    renewed: int
    not_ended: int


@dataclass(frozen=True)
class _Original:
    """A study as its source has it."""

    name: str
    storage: str
    directions: Sequence["StudyDirection"]
    user_attributes: dict[str, Any]
    system_attributes: dict[str, Any]
    trials: Sequence["FrozenTrial"]


def import_study(
    settings: Settings,
    storage_url: str | None,
    source: str,
    study: str,
    name: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Imported:
    """Copy a study from another storage into this one, with its numbers, states, times and attributes.

    Called again it adds what is new. A copy that was interrupted is completed. The service does not work on such a
    study; nothing is written at its source.

    Args:
        settings: of this machine.
        storage_url: where it goes.
        source: a URL or a file; see `open_source`.
        study: its name there.
        name: its name here; default: the same.
        progress: told after every trial.

    Raises:
        UnknownStudyError: the source has no study of that name.
        InputError: it has several objectives, or the name is taken here by another study; nothing was written.
    """
    with open_source(source) as opened:
        original = _read(opened, study)
    with (
        open_service(settings, storage_url) as service,
        service.storage.engine.connect() as connection,
        # Held by whoever makes a study of this service, too.
        advisory_lock(connection, f"hpo study {name or study}"),
    ):
        return _copy(service.storage, original, name or study, progress)


def _read(source: ImportSource, name: str) -> _Original:
    storage = source.storage
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        names = sorted(study.study_name for study in storage.get_all_studies())
        raise UnknownStudyError(
            f"unknown study {name!r} in {source.shown}: {nearest_names(name, names)}; name one that is there"
        ) from None
    directions = storage.get_study_directions(study_id)
    check_single_objective(name, len(directions))
    trials = storage.get_all_trials(study_id, deepcopy=False)
    if [trial.number for trial in trials] != list(range(len(trials))):
        raise StorageError(
            f"trials must be numbered from 0 without a gap, and those of {name} are not, some were deleted: "
            "copy the study with optuna.copy_study, which numbers them anew, and import that"
        )
    user, system = storage.get_study_user_attrs(study_id), storage.get_study_system_attrs(study_id)
    return _Original(name, source.shown, directions, user, system, trials)


def _copy(storage: Storage, original: _Original, name: str, progress: Progress) -> Imported:
    earlier = _earlier_copy(storage, name)
    copied = [] if earlier is None else storage.optuna.get_all_trials(earlier, deepcopy=False)
    renewed = _count_renewed(original, copied, name)
    if earlier is None:
        study_id, todo = _make(storage.optuna, original, name), original.trials
    elif renewed:
        study_id, todo = _make_again(storage.optuna, earlier, original, name), original.trials
    else:
        study_id, todo = earlier, original.trials[len(copied) :]
    for done, trial in enumerate(todo, 1):
        # Not checked as by `Study.add_trial`, which refuses what other versions of Optuna have let pass.
        storage.optuna.create_new_trial(study_id, template_trial=trial)
        progress(done, len(todo))
    return Imported(
        study=name,
        source=original.name,
        storage=original.storage,
        trials=len(original.trials),
        added=len(original.trials) - len(copied),
        renewed=renewed,
        not_ended=sum(not trial.state.is_finished() for trial in original.trials),
    )


def _earlier_copy(storage: Storage, name: str) -> int | None:
    """Return the study of that name that was imported before, if there is one.

    Raises:
        StorageError: there is one that was not.
    """
    try:
        study_id = storage.optuna.get_study_id_from_name(name)
    except KeyError:
        study_id = None
    own = Control(storage.engine).study(name) is not None
    if own or (study_id is not None and IMPORTED_FROM not in storage.optuna.get_study_user_attrs(study_id)):
        made = "this service has made it" if own else "it was not imported"
        raise StorageError(
            f"study {name} is in this storage already, and {made}: give the imported one another name with --name"
        )
    return study_id


def _count_renewed(original: _Original, copied: Sequence["FrozenTrial"], name: str) -> int:
    """Return how many copied trials were open and have changed at the source since.

    Raises:
        StorageError: the copy is of another study, or has gone on by itself.
    """
    pairs = list(zip(copied, original.trials, strict=False))
    changed = [(copy, trial) for copy, trial in pairs if _content(copy) != _content(trial)]
    if len(copied) > len(original.trials) or any(copy.state.is_finished() for copy, _ in changed):
        raise StorageError(
            f"study {name} in this storage must be an earlier copy of {original.name}, and has trials that the source "
            "has not: give the imported one another name with --name"
        )
    return len(changed)


def _content(trial: "FrozenTrial") -> str:
    """Return what makes a trial that trial; a note in the dashboard doesn't change it. As text, for NaN is not NaN."""
    values = (trial.state, trial.values, sorted(trial.params.items()), sorted(trial.intermediate_values.items()))
    return repr((values, trial.datetime_start, trial.datetime_complete))


def _make(storage: "RDBStorage", original: _Original, name: str) -> int:
    """Make the study without its trials; return its id."""
    study_id = storage.create_new_study(original.directions, name)
    storage.set_study_user_attr(study_id, IMPORTED_FROM, {"study": original.name, "storage": original.storage})
    for key, value in original.user_attributes.items():
        if key != IMPORTED_FROM:
            storage.set_study_user_attr(study_id, key, value)
    for key, value in original.system_attributes.items():
        storage.set_study_system_attr(study_id, key, value)
    return study_id


def _make_again(storage: "RDBStorage", earlier: int, original: _Original, name: str) -> int:
    """Delete an earlier copy and make it anew, with what was noted on it here; return its id.

    Optuna ends an open trial at the time when it is told, and no other: only a new copy has the times of the source.
    """
    user, system = storage.get_study_user_attrs(earlier), storage.get_study_system_attrs(earlier)
    storage.delete_study(earlier)
    kept = {**original.system_attributes, **system}
    return _make(
        storage, replace(original, user_attributes={**original.user_attributes, **user}, system_attributes=kept), name
    )
