"""The end of a trial stands in Optuna's tables as Optuna itself would have written it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy import text

from hpo import control_schema
from hpo.claims import Claims
from hpo.control import Control
from hpo.mirror import Mirror
from hpo.phase1 import ensure_study
from hpo.presence import this_worker
from hpo.records import Cause, Outcome, TrialRecord
from hpo.settings import Settings
from hpo.storage import Storage, open_storage
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec

NAN = float("nan")


@pytest.fixture
def storage(home: Path) -> Iterator[Storage]:
    with open_storage(Settings(home=home)) as opened:
        control_schema.migrate(opened.engine)
        yield opened


@pytest.fixture
def claims(storage: Storage) -> Claims:
    given = {"name": "s", "objective": "objectives:score", "budgets": ["750k"], "trials": 6, "forced_extremes": False}
    spec = Spec.model_validate(given)
    study = ensure_study(storage, spec, Prepared(architecture_values(spec)))
    return Claims(storage, study, lambda _: False, Path("/nonexistent"))


def begun(storage: Storage, claims: Claims) -> TrialRecord:
    worker = this_worker()
    Control(storage.engine).register(worker)
    claim = claims.take(worker.id)
    assert claim is not None
    return claim.trial


def by_optuna(storage: Storage, trial: FrozenTrial, state: OptunaState, score: float | None) -> FrozenTrial:
    """Return a trial like this one as Optuna has it that was ended by Optuna."""
    study = optuna.load_study(study_name="s", storage=storage.optuna)
    running = optuna.trial.create_trial(
        state=OptunaState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        intermediate_values=trial.intermediate_values,
    )
    made = storage.optuna.create_new_trial(study._study_id, running)
    study.tell(storage.optuna.get_trial(made).number, score, state)
    return storage.optuna.get_trial(made)


@pytest.mark.parametrize(
    ("outcome", "looks", "state"),
    [
        (Outcome(None, score=0.75, attributes={"auc": 0.75, "windows": [1, 2]}), [0.7, 0.75], OptunaState.COMPLETE),
        (Outcome(Cause.PRUNED, message="pruned at step 3"), [0.4, 0.5, 0.3], OptunaState.PRUNED),
        (Outcome(Cause.PRUNED), [0.4, NAN], OptunaState.PRUNED),
        (Outcome(Cause.PRUNED), [0.4, float("inf")], OptunaState.PRUNED),
        (Outcome(Cause.PRUNED), [], OptunaState.PRUNED),
        (Outcome(Cause.DIVERGED, message="ü" * 3000), [0.4], OptunaState.FAIL),
    ],
    ids=["complete", "pruned", "pruned after a look that is no number", "infinite", "without a look", "diverged"],
)
def test_every_end_is_what_optuna_would_have_written(
    storage: Storage, claims: Claims, outcome: Outcome, looks: list[float], state: OptunaState
) -> None:
    trial = begun(storage, claims)
    for step, value in enumerate(looks):
        claims.report(trial.number, value, step)
    claims.end(trial, outcome)
    ours = optuna.load_study(study_name="s", storage=storage.optuna).trials[trial.number]
    theirs = by_optuna(storage, ours, state, outcome.score)
    same = ("state", "values", "params", "distributions", "user_attrs", "system_attrs")
    assert [getattr(ours, name) for name in same] == [getattr(theirs, name) for name in same]
    assert str(ours.intermediate_values) == str(theirs.intermediate_values)
    assert ours.user_attrs.items() >= outcome.attributes.items()
    assert ours.datetime_start is not None
    assert ours.datetime_complete is not None
    assert theirs.datetime_complete is not None
    # All in the time of this place, whatever is stored.
    assert 0 <= (theirs.datetime_complete - ours.datetime_complete).total_seconds() < 60
    assert 0 <= (ours.datetime_complete - ours.datetime_start).total_seconds() < 60
    if outcome.cause is not None:
        assert ours.user_attrs["cause"] == outcome.cause.value
        assert ours.user_attrs["message"] == outcome.message[-2000:]


def test_told_again_it_stays_as_it_is(storage: Storage, claims: Claims) -> None:
    trial = begun(storage, claims)
    claims.end(trial, Outcome(None, score=0.75))
    first = optuna.load_study(study_name="s", storage=storage.optuna).trials[trial.number]
    with storage.engine.begin() as connection:
        connection.execute(text("UPDATE hpo.trial SET published = false, score = 0.1"))
    claims.publish()
    assert optuna.load_study(study_name="s", storage=storage.optuna).trials[trial.number] == first
    assert Control(storage.engine).unpublished("s") == []


def test_neither_side_knows_of_an_end_that_was_broken_off(storage: Storage, claims: Claims) -> None:
    trial = begun(storage, claims)
    claims.write_end(trial, Outcome(None, score=0.75))
    mirror, control = Mirror(storage, "s", 1), Control(storage.engine)
    ended = control.trial("s", trial.number)
    assert ended is not None

    def die(connection: object) -> None:
        mirror.tell(connection, ended)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        control.mark_published("s", trial.number, die)
    assert optuna.load_study(study_name="s", storage=storage.optuna).trials[0].state is OptunaState.RUNNING
    assert [each.number for each in control.unpublished("s")] == [trial.number]


def test_the_end_of_a_trial_that_optuna_has_no_more_is_an_error(storage: Storage, claims: Claims) -> None:
    trial = begun(storage, claims)
    claims.write_end(trial, Outcome(None, score=0.75))
    optuna.delete_study(study_name="s", storage=storage.optuna)
    with pytest.raises(KeyError, match=r"trial 0 of s is not in Optuna's tables any more"):
        claims.publish(trial.number)
    assert [each.number for each in Control(storage.engine).unpublished("s")] == [trial.number]


def test_strays_are_what_optuna_runs_and_nobody_holds(storage: Storage, claims: Claims) -> None:
    held, mirror = begun(storage, claims), Mirror(storage, "s", 1)
    study = optuna.load_study(study_name="s", storage=storage.optuna)
    unknown = study.ask().number
    waiting = begun(storage, claims).number
    with storage.engine.begin() as connection:
        connection.execute(text(f"UPDATE hpo.trial SET state = 'waiting', worker = NULL WHERE number = {waiting}"))
    study.tell(study.ask(), 0.5)
    assert held.number not in {unknown, waiting}
    assert mirror.strays() == [unknown, waiting]


def test_a_trial_that_waited_and_was_given_a_score_has_a_begin(storage: Storage, claims: Claims) -> None:
    trial, study = begun(storage, claims), optuna.load_study(study_name="s", storage=storage.optuna)
    study.enqueue_trial(dict(trial.params))
    claims.write_end(trial, Outcome(None, score=0.75))
    ended, control = Control(storage.engine).trial("s", trial.number), Control(storage.engine)
    assert ended is not None
    mirror, waiting = Mirror(storage, "s", 1), TrialRecord(**{**vars(ended), "number": trial.number + 1})
    control.mark_published("s", waiting.number, partial(mirror.tell, trial=waiting))
    told = optuna.load_study(study_name="s", storage=storage.optuna).trials[waiting.number]
    assert (told.state, told.value) == (OptunaState.COMPLETE, 0.75)
    assert told.datetime_start is not None
