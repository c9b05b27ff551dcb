"""Status, alerts and metrics over a real Postgres."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from hpo import control_schema, embedded
from hpo.alerts import AlertKind
from hpo.control import Control
from hpo.instability import BatchSwing
from hpo.metrics import metrics_text
from hpo.monitor import Status, read_status
from hpo.phase1 import ensure_study
from hpo.presence import this_host, this_worker
from hpo.records import StudyState
from hpo.settings import Settings
from hpo.status_view import summary
from hpo.storage import Storage, open_storage
from studies.declaration import Derived, Prepared, architecture_values
from studies.spec import Spec


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("home")
    with embedded.use(home):
        yield Settings(home)


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    with open_storage(settings) as opened:
        with opened.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA IF EXISTS hpo CASCADE"))
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        control_schema.migrate(opened.engine)
        yield opened


def make(storage: Storage, **values: object) -> Control:
    given = {"name": "s", "objective": "objectives:score", "budgets": ["750k", "200M"], "trials": 12, **values}
    spec = Spec.model_validate(given)
    ensure_study(storage, spec, Prepared(architecture_values(spec)))
    return Control(storage.engine)


def end(storage: Storage, number: int, minutes: float, ago: str = "1 minute") -> None:
    """Let a trial have taken so long, and have ended so long ago."""
    statement = f"""UPDATE hpo.trial SET state = 'complete', score = 0.5,
        ended_at = clock_timestamp() - interval '{ago}',
        started_at = clock_timestamp() - interval '{ago}' - make_interval(secs => {minutes * 60})
        WHERE number = {number}"""
    with storage.engine.begin() as connection:
        connection.execute(text(statement))


def run(storage: Storage, number: int, worker: str, minutes_ago: float) -> None:
    statement = f"""UPDATE hpo.trial SET state = 'running', worker = '{worker}',
        started_at = clock_timestamp() - make_interval(secs => {minutes_ago * 60}) WHERE number = {number}"""
    with storage.engine.begin() as connection:
        connection.execute(text(statement))


def here(control: Control, name: str = "w0") -> None:
    """Let a living worker have registered."""
    control.register(replace(this_worker(), id=name))


def set_running(storage: Storage, hours_ago: float) -> None:
    """Let the study have been made, or have been set running again, so long ago."""
    statement = f"UPDATE hpo.study SET changed_at = clock_timestamp() - make_interval(secs => {hours_ago * 3600})"
    with storage.engine.begin() as connection:
        connection.execute(text(statement))


def status_of(control: Control, size_key: str = "budget") -> Status:
    study = control.study("s")
    assert study is not None
    return read_status(control, study, size_key, 60)


def alerts_of(control: Control) -> list[str]:
    return [alert.text for alert in status_of(control).alerts]


def eta_minutes(control: Control) -> float:
    eta = status_of(control).eta_seconds
    assert eta is not None
    return eta / 60


def test_time_to_go_weighs_slow_and_quick_trials_by_their_own_durations(storage: Storage) -> None:
    # The forced ones: 750k shallow, 750k deep, 200M shallow, 200M deep, 200M dropout, 200M weight decay.
    control = make(storage, trials=6)
    here(control)
    end(storage, 0, minutes=1)
    end(storage, 2, minutes=100)
    # Left are one of a minute and three of a hundred; their mean, 50.5 minutes, would say 202.
    assert eta_minutes(control) == pytest.approx(301, abs=0.5)


def test_time_to_go_is_shared_by_the_workers_but_no_shorter_than_the_longest_trial(storage: Storage) -> None:
    control = make(storage, trials=6)
    end(storage, 0, minutes=1)
    end(storage, 2, minutes=100)
    for number in range(3):
        here(control, f"w{number}")
    run(storage, 3, "w0", minutes_ago=40)
    # 60 of the running one, 1 + 100 + 100 that wait, among three.
    assert eta_minutes(control) == pytest.approx(100, abs=0.5)
    control.unregister("w2")
    assert eta_minutes(control) == pytest.approx(130.5, abs=0.5)


def test_a_study_that_nobody_works_on_has_no_time_to_go_and_says_so(storage: Storage) -> None:
    control = make(storage, trials=6)
    end(storage, 0, minutes=1)
    (alert,) = alerts_of(control)
    assert alert.startswith("no worker: `hpo worker --study s`")
    assert status_of(control).eta_seconds is None
    assert "nobody works on it" in summary(status_of(control))[-1]
    here(control)
    assert (alerts_of(control), status_of(control).eta_seconds) == ([], pytest.approx(300, abs=0.5))


def test_a_worker_that_was_started_for_another_study_does_not_count(storage: Storage) -> None:
    control = make(storage)
    here(control)
    with storage.engine.begin() as connection:
        connection.execute(text("""UPDATE hpo.worker SET vitals = '{"studies": ["other"]}' WHERE id = 'w0'"""))
    assert status_of(control).workers == ()
    assert [alert.kind for alert in status_of(control).alerts] == [AlertKind.NO_WORKER]


def test_time_to_go_of_phase_2_knows_the_batches_that_have_not_run_yet_by_their_operations(storage: Storage) -> None:
    centre = {"style": "deep", "dropout": 0.5, "n_heads": 4, "learning_rate": 1e-4, "weight_decay": 0.05}
    name, around = "s/phase2/750k", {"of": "s", "trial": 0, "effective_batch": 64, **centre}
    spec = Spec.model_validate({"name": name, "budgets": ["750k"], "trials": 8, "supplementary": around})
    make(storage)
    flops = tuple(Derived({"effective_batch_log2": power}, {"flops": 2**power * 1000}) for power in range(3, 9))
    ensure_study(storage, spec, Prepared((*architecture_values(spec), *flops)))
    control = Control(storage.engine)
    here(control)
    # Six corners have a batch of 64; left are those of 8 and of 256.
    for number in range(6):
        end(storage, number, minutes=64)
    study = control.study(name)
    assert study is not None
    eta = read_status(control, study, "effective_batch_log2", 60).eta_seconds
    assert eta == pytest.approx(60 * (8 + 256), abs=1)


def test_trials_an_hour_are_those_of_the_last_hour(storage: Storage) -> None:
    control = make(storage)
    set_running(storage, hours_ago=5)
    end(storage, 0, minutes=1, ago="3 hours")
    end(storage, 1, minutes=1, ago="50 minutes")
    assert status_of(control).trials_per_hour == 1


def test_after_a_resume_trials_an_hour_count_from_then_on(storage: Storage) -> None:
    control = make(storage)
    set_running(storage, hours_ago=0.5)
    for number in range(4):
        end(storage, number, minutes=1, ago="50 minutes")
    assert status_of(control).trials_per_hour is None
    # Under way when the study was set running again, and ended since.
    end(storage, 4, minutes=20, ago="15 minutes")
    assert status_of(control).trials_per_hour == pytest.approx(2, abs=0.05)


def test_trials_an_hour_of_a_study_that_has_ended_are_those_of_its_last_hour(storage: Storage) -> None:
    control = make(storage)
    end(storage, 0, minutes=1, ago="9 hours")
    for number in range(1, 4):
        end(storage, number, minutes=1, ago="5 hours")
    control.decide("s", StudyState.STOPPED, "", {})
    assert status_of(control).trials_per_hour == 3


def test_no_trial_in_an_hour_is_a_rate_of_zero(storage: Storage) -> None:
    control = make(storage, alerts={"trials_per_hour": 0.5})
    here(control)
    run(storage, 0, "w0", minutes_ago=30)
    set_running(storage, hours_ago=0.9)
    assert (status_of(control).trials_per_hour, alerts_of(control)) == (None, [])
    set_running(storage, hours_ago=1.1)
    assert alerts_of(control) == ["0 trials an hour, under the floor of 0.5: add workers, or see what holds them up"]


def test_thresholds_come_from_the_specification_and_may_change_while_it_runs(storage: Storage) -> None:
    control = make(storage, alerts={"trials_per_hour": 50})
    set_running(storage, hours_ago=5)
    here(control)
    end(storage, 0, minutes=1, ago="3 hours")
    end(storage, 1, minutes=1)
    assert any("under the floor of 50" in alert for alert in alerts_of(control))
    make(storage, alerts={"trials_per_hour": 0.5})
    assert alerts_of(control) == []


MESSAGES = {
    "lost": ["worker box-17-a1b2c3 is gone", "worker box-19-d4e5f6 is gone", "worker other-3-aa is gone"],
    "out_of_memory": [
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.25 GiB",
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried 68719476736 bytes",
        "out of memory: ",
    ],
    "diverged": [f"the training loss became nan at step {step}" for step in (7, 31, 120)],
    "failed": [
        "Traceback (most recent call last):\n  File 'x.py', line 3\nValueError: 7 of <object at 0x7f3a2c> is 1.5e-05\n",
        "Traceback (most recent call last):\n  File 'x.py', line 3\nValueError: 4 of <object at 0x7fbb10> is 0.25",
        "Traceback (most recent call last):\n  File 'x.py', line 9\nValueError: 230 of <object at 0x55cc> is 3",
    ],
}


@pytest.mark.parametrize("cause", MESSAGES)
def test_failures_with_the_same_cause_are_one_alert_that_shows_the_latest(storage: Storage, cause: str) -> None:
    control = make(storage)
    fail(storage, cause, MESSAGES[cause])
    (failure,) = control.repeated_failures("s", 3)
    assert (failure.cause, failure.times, failure.latest) == (cause, 3, 2)
    assert failure.reason == MESSAGES[cause][-1].splitlines()[-1].strip()


def test_failures_for_different_reasons_are_no_repetition(storage: Storage) -> None:
    control = make(storage)
    fail(storage, "failed", ["ValueError: boom", "KeyError: 'x'", "the process exited with code 1"])
    assert control.repeated_failures("s", 2) == []


def fail(storage: Storage, cause: str, messages: list[str]) -> None:
    statement = """UPDATE hpo.trial SET state = 'failed', cause = :cause, message = :message,
        ended_at = clock_timestamp() WHERE number = :number"""
    with storage.engine.begin() as connection:
        for number, message in enumerate(messages):
            connection.execute(text(statement), {"cause": cause, "message": message, "number": number})


def test_the_metrics_are_the_numbers_of_the_status(storage: Storage, settings: Settings) -> None:
    make(storage)
    end(storage, 0, minutes=1)
    found = metrics_text(settings, None)
    lines = found.splitlines()
    assert 'hpo_trials{state="complete",study="s"} 1.0' in lines
    assert 'hpo_trials_cap{study="s"} 12.0' in lines
    assert 'hpo_study_running{phase="1",study="s"} 1.0' in lines
    assert 'hpo_best_score{study="s"} 0.5' in lines
    assert "hpo_up 1.0" in lines


def test_the_metrics_show_each_card_once_and_what_a_worker_has_of_its_own(storage: Storage, settings: Settings) -> None:
    control = make(storage)
    here(control)
    here(control, "w1")
    vitals = """{"own_memory_mb": 29.5, "gpus": [{"name": "A100", "used_mb": 9000, "total_mb": 10000}]}"""
    with storage.engine.begin() as connection:
        connection.execute(text("UPDATE hpo.worker SET vitals = CAST(:vitals AS jsonb)"), {"vitals": vitals})
    lines, host = metrics_text(settings, None).splitlines(), this_host()
    assert f'hpo_gpu_memory_used_mb{{gpu="0",host="{host}",name="A100"}} 9000.0' in lines
    assert f'hpo_gpu_memory_total_mb{{gpu="0",host="{host}",name="A100"}} 10000.0' in lines
    assert f'hpo_worker_own_memory_mb{{host="{host}",worker="w1"}} 29.5' in lines
    assert 'hpo_alerts{kind="gpu_memory",study="s"} 1.0' in lines
    assert sum(line.startswith("hpo_gpu_memory_used_mb{") for line in lines) == 1


def test_a_worker_is_asked_to_leave_the_idle_first(storage: Storage) -> None:
    control = make(storage)
    for number in range(3):
        control.register(replace(this_worker(), id=f"w{number}"))
    run(storage, 0, "w2", minutes_ago=1)
    assert control.ask_to_leave(["w0", "w1", "w2"], 2) == 2
    assert {worker.id: worker.leave_asked for worker in control.workers()} == {"w0": True, "w1": True, "w2": False}
    assert control.ask_to_leave(["w0", "w1", "w2"], 5) == 1


def test_an_older_schema_is_brought_up_to_date_with_its_studies(tmp_path: Path) -> None:
    from alembic import command

    home = tmp_path / "home"
    with open_storage(Settings(home)) as opened:
        with opened.engine.connect() as connection:
            connection.execute(text("CREATE SCHEMA hpo"))
            connection.commit()
            config = control_schema._alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.execute(
                text("""INSERT INTO hpo.study (name, phase, spec, fingerprint, prepared, cap, state)
                VALUES ('old', 1, '{}', '', '{}', 5, 'running')""")
            )
            connection.commit()
        control_schema.migrate(opened.engine)
        control = Control(opened.engine)
        study = control.study("old")
        assert study is not None
        assert (study.parent, study.history, study.noted) == (None, [], False)
        assert [work.study for work in control.open_work()] == ["old"]


def test_a_configuration_that_was_made_smaller_again_and_again_is_one_failure(storage: Storage) -> None:
    control = make(storage)
    with storage.engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO hpo.trial (study, number, slot, turn, attempt, origin, seed, params, attributes, state,
                    cause, message)
                SELECT 's', 100 + turn, 50, turn, turn, 'sampled', 1, '{}', '{}', 'replaced', 'out_of_memory', 'no'
                FROM generate_series(1, 6) turn""")
        )
    assert control.repeated_failures("s", 2) == []
    (failure,) = control.repeated_failures("s", 1)
    assert (failure.times, failure.latest) == (1, 106)


@pytest.mark.parametrize(
    "recorded",
    [
        '{"batch_metric": "auc", "batch_metric_std": "wide", "effective_batch": 64}',
        '{"batch_metric": "auc", "batch_metric_std": 0.1, "effective_batch": "all"}',
        '{"batch_metric_std": 0.1, "effective_batch": 64}',
        '{"batch_metric": "auc", "batch_metric_std": null}',
    ],
)
def test_what_an_objective_records_under_our_names_breaks_no_status(storage: Storage, recorded: str) -> None:
    control = make(storage)
    end(storage, 0, 1)
    end(storage, 1, 1)
    with storage.engine.begin() as connection:
        connection.execute(
            text("UPDATE hpo.trial SET attributes = CAST(:found AS jsonb) WHERE number = 0"), {"found": recorded}
        )
        good = '{"batch_metric": "auc", "batch_metric_std": 0.1, "effective_batch": 64.0}'
        connection.execute(
            text("UPDATE hpo.trial SET attributes = CAST(:found AS jsonb) WHERE number = 1"), {"found": good}
        )
    assert control.batch_swings("s") == [BatchSwing(1, "auc", 64, 0.1)]
