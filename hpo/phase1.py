"""A study and its forced configurations, made once however many processes begin it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from hpo.advisory_lock import advisory_lock
from hpo.control import Control
from hpo.errors import SpecDiffersError, StorageError
from hpo.mirror import enqueue, import_history
from hpo.records import Origin, StudyRecord, StudyState, TrialRecord, TrialState
from hpo.storage import Storage
from studies.declaration import Design, Prepared, declare, derive
from studies.spec import Spec, differences


def ensure_study(
    storage: Storage, spec: Spec, prepared: Prepared, history: Sequence[Mapping[str, Any]] = ()
) -> StudyRecord:
    """Return the study of this specification; make it, with its forced trials, where it is new.

    Safe for any number of processes at once and after a death at any point: the control schema gets the study
    and all its forced trials in one transaction, and what Optuna holds of them already is used, not doubled.

    Args:
        storage: where it is or will be.
        spec: of either phase.
        prepared: what is known of its data and models.
        history: trials of Phase 1 that a study of Phase 2 learns from; see `studies.declaration.history`.

    Raises:
        SpecDiffersError: a study of that name is stored with another specification or other data.
        StorageError: Optuna has a study of that name that this service did not make.
    """
    control = Control(storage.engine)
    with storage.engine.connect() as connection, advisory_lock(connection, f"hpo study {spec.name}"):
        stored = control.study(spec.name)
        if stored is None:
            stored = _make(storage, control, spec, prepared, history)
    _check_same(stored, spec, prepared)
    control.set_how_it_runs(spec.name, spec.how_it_runs)
    return control.study(spec.name) or stored


def check_stored(stored: StudyRecord, spec: Spec) -> None:
    """Raise SpecDiffersError when the stored study has another specification."""
    # Read anew: a version before this one has stored it without the keys that came since.
    before = Spec.model_validate(stored.spec)
    if before.fingerprint == spec.fingerprint:
        return
    found = list(differences(before.as_json(), spec.as_json()))
    remedy = "give this one another name with --name"
    if len(found) == 1 and spec.trials < stored.cap:
        remedy = f"its cap was raised since: --trials {stored.cap} runs it"
    elif any(line.startswith("trials: ") for line in found):
        remedy = f"`hpo resume {spec.name} --trials {spec.trials}` changes the cap; or {remedy}"
    raise SpecDiffersError(f"study {spec.name} is stored with another specification ({'; '.join(found)}): {remedy}")


def check_same_data(stored: StudyRecord, prepared: Prepared) -> None:
    """Raise SpecDiffersError when the data is not that which the stored study was made with."""
    before, now = stored.prepared.get("sizes", {}).get("panel"), prepared.sizes.get("panel")
    if before != now:
        raise SpecDiffersError(
            f"the data of study {stored.name} has changed since it was made (content {str(before)[:12]}, now "
            f"{str(now)[:12]}): restore the data, or give the study another name with --name"
        )


def _check_same(stored: StudyRecord, spec: Spec, prepared: Prepared) -> None:
    check_stored(stored, spec)
    check_same_data(stored, prepared)


def _make(
    storage: Storage, control: Control, spec: Spec, prepared: Prepared, history: Sequence[Mapping[str, Any]]
) -> StudyRecord:
    declaration = declare(spec)
    study = _optuna_study(storage, spec)
    import_history(study, history, declaration.space)
    trials = [_forced_trial(design, spec, prepared, history) for design in declaration.forced]
    present = _numbers_by_slot(study)
    for trial in trials:
        if trial.slot not in present:
            enqueue(study, trial)
    numbers = _numbers_by_slot(study)
    record = StudyRecord(
        name=spec.name,
        phase=1 if spec.supplementary is None else 2,
        spec=spec.as_json(),
        fingerprint=spec.fingerprint,
        prepared=asdict(prepared),
        cap=spec.trials,
        state=StudyState.RUNNING,
        reason="",
        evidence={},
        # Convergence is Phase 1's question; Phase 2 spends its few trials.
        convergence_off=spec.supplementary is not None,
        parent=spec.supplementary.of if spec.supplementary else None,
        history=history,
    )
    control.add_study(record, [replace(trial, number=numbers[trial.slot]) for trial in trials])
    return record


def _optuna_study(storage: Storage, spec: Spec) -> optuna.Study:
    study = optuna.create_study(
        study_name=spec.name, storage=storage.optuna, direction=spec.direction, load_if_exists=True
    )
    # Of this service's own, a death may have left what waits, and what was imported.
    foreign = [trial for trial in study.get_trials(deepcopy=False) if trial.state is not OptunaState.WAITING]
    imported = "imported_from" in study.user_attrs
    if imported or any("imported_from" not in trial.user_attrs for trial in foreign):
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


def _numbers_by_slot(study: optuna.Study) -> dict[int, int]:
    return {
        trial.user_attrs["slot"]: trial.number
        for trial in study.get_trials(deepcopy=False)
        if "slot" in trial.user_attrs
    }


def _forced_trial(design: Design, spec: Spec, prepared: Prepared, history: Sequence[Mapping[str, Any]]) -> TrialRecord:
    # A seed that an equal configuration of the history has not had.
    repeats = design.repeats + sum(entry["params"] == design.params for entry in history)
    return TrialRecord(
        number=-1,
        # The slot of a forced trial of Phase 1 is its design id.
        slot=design.slot,
        turn=1,
        attempt=1,
        origin=Origin.FORCED,
        params=design.params,
        seed=spec.seed + repeats,
        state=TrialState.WAITING,
        design_id=str(design.id),
        attributes={"design": design.name, "group": design.group, **derive(design.params, prepared.derived)},
    )
