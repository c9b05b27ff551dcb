"""Giving out trials on a real Postgres: once, within the cap, and after deaths at the worst moments."""

import math
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

import hpo.control
from hpo import control_schema, embedded
from hpo.advisory_lock import LockGivenUpError, advisory_lock
from hpo.artifacts import artifacts_directory
from hpo.claims import Claim, Claims
from hpo.control import Control
from hpo.errors import SpecDiffersError, StorageError, StudyGoneError
from hpo.mirror import Mirror
from hpo.phase1 import ensure_study
from hpo.presence import is_dead, this_worker
from hpo.records import Cause, Outcome, StudyState, TrialState, WorkerRecord
from hpo.settings import load_settings
from hpo.storage import Storage, open_storage
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec


def make_spec(**values: object) -> Spec:
    given = {"name": "s", "objective": "objectives:score", "budgets": ["750k"], "trials": 6, **values}
    return Spec.model_validate(given)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    home = tmp_path_factory.mktemp("home")
    with embedded.use(home) as running:
        yield running


@pytest.fixture
def storage(server: embedded.EmbeddedServer) -> Iterator[Storage]:
    """A database of its own for every test."""
    database = f"test_{uuid.uuid4().hex}"
    with open_storage(load_settings({}), server.url) as maintenance, maintenance.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(f"CREATE DATABASE {database}"))
    with open_storage(load_settings({}), server.url.replace("/postgres?", f"/{database}?")) as opened:
        control_schema.migrate(opened.engine)
        yield opened


def make(storage: Storage, **values: object) -> tuple[Claims, Control]:
    spec = make_spec(**values)
    study = ensure_study(storage, spec, Prepared(architecture_values(spec)))
    return Claims(storage, study, lambda worker: is_dead(worker, 60), Path("/nonexistent")), Control(storage.engine)


def register(control: Control, **values: object) -> str:
    worker = replace(this_worker(), **values)  # type: ignore[arg-type]
    control.register(worker)
    return worker.id


def take(claims: Claims, worker: str | Control) -> Claim:
    """Take a trial for a worker, or for a new one: a worker has one at a time."""
    claim = claims.take(register(worker) if isinstance(worker, Control) else worker)
    assert claim is not None
    return claim


def optuna_states(storage: Storage, name: str = "s") -> list[OptunaState]:
    return [trial.state for trial in optuna.load_study(study_name=name, storage=storage.optuna).trials]


def test_forced_trials_wait_in_optuna_with_their_design_and_derived_values(storage: Storage) -> None:
    make(storage)
    trials = optuna.load_study(study_name="s", storage=storage.optuna).trials
    assert [(t.state, t.user_attrs["design_id"], t.user_attrs["d_model"]) for t in trials] == [
        (OptunaState.WAITING, 1, 192),
        (OptunaState.WAITING, 2, 128),
    ]
    assert optuna.load_study(study_name="s", storage=storage.optuna).metric_names == ["score"]


def test_making_a_study_again_changes_nothing(storage: Storage) -> None:
    make(storage)
    make(storage)
    assert len(optuna_states(storage)) == 2


def test_a_death_while_the_study_is_made_leaves_no_double_and_no_gap(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Control, "add_study", die)
        with pytest.raises(KeyboardInterrupt):
            make(storage)
    assert optuna_states(storage) == [OptunaState.WAITING] * 2
    _, control = make(storage)
    assert optuna_states(storage) == [OptunaState.WAITING] * 2
    assert control.counts("s").waiting == 2


def test_the_cap_is_exact_and_then_the_study_is_finished(storage: Storage) -> None:
    claims, control = make(storage, trials=5)
    worker = register(control)
    for number in range(5):
        assert claims.end(take(claims, worker).trial, Outcome(None, score=0.5 + 0.05 * number))
    assert claims.take(worker) is None
    study = control.study("s")
    assert study is not None
    assert (study.state, study.reason) == (StudyState.FINISHED, "the cap of 5 trials is used: 5 complete")
    assert optuna_states(storage) == [OptunaState.COMPLETE] * 5


def test_only_what_waits_for_a_worker_wakes_the_idle(storage: Storage) -> None:
    claims, control = make(storage, trials=4, forced_extremes=False)
    with storage.engine.connect() as connection:
        listening: Any = connection.execution_options(isolation_level="AUTOCOMMIT").connection.dbapi_connection
        connection.execute(text("LISTEN hpo_work"))

        def heard() -> int:
            listening.poll()
            count = len(listening.notifies)
            listening.notifies.clear()
            return count

        held = take(claims, control).trial
        claims.end(take(claims, control).trial, Outcome(None, score=0.5))
        assert heard() == 0
        claims.end(held, Outcome(Cause.FAILED, message="boom"))
        assert heard() == 1


def test_where_repeats_hold_workers_back_every_new_trial_wakes_them(storage: Storage) -> None:
    claims, control = make(storage, trials=8, seeds=2, forced_extremes=False)
    with storage.engine.connect() as connection:
        listening: Any = connection.execution_options(isolation_level="AUTOCOMMIT").connection.dbapi_connection
        connection.execute(text("LISTEN hpo_work"))
        take(claims, control)
        listening.poll()
        assert len(listening.notifies) == 1


def test_convergence_is_decided_once_with_its_evidence(storage: Storage) -> None:
    claims, control = make(storage, trials=30, early_stop={"patience": 6, "threshold": 0.02, "top_k": 5})
    worker = register(control)
    for number in range(6):
        claims.end(take(claims, worker).trial, Outcome(None, score=0.7 + 0.001 * number))
    assert claims.take(worker) is None
    study = control.study("s")
    assert study is not None
    assert study.state is StudyState.CONVERGED
    assert study.evidence["count"] == 6
    assert study.evidence["spread"] == pytest.approx(0.004)
    assert control.decide("s", StudyState.FINISHED, "late", {}) is False


def test_a_trial_cannot_be_ended_twice_or_by_a_worker_that_lost_it(storage: Storage) -> None:
    claims, control = make(storage)
    first, second = register(control), register(control, id="second")
    held = take(claims, first).trial
    assert claims.end(replace(held, worker=second), Outcome(None, score=0.9)) is False
    assert claims.end(held, Outcome(None, score=0.6)) is True
    assert claims.end(held, Outcome(None, score=0.9)) is False
    trial = optuna.load_study(study_name="s", storage=storage.optuna).trials[held.number]
    assert (trial.state, trial.value) == (OptunaState.COMPLETE, 0.6)


def test_a_failed_trial_runs_again_with_the_same_parameters_until_its_attempts_are_spent(storage: Storage) -> None:
    claims, control = make(storage, trials=2, max_attempts=3)
    worker = register(control)
    first = take(claims, worker)
    claims.end(take(claims, control).trial, Outcome(None, score=0.5))
    claims.end(first.trial, Outcome(Cause.FAILED, message="boom"))
    for attempt in (2, 3):
        again = take(claims, worker)
        assert (again.trial.attempt, again.trial.slot, again.trial.params) == (attempt, 1, first.trial.params)
        assert again.trial.design_id == "1"
        claims.end(again.trial, Outcome(Cause.FAILED, message="boom"))
    assert claims.take(worker) is None
    study = control.study("s")
    assert study is not None
    assert study.reason == "the cap of 2 trials is used: 1 complete, 1 failed for good"
    counts = control.counts("s")
    assert (counts.complete, counts.failed, counts.replaced) == (1, 1, 2)


def test_a_diverged_trial_is_not_tried_again_and_its_score_is_never_told(storage: Storage) -> None:
    claims, control = make(storage)
    held = take(claims, register(control)).trial
    claims.end(held, Outcome(Cause.DIVERGED, score=math.nan, message="the loss became nan"))
    trial = optuna.load_study(study_name="s", storage=storage.optuna).trials[held.number]
    assert (trial.state, trial.value, trial.user_attrs["cause"]) == (OptunaState.FAIL, None, "diverged")
    assert control.counts("s").failed == 1


def test_an_interrupted_trial_spends_no_attempt(storage: Storage) -> None:
    claims, control = make(storage, budgets=["750k"], trials=2)
    worker = register(control)
    held = take(claims, worker).trial
    claims.end(held, Outcome(Cause.INTERRUPTED))
    take(claims, control)
    again = take(claims, worker).trial
    assert (again.slot, again.turn, again.attempt) == (held.slot, 2, 1)


DEAD = {"pid": 2**22 + 5, "id": "dead"}


def test_the_trial_of_a_dead_worker_is_put_back_once(storage: Storage) -> None:
    claims, control = make(storage)
    lost = take(claims, register(control, **DEAD)).trial
    numbers = {take(claims, control).trial.slot, take(claims, control).trial.slot}
    assert numbers == {1, 2}
    assert claims.reap() == 0
    assert claims.end(lost, Outcome(None, score=0.9)) is False
    assert control.counts("s").replaced == 1


def test_a_worker_on_another_machine_is_dead_when_it_is_silent_for_too_long() -> None:
    far = WorkerRecord("w", "elsewhere", "elsewhere", 1, 0.0, silent_seconds=59)
    assert is_dead(far, 60) is False
    assert is_dead(replace(far, silent_seconds=61), 60) is True


def test_a_worker_that_died_between_asking_and_saying_so_leaves_no_immortal_trial(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, trials=3)
    worker = register(control)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(Control, "start_trial", die)
            with pytest.raises(KeyboardInterrupt):
                claims.take(worker)
    slots = []
    while (claim := claims.take(worker)) is not None:
        slots.append((claim.trial.slot, claim.trial.attempt))
        claims.end(claim.trial, Outcome(None, score=0.5))
    assert sorted(slots) == [(1, 1), (2, 1), (3, 1)]
    assert OptunaState.RUNNING not in optuna_states(storage)
    assert OptunaState.WAITING not in optuna_states(storage)


class ConnectionLostError(OperationalError):
    """What SQLAlchemy raises when the server closes the connection."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__("statement", {}, Exception("server closed the connection"))


def lose_the_connection(*_: object, **__: object) -> None:
    raise ConnectionLostError


def test_a_trial_that_its_worker_never_heard_of_is_put_back_by_its_own_next_look(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, trials=2)
    worker, start_trial = register(control), Control.start_trial

    def start_and_lose_the_connection(control: Control, study: str, number: int, worker: str) -> None:
        assert start_trial(control, study, number, worker)
        raise ConnectionLostError

    with monkeypatch.context() as patched:
        patched.setattr(Control, "start_trial", start_and_lose_the_connection)
        with pytest.raises(ConnectionLostError):
            claims.take(worker)
    ended = []
    while (claim := claims.take(worker)) is not None:
        ended.append((claim.trial.slot, claim.trial.turn, claim.trial.attempt))
        claims.end(claim.trial, Outcome(None, score=0.5))
    assert sorted(ended) == [(1, 2, 1), (2, 1, 1)]
    study = control.study("s")
    assert study is not None
    assert study.state is StudyState.FINISHED
    assert set(optuna_states(storage)) == {OptunaState.COMPLETE, OptunaState.FAIL}


def test_a_worker_that_lost_its_trial_puts_nothing_into_the_queue(storage: Storage) -> None:
    claims, control = make(storage, trials=2)
    lost = take(claims, register(control, **DEAD)).trial
    for _ in range(2):
        claims.end(take(claims, control).trial, Outcome(None, score=0.5))
    # It comes back, after the trial has run elsewhere.
    assert claims.end(lost, Outcome(Cause.INTERRUPTED)) is False
    assert OptunaState.WAITING not in optuna_states(storage)
    assert claims.take(register(control)) is None


def test_a_trial_half_put_back_is_not_run_beside_the_one_that_it_follows(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, trials=2)
    worker = register(control)
    held = take(claims, worker).trial
    with monkeypatch.context() as patched:
        patched.setattr(Control, "replace_trial", lose_the_connection)
        with pytest.raises(ConnectionLostError):
            claims.end(held, Outcome(Cause.INTERRUPTED))
    # Others work on while the first has not found the database again.
    assert take(claims, control).trial.slot == 2
    assert claims.take(register(control)) is None
    assert claims.end(held, Outcome(Cause.INTERRUPTED)) is True
    again = take(claims, control).trial
    assert (again.slot, again.turn, again.design_id) == (1, 2, "1")


def test_a_score_that_comes_late_counts_as_long_as_nobody_has_begun_the_trial_again(storage: Storage) -> None:
    claims, control = make(storage, trials=2)
    late = take(claims, register(control, **DEAD)).trial
    assert claims.settle() == 1
    assert claims.end(late, Outcome(None, score=0.9, attributes={"auc_low": 0.8})) is False
    trials = optuna.load_study(study_name="s", storage=storage.optuna).trials
    assert [(trial.state, trial.value) for trial in trials if trial.user_attrs["slot"] == 1] == [
        (OptunaState.FAIL, None),
        (OptunaState.COMPLETE, 0.9),
    ]
    assert trials[-1].user_attrs["auc_low"] == 0.8
    assert take(claims, control).trial.slot == 2
    counts = control.counts("s")
    assert (counts.complete, counts.running, counts.waiting) == (1, 1, 0)


def test_a_late_score_whose_teller_died_is_told_and_not_run_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, trials=3)
    late = take(claims, register(control, **DEAD)).trial
    claims.settle()
    with monkeypatch.context() as patched:
        patched.setattr(Claims, "publish", lose_the_connection)
        with pytest.raises(ConnectionLostError):
            claims.end(late, Outcome(None, score=0.9))
    assert [take(claims, control).trial.slot for _ in range(2)] == [2, 3]
    assert sorted(state.name for state in optuna_states(storage)) == ["COMPLETE", "FAIL", "RUNNING", "RUNNING"]


def test_a_trial_that_waits_and_is_ended_in_the_dashboard_runs_all_the_same(storage: Storage) -> None:
    claims, control = make(storage, trials=2)
    told = optuna.load_study(study_name="s", storage=storage.optuna).trials[0]
    storage.optuna.set_trial_state_values(told._trial_id, OptunaState.COMPLETE, [0.99])
    slots = {take(claims, control).trial.slot for _ in range(2)}
    assert slots == {1, 2}
    assert claims.take(register(control)) is None
    assert len(optuna_states(storage)) == 3


def test_a_study_that_was_deleted_in_the_dashboard_says_so(storage: Storage) -> None:
    make(storage)
    optuna.delete_study(study_name="s", storage=storage.optuna)
    with pytest.raises(StudyGoneError, match="deleted or renamed.*`hpo stop s`"):
        make(storage)


def test_who_has_to_go_does_not_wait_for_the_lock_of_another(storage: Storage) -> None:
    make(storage)
    study = Control(storage.engine).study("s")
    assert study is not None
    hurried = Claims(storage, study, lambda _: False, Path("/nonexistent"), give_up=lambda: True)
    with (
        storage.engine.connect() as connection,
        advisory_lock(connection, "hpo study s"),
        pytest.raises(LockGivenUpError),
    ):
        hurried.take("nobody")


def test_who_has_to_go_waits_for_the_lock_of_another_to_put_its_trial_back(storage: Storage) -> None:
    claims, control = make(storage)
    claim, study = take(claims, control), control.study("s")
    assert study is not None
    given_up, end = threading.Event(), Outcome(Cause.INTERRUPTED)
    hurried = Claims(storage, study, lambda _: False, Path("/nonexistent"), lambda: True, given_up.is_set)
    with storage.engine.connect() as connection, ThreadPoolExecutor() as pool:
        with advisory_lock(connection, "hpo study s"):
            waiting = pool.submit(hurried.write_end, claim.trial, end)
            # A lock is waited for by a second at first.
            with pytest.raises(TimeoutError):
                waiting.result(2.5)
        assert waiting.result(10)
        assert control.counts("s").running == 0
        claim = take(claims, control)
        given_up.set()
        with advisory_lock(connection, "hpo study s"), pytest.raises(LockGivenUpError):
            hurried.write_end(claim.trial, end)


def test_a_worker_that_died_between_making_a_trial_and_writing_it_down_uses_up_no_slot(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, trials=2, forced_extremes=False)
    worker = register(control)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(hpo.control, "_insert_trial", die)
        with pytest.raises(KeyboardInterrupt):
            claims.take(worker)
    assert optuna_states(storage) == []
    for _ in range(2):
        claims.end(take(claims, worker).trial, Outcome(None, score=0.5))
    assert claims.take(worker) is None
    assert optuna_states(storage) == [OptunaState.COMPLETE, OptunaState.COMPLETE]


def test_a_trial_whose_slot_is_taken_is_on_neither_side(storage: Storage) -> None:
    claims, control = make(storage, trials=4, forced_extremes=False)
    first = take(claims, control).trial
    mirror = Mirror(storage, "s", 1)

    def insert(connection: Connection) -> int:
        return mirror.begin(connection, first, claims.declaration.space, "w")

    assert control.begin_new_trial("s", first, register(control), insert) is None
    assert optuna_states(storage) == [OptunaState.RUNNING]
    assert [trial.slot for trial in control.trials("s")] == [1]


def test_a_new_trial_stands_in_optuna_as_optuna_itself_would_have_written_it(storage: Storage) -> None:
    claims, control = make(storage, trials=4, forced_extremes=False)
    trial = take(claims, control).trial
    study = optuna.load_study(study_name="s", storage=storage.optuna)
    ours = study.trials[trial.number]
    made = storage.optuna.create_new_trial(
        study._study_id,
        optuna.trial.create_trial(
            state=OptunaState.RUNNING,
            params=dict(trial.params),
            distributions=dict(claims.declaration.space),
            user_attrs=ours.user_attrs,
        ),
    )
    theirs = storage.optuna.get_trial(made)
    assert theirs.number == ours.number + 1
    same = ("state", "values", "params", "distributions", "user_attrs", "system_attrs", "intermediate_values")
    assert [getattr(ours, name) for name in same] == [getattr(theirs, name) for name in same]
    assert ours.datetime_start is not None
    assert theirs.datetime_start is not None
    # Both in the time of this place, whatever is stored.
    assert 0 <= (theirs.datetime_start - ours.datetime_start).total_seconds() < 60
    assert ours.datetime_complete is None
    assert {"slot", "turn", "attempt", "seed", "origin", "worker", "d_model"} <= ours.user_attrs.keys()


def test_what_a_dead_worker_took_and_nobody_holds_has_ended_in_optuna_when_the_search_has(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, trials=2, forced_extremes=False)
    claims.end(take(claims, control).trial, Outcome(None, score=0.5))
    by_hand = {"budget": "750k", "style": "deep", "dropout": 0.2, "learning_rate": 2e-4, "weight_decay": 0.0}
    optuna.load_study(study_name="s", storage=storage.optuna).enqueue_trial(by_hand)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    study = control.study("s")
    assert study is not None
    with monkeypatch.context() as patched:
        patched.setattr(Control, "begin_trial", die)
        with pytest.raises(KeyboardInterrupt):
            Claims(storage, study, lambda _: False, Path("/nonexistent")).take(register(control))
    # Another worker, which looked for such trials a moment ago.
    worker = register(control)
    claims.end(take(claims, worker).trial, Outcome(None, score=0.6))
    assert claims.take(worker) is None
    assert optuna_states(storage) == [OptunaState.COMPLETE, OptunaState.FAIL, OptunaState.COMPLETE]


def test_trials_that_wait_above_and_below_each_other_are_all_seen(storage: Storage) -> None:
    claims, control = make(storage, trials=4, forced_extremes=False)
    by_hand = {"budget": "750k", "style": "deep", "dropout": 0.2, "learning_rate": 2e-4, "weight_decay": 0.0}
    first = take(claims, control).trial
    enqueued = len(optuna_states(storage))
    optuna.load_study(study_name="s", storage=storage.optuna).enqueue_trial(by_hand)
    # Made by another worker that had looked into the queue before: it stands above the one that waits.
    above, mirror = replace(first, slot=2, worker=None), Mirror(storage, "s", 1)

    def insert(connection: Connection) -> int:
        return mirror.begin(connection, above, claims.declaration.space, "w")

    assert control.begin_new_trial("s", above, register(control), insert)
    assert take(claims, control).trial.number == enqueued
    claims.end(first, Outcome(None, score=0.5))
    assert take(claims, control).trial.slot == 4
    assert claims.take(register(control)) is None


def test_an_end_that_optuna_was_not_told_is_told_by_the_next_who_comes(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage)
    held = take(claims, register(control)).trial

    def die(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Claims, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            claims.end(held, Outcome(None, score=0.8, attributes={"auc_low": 0.7}))
    assert optuna_states(storage)[held.number] is OptunaState.RUNNING
    claims.settle()
    trial = optuna.load_study(study_name="s", storage=storage.optuna).trials[held.number]
    assert (trial.value, trial.user_attrs["auc_low"]) == (0.8, 0.7)


def test_a_trial_enqueued_by_hand_takes_a_slot_of_the_cap(storage: Storage) -> None:
    claims, control = make(storage, trials=3)
    by_hand = {"budget": "750k", "style": "deep", "dropout": 0.2, "learning_rate": 2e-4, "weight_decay": 0.0}
    optuna.load_study(study_name="s", storage=storage.optuna).enqueue_trial(by_hand)
    taken = [take(claims, control).trial for _ in range(3)]
    assert taken[2].params == by_hand
    assert taken[2].attributes["d_model"] == 128
    assert claims.take(register(control)) is None


def test_a_proposal_that_repeats_a_finished_trial_is_asked_anew_or_gets_the_next_seed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, trials=4)
    done = [take(claims, control).trial for _ in range(2)]
    for trial in done:
        claims.end(trial, Outcome(None, score=0.5))
    repeat, fresh = dict(done[0].params), {**done[0].params, "dropout": 0.25}
    # The first is for warming up.
    proposals = [repeat, repeat, repeat, fresh, *[repeat] * 16]
    monkeypatch.setattr("hpo.claims.STRATEGIES", {"tpe": lambda: lambda *_: proposals.pop(0)})
    claims, _ = make(storage, trials=4)
    assert take(claims, control).trial.params == fresh
    exhausted = take(claims, control).trial
    assert (exhausted.params, exhausted.seed) == (repeat, done[0].seed + 1)


def test_resuming_overrides_a_convergence_until_the_cap(storage: Storage) -> None:
    claims, control = make(storage, trials=8, early_stop={"patience": 5, "threshold": 1.0, "top_k": 5})
    worker = register(control)
    while (claim := claims.take(worker)) is not None:
        claims.end(claim.trial, Outcome(None, score=0.7))
    study = control.study("s")
    assert study is not None
    assert (study.state, control.counts("s").complete) == (StudyState.CONVERGED, 5)
    control.resume(replace(study, convergence_off=True), "resumed")
    while (claim := claims.take(worker)) is not None:
        claims.end(claim.trial, Outcome(None, score=0.7))
    assert control.counts("s").complete == 8


def test_another_specification_under_the_same_name_says_what_differs(storage: Storage) -> None:
    make(storage)
    with pytest.raises(SpecDiffersError, match=r"seed: 1 → 2.*--name"):
        make(storage, seed=2)
    with pytest.raises(SpecDiffersError, match=r"hpo resume s --trials 9"):
        make(storage, trials=9)


def test_other_data_under_the_same_specification_is_refused(storage: Storage) -> None:
    make(storage)
    spec = make_spec()
    with pytest.raises(SpecDiffersError, match="the data of study s has changed"):
        ensure_study(storage, spec, Prepared(architecture_values(spec), sizes={"panel": "other"}))


def test_a_study_that_something_else_made_is_left_alone(storage: Storage) -> None:
    foreign = optuna.create_study(study_name="s", storage=storage.optuna)
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(StorageError, match="made by something else"):
        make(storage)
    assert optuna_states(storage) == [OptunaState.COMPLETE]


def test_what_had_to_become_smaller_stays_so_after_its_worker_has_died(storage: Storage) -> None:
    claims, control = make(storage, forced_extremes=False, training={"effective_batch": 8}, max_attempts=2)
    claims.end(take(claims, control).trial, Outcome(Cause.OUT_OF_MEMORY))
    held = take(claims, register(control, pid=2**22 + 1, started=1.0))
    assert held.params["micro_batch"] == 4
    again = take(claims, control)
    assert (again.trial.attempt, again.params["micro_batch"], again.params["accumulation"]) == (3, 4, 2)
    claims.end(again.trial, Outcome(Cause.INTERRUPTED))
    third = take(claims, control)
    assert (third.trial.attempt, third.params["micro_batch"]) == (3, 4)
    claims.end(third.trial, Outcome(Cause.OUT_OF_MEMORY))
    assert take(claims, control).params["micro_batch"] == 2


def test_a_study_that_was_prepared_before_batches_were_stored_halves_and_ends(storage: Storage) -> None:
    spec = make_spec(trials=1, forced_extremes=False, training={"effective_batch": 4})
    study = ensure_study(storage, spec, Prepared(architecture_values(spec)[1:]))
    claims, control = Claims(storage, study, lambda _: False, Path("/nonexistent")), Control(storage.engine)
    seen = []
    while claim := claims.take(register(control)):
        seen.append(claim.params.get("micro_batch"))
        claims.end(claim.trial, Outcome(Cause.OUT_OF_MEMORY))
    assert seen == [None, 2, 1]
    told = optuna.load_study(study_name="s", storage=storage.optuna).trials[-1]
    assert (told.state, told.constraints) == (OptunaState.PRUNED, {"memory": 1.0})
    ended = control.study("s")
    assert ended is not None
    assert (ended.state, ended.reason) == (
        StudyState.FINISHED,
        "the cap of 1 trial is used: 0 complete, 1 failed for good",
    )


def test_only_the_best_trials_and_those_under_way_keep_their_weights(storage: Storage, tmp_path: Path) -> None:
    spec = make_spec(objective="neuralforecast", keep_weights=2)
    study = ensure_study(storage, spec, Prepared(architecture_values(spec)))
    claims, control = Claims(storage, study, lambda worker: is_dead(worker, 60), tmp_path), Control(storage.engine)
    worker = register(control)

    def files() -> list[Path]:
        return sorted(tmp_path.rglob("weights.ckpt"))

    def begin(holder: str) -> tuple[Claim, Path]:
        claim = take(claims, holder)
        path = artifacts_directory(tmp_path, "s", claim.trial.number) / "weights.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        return claim, path

    # Those of Phase 2 lie below, and are not this study's.
    other = tmp_path / "artifacts" / "s" / "phase2" / "2M" / "00009" / "weights.ckpt"
    other.parent.mkdir(parents=True)
    other.touch()
    _, running = begin(register(control, id="another"))
    kept = []
    for score in (0.6, 0.7, 0.5, 0.65):
        claim, path = begin(worker)
        assert claims.end(claim.trial, Outcome(None, score=score))
        claims.forget_surpassed()
        kept.append(path)
    assert files() == sorted([other, running, kept[1], kept[3]])


def test_ten_seeds_of_one_configuration_take_one_place_and_its_first_trial_stands_for_it(
    storage: Storage, tmp_path: Path
) -> None:
    spec = make_spec(objective="neuralforecast", keep_weights=2)
    study = ensure_study(storage, spec, Prepared(architecture_values(spec)))
    claims, control = Claims(storage, study, lambda worker: is_dead(worker, 60), tmp_path), Control(storage.engine)
    worker = register(control)
    first = take(claims, worker)
    assert claims.end(first.trial, Outcome(None, score=0.7))
    second = take(claims, worker)
    assert claims.end(second.trial, Outcome(None, score=0.6))
    for number, score in ((90, 0.9), (91, 0.68)):
        again = replace(first.trial, number=number, slot=number, seed=number, design_id=None)
        assert control.begin_trial("s", again, worker)
        assert control.end_trial("s", replace(again, worker=worker), TrialState.COMPLETE, score=score)
    # One more that this storage has never heard of: another one has a study of the same name.
    for number in (first.trial.number, 90, 91, second.trial.number, 77):
        path = artifacts_directory(tmp_path, "s", number) / "weights.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
    claims.forget_surpassed()
    kept = {int(path.parent.name) for path in tmp_path.rglob("weights.ckpt")}
    assert kept == {first.trial.number, second.trial.number, 77}


def test_what_an_objective_of_a_users_own_keeps_is_never_removed(storage: Storage, tmp_path: Path) -> None:
    spec = make_spec(keep_weights=0)
    study = ensure_study(storage, spec, Prepared(architecture_values(spec)))
    claims = Claims(storage, study, lambda worker: is_dead(worker, 60), tmp_path)
    path = artifacts_directory(tmp_path, "s", 3) / "weights.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    claims.forget_surpassed()
    assert path.exists()
