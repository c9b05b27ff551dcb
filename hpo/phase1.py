"""Phase 1: the study, and its forced configurations, made once however many processes begin it."""

import warnings
from dataclasses import asdict, replace

import optuna
from optuna.trial import TrialState as OptunaState

from hpo.claims import enqueue
from hpo.control import Control
from hpo.errors import SpecDiffersError, StorageError
from hpo.records import Origin, StudyRecord, StudyState, TrialRecord, TrialState
from hpo.storage import Storage, advisory_lock
from studies.declaration import Design, Prepared, declare, derive
from studies.spec import Spec, differences


def ensure_study(storage: Storage, spec: Spec, prepared: Prepared) -> StudyRecord:
    """Return the study of this specification; make it, with its forced trials, where it is new.

    Safe for any number of processes at once and after a death at any point: the control schema gets the study
    and all its forced trials in one transaction, and what Optuna holds of them already is used, not doubled.

    Raises:
        SpecDiffersError: a study of that name is stored with another specification or other data.
        StorageError: Optuna has a study of that name that this service did not make.
    """
    control = Control(storage.engine)
    with storage.engine.connect() as connection, advisory_lock(connection, f"hpo study {spec.name}"):
        stored = control.study(spec.name)
        if stored is None:
            stored = _make(storage, control, spec, prepared)
    _check_same(stored, spec, prepared)
    return stored


def check_stored(stored: StudyRecord, spec: Spec) -> None:
    """Raise SpecDiffersError when the stored study has another specification."""
    if stored.fingerprint == spec.fingerprint:
        return
    found = list(differences(stored.spec, spec.as_json()))
    remedy = "give this one another name with --name"
    if len(found) == 1 and spec.trials < stored.cap:
        remedy = f"its cap was raised since: --trials {stored.cap} runs it"
    elif any(line.startswith("trials: ") for line in found):
        remedy = f"`hpo resume {spec.name} --trials {spec.trials}` changes the cap; or {remedy}"
    raise SpecDiffersError(f"study {spec.name} is stored with another specification ({'; '.join(found)}): {remedy}")


def _check_same(stored: StudyRecord, spec: Spec, prepared: Prepared) -> None:
    check_stored(stored, spec)
    before, now = stored.prepared.get("sizes", {}).get("panel"), prepared.sizes.get("panel")
    if before != now:
        raise SpecDiffersError(
            f"the data of study {spec.name} has changed since it was made (content {str(before)[:12]}, now "
            f"{str(now)[:12]}): restore the data, or give the study another name with --name"
        )


def _make(storage: Storage, control: Control, spec: Spec, prepared: Prepared) -> StudyRecord:
    study = _optuna_study(storage, spec)
    # The slot of a forced trial is its design id.
    trials = [_forced_trial(design, spec, prepared) for design in declare(spec).forced]
    present = _numbers_by_design(study)
    for trial in trials:
        if trial.slot not in present:
            enqueue(study, trial)
    numbers = _numbers_by_design(study)
    record = StudyRecord(
        name=spec.name,
        phase=1,
        spec=spec.as_json(),
        fingerprint=spec.fingerprint,
        prepared=asdict(prepared),
        cap=spec.trials,
        state=StudyState.RUNNING,
        reason="",
        evidence={},
        convergence_off=False,
    )
    control.add_study(record, [replace(trial, number=numbers[trial.slot]) for trial in trials])
    return record


def _optuna_study(storage: Storage, spec: Spec) -> optuna.Study:
    study = optuna.create_study(
        study_name=spec.name, storage=storage.optuna, direction=spec.direction, load_if_exists=True
    )
    if any(trial.state is not OptunaState.WAITING for trial in study.get_trials(deepcopy=False)):
        raise StorageError(
            f"study {spec.name} is in this storage already and was made by something else: "
            "give yours another name with --name"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([declare(spec).score_name])
    study.set_user_attr("fingerprint", spec.fingerprint)
    study.set_user_attr("spec", spec.as_json())
    return study


def _numbers_by_design(study: optuna.Study) -> dict[int, int]:
    return {
        trial.user_attrs["design_id"]: trial.number
        for trial in study.get_trials(deepcopy=False)
        if "design_id" in trial.user_attrs
    }


def _forced_trial(design: Design, spec: Spec, prepared: Prepared) -> TrialRecord:
    return TrialRecord(
        number=-1,
        slot=design.id,
        turn=1,
        attempt=1,
        origin=Origin.FORCED,
        params=design.params,
        seed=spec.seed,
        state=TrialState.WAITING,
        design_id=str(design.id),
        attributes={"design": design.name, "group": design.group, **derive(design.params, prepared.derived)},
    )
