"""Status, alerts and metrics over a real Postgres."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from hpo import control as control_schema
from hpo import embedded
from hpo.control import Control
from hpo.metrics import metrics_text
from hpo.monitor import read_status
from hpo.phase1 import ensure_study
from hpo.presence import this_worker
from hpo.settings import Settings
from hpo.storage import Storage, open_storage
from studies.declaration import Prepared, architecture_values
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


def eta_minutes(control: Control) -> float:
    study = control.study("s")
    assert study is not None
    eta = read_status(control, study, "budget", 60).eta_seconds
    assert eta is not None
    return eta / 60


def test_time_to_go_weighs_slow_and_quick_trials_by_their_own_durations(storage: Storage) -> None:
    # The forced ones: 750k shallow, 750k deep, 200M shallow, 200M deep, 200M dropout, 200M weight decay.
    control = make(storage, trials=6)
    end(storage, 0, minutes=1)
    end(storage, 2, minutes=100)
    # Left are one of a minute and three of a hundred; their mean, 50.5 minutes, would say 202.
    assert eta_minutes(control) == pytest.approx(301, abs=0.5)


def test_time_to_go_is_shared_by_the_workers_but_no_shorter_than_the_longest_trial(storage: Storage) -> None:
    control = make(storage, trials=6)
    end(storage, 0, minutes=1)
    end(storage, 2, minutes=100)
    workers = [replace(this_worker(), id=f"w{number}") for number in range(3)]
    for worker in workers:
        control.register(worker)
    run(storage, 3, "w0", minutes_ago=40)
    # 60 of the running one, 1 + 100 + 100 that wait, among three.
    assert eta_minutes(control) == pytest.approx(100, abs=0.5)
    control.unregister("w2")
    assert eta_minutes(control) == pytest.approx(130.5, abs=0.5)


def test_trials_an_hour_are_those_of_the_last_hour(storage: Storage) -> None:
    control = make(storage)
    end(storage, 0, minutes=1, ago="3 hours")
    end(storage, 1, minutes=1, ago="50 minutes")
    study = control.study("s")
    assert study is not None
    assert read_status(control, study, "budget", 60).trials_per_hour == 1


def test_thresholds_come_from_the_specification_and_may_change_while_it_runs(storage: Storage) -> None:
    control = make(storage, alerts={"trials_per_hour": 50})
    end(storage, 0, minutes=1, ago="3 hours")
    end(storage, 1, minutes=1)

    def alerts() -> tuple[str, ...]:
        study = control.study("s")
        assert study is not None
        return read_status(control, study, "budget", 60).alerts

    assert any("under the floor of 50" in alert for alert in alerts())
    make(storage, alerts={"trials_per_hour": 0.5})
    assert alerts() == ()


def test_failures_with_the_same_cause_are_one_alert(storage: Storage) -> None:
    control = make(storage)
    with storage.engine.begin() as connection:
        statement = """UPDATE hpo.trial SET state = 'failed', cause = 'failed', ended_at = clock_timestamp(),
            message = 'Traceback' || chr(10) || 'ValueError: boom' WHERE number < 4"""
        connection.execute(text(statement))
    study = control.study("s")
    assert study is not None
    found = read_status(control, study, "budget", 60).alerts
    assert "4 trials ended as failed for one reason: ValueError: boom" in found


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
