"""Reading a study of the storage, whoever has made it."""

import optuna

from budgets.errors import InputError
from hpo import control_schema
from hpo.control import Control
from hpo.errors import StudyGoneError
from hpo.optuna_versions import optuna_version
from hpo.report.evidence import Evidence, evidence_of
from hpo.service import unknown_study
from hpo.storage import Storage


def read_evidence(storage: Storage, name: str, size: str | None = None) -> Evidence:
    """Return what a study says: one of this service with those of Phase 2 that supplement it, or any other.

    Nothing is written, and no table is made.

    Args:
        storage: open.
        name: of the study; one of Phase 2 is read alone.
        size: the parameter or user attribute that is the size of a trial; default: the parameters, where this service
            has counted them.

    Raises:
        UnknownStudyError: neither this service nor Optuna has a study of that name; the message names the nearest.
        StudyGoneError: this service has it, and Optuna's tables have not any more.
        InputError: the study has several objectives, or `size` names nothing that is one.
    """
    control = Control(storage.engine) if control_schema.is_ready(storage.engine) else None
    record = control.study(name) if control else None
    if name not in optuna_names(storage):
        if record is not None:
            raise StudyGoneError(
                f"study {name} must be in Optuna's tables and is not, it was deleted or renamed there: "
                "restore a backup, or name another study"
            )
        own = control.study_names() if control else []
        raise unknown_study(name, list(dict.fromkeys([*own, *optuna_names(storage)])))
    study = load_single_objective(storage, name)
    children = control.children(name) if control and record is not None else []
    supplements = [read_evidence(storage, child, size) for child in children if child in optuna_names(storage)]
    return evidence_of(study, record, supplements, size)


def optuna_names(storage: Storage) -> list[str]:
    """Return the names of all studies in Optuna's tables; none where there are no tables, which are not made."""
    if optuna_version(storage.engine) is None:
        return []
    return optuna.study.get_all_study_names(storage.optuna)


def load_single_objective(storage: Storage, name: str) -> optuna.Study:
    """Return a study that is there.

    Raises:
        InputError: it has several objectives.
    """
    study = optuna.load_study(study_name=name, storage=storage.optuna, sampler=optuna.samplers.RandomSampler())
    check_single_objective(name, len(study.directions))
    return study


def check_single_objective(name: str, objectives: int) -> None:
    """Raise InputError where a study has several objectives: nothing here ranks those."""
    if objectives > 1:
        raise InputError(
            f"a study must have one objective, and {name} has {objectives}: copy the score that counts into a study of "
            "its own, or name another"
        )
