"""Evidence of studies in a real storage: of this service, of Phase 2, and of something else."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from servers import TcpPostgres
from sqlalchemy import inspect

from budgets.errors import InputError
from hpo import control_schema
from hpo.errors import StudyGoneError, UnknownStudyError
from hpo.phase1 import ensure_study
from hpo.report.evidence import Kind
from hpo.report.limits import limits
from hpo.report.reading import read_evidence
from hpo.settings import Settings
from hpo.storage import Storage, open_storage
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec


@pytest.fixture
def storage(tcp_postgres: TcpPostgres, tmp_path: Path) -> Iterator[Storage]:
    with open_storage(Settings(home=tmp_path), tcp_postgres.url_of(tcp_postgres.new_database())) as opened:
        yield opened


def make_foreign(storage: Storage, name: str = "theirs", trials: int = 5) -> optuna.Study:
    study = optuna.create_study(study_name=name, storage=storage.optuna, direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_int("layers", 1, 9), n_trials=trials)
    return study


def make_own(storage: Storage, **values: object) -> Spec:
    spec = Spec.model_validate({"name": "ours", "objective": "objectives:score", "budgets": ["2M"], **values})
    control_schema.migrate(storage.engine)
    ensure_study(storage, spec, Prepared(architecture_values(spec)))
    return spec


def test_a_study_that_only_optuna_knows_is_read_where_this_service_was_never_used(storage: Storage) -> None:
    make_foreign(storage)
    found = read_evidence(storage, "theirs", size="layers")
    assert (found.is_own, len(found.complete), found.score_name, found.supplements) == (False, 5, "score", ())
    assert all(trial.kind is Kind.UNKNOWN and trial.seed is None for trial in found.trials)
    assert [trial.size for trial in found.trials] == [trial.params["layers"] for trial in found.trials]
    assert {"noise", "choice", "data"} <= {limit.about for limit in limits(found)}
    assert "hpo" not in inspect(storage.engine).get_schema_names()


def test_a_study_of_this_service_brings_its_record_its_sizes_and_what_supplements_it(storage: Storage) -> None:
    make_own(storage)
    fixed = {
        **{"of": "ours", "trial": 0, "style": "deep", "dropout": 0.5, "n_heads": 4},
        **{"learning_rate": 1e-4, "weight_decay": 0.05, "effective_batch": 32},
    }
    make_own(storage, name="ours/phase2/2M", trials=20, supplementary=fixed)
    found = read_evidence(storage, "ours")
    assert found.is_own
    assert found.size_name == "estimated_params"
    assert all(trial.kind is Kind.FORCED and trial.seed == 1 for trial in found.trials)
    (supplement,) = found.supplements
    assert (supplement.name, {trial.kind for trial in supplement.trials}) == ("ours/phase2/2M", {Kind.SUPPLEMENTARY})
    alone = read_evidence(storage, "ours/phase2/2M")
    assert (alone.record is not None and alone.record.phase, alone.supplements) == (2, ())


def test_an_unknown_study_is_refused_with_the_nearest_of_both_kinds(storage: Storage) -> None:
    make_foreign(storage, "theirs-1")
    make_own(storage, name="theirs-2")
    with pytest.raises(UnknownStudyError, match="unknown study 'theirs': the nearest are theirs-2, theirs-1"):
        read_evidence(storage, "theirs")


def test_an_empty_storage_is_left_without_a_table(storage: Storage) -> None:
    with pytest.raises(UnknownStudyError, match="there are none yet"):
        read_evidence(storage, "theirs")
    assert inspect(storage.engine).get_table_names() == []


def test_a_study_with_two_objectives_is_refused(storage: Storage) -> None:
    optuna.create_study(study_name="two", storage=storage.optuna, directions=["minimize", "maximize"])
    with pytest.raises(InputError, match="must have one objective, and two has 2: copy the score"):
        read_evidence(storage, "two")


def test_a_study_that_was_deleted_from_optunas_tables_is_told(storage: Storage) -> None:
    make_own(storage)
    optuna.delete_study(study_name="ours", storage=storage.optuna)
    with pytest.raises(StudyGoneError, match="it was deleted or renamed there"):
        read_evidence(storage, "ours")


def test_an_unknown_size_is_refused_with_those_that_there_are(storage: Storage) -> None:
    make_foreign(storage)
    with pytest.raises(InputError, match="not 'params': numeric are layers, x"):
        read_evidence(storage, "theirs", size="params")


def test_a_foreign_study_whose_trials_all_failed_is_read(storage: Storage) -> None:
    study = optuna.create_study(study_name="failed", storage=storage.optuna)
    for _ in range(3):
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    (limit,) = limits(read_evidence(storage, "failed"))
    assert limit.sentence.startswith("All 3 trials that have ended failed")


def test_a_score_of_infinity_is_no_score(storage: Storage) -> None:
    study = optuna.create_study(study_name="infinite", storage=storage.optuna)
    study.add_trial(optuna.trial.create_trial(value=float("inf")))
    (trial,) = read_evidence(storage, "infinite").trials
    assert (trial.score, trial.state, trial.no_score) == (None, "failed", float("inf"))
