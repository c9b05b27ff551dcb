"""Copying a study from a real Postgres, SQLite file or journal: exact, again and again; nothing is written there."""

import hashlib
import math
import re
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from servers import TcpPostgres
from sqlalchemy import MetaData, create_engine, text

from budgets.errors import InputError
from hpo import control_schema
from hpo.errors import StorageError, UnknownStudyError
from hpo.import_source import open_source
from hpo.importing import IMPORTED_FROM, Imported, import_study
from hpo.phase1 import ensure_study
from hpo.report.reading import read_evidence
from hpo.settings import Settings
from hpo.storage import open_storage, optuna_address, parse_storage_url
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "layers": IntDistribution(1, 8),
    "kind": CategoricalDistribution(("a", None, True, 1.5)),
}


@pytest.fixture
def here(tcp_postgres: TcpPostgres) -> str:
    """The URL of an empty storage to copy into."""
    return tcp_postgres.url_of(tcp_postgres.new_database())


def copy(here: str, source: str, study: str = "theirs", name: str | None = None) -> Imported:
    return import_study(Settings(home=Path("/nonexistent")), here, source, study, name)


def trials_of(here: str, name: str = "theirs") -> list[FrozenTrial]:
    with open_storage(Settings(home=Path("/nonexistent")), here) as storage:
        return optuna.load_study(study_name=name, storage=storage.optuna).get_trials(deepcopy=False)


def fill(storage: Any, name: str = "theirs") -> optuna.Study:
    """A study with a trial of every state, and everything that Optuna keeps of one."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["validation AUC"])
    study.set_user_attr("author", {"of": ["this", 1, None]})
    for number in range(6):
        trial = study.ask(SPACE)
        trial.set_user_attr("fold", number)
        trial.set_user_attr("nested", {"b": [1, 2.5], "a": "ü"})
        trial.report(0.25, 1)
        trial.report(math.nan, 2)
        trial.set_constraint("memory", -1.0)
        study.tell(trial, number / 10 if number else math.inf)
    study.tell(study.ask(SPACE), state=TrialState.FAIL)
    pruned = study.ask(SPACE)
    pruned.report(0.5, 3)
    study.tell(pruned, state=TrialState.PRUNED)
    study.enqueue_trial({"lr": 0.01, "layers": 2, "kind": "a"})
    study.ask(SPACE)
    study.enqueue_trial({"layers": 3})
    return study


def content(trial: FrozenTrial) -> str:
    """Everything that Optuna knows of a trial but its place in the tables."""
    by_name = (trial.params, trial.distributions, trial.user_attrs, trial.system_attrs, trial.intermediate_values)
    values = (trial.number, trial.state, trial.values, trial.datetime_start, trial.datetime_complete)
    return repr((values, [sorted(each.items(), key=str) for each in by_name]))


Source = tuple[str, Callable[[], Any], Callable[[], object]]


def postgres_source(tcp_postgres: TcpPostgres) -> Source:
    url = parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database()))

    def seen() -> object:
        engine, found = create_engine(url), MetaData()
        found.reflect(engine)
        with engine.connect() as connection:
            rows = {name: connection.execute(table.select()).all() for name, table in found.tables.items()}
            sequences = connection.execute(text("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")).all()
        engine.dispose()
        return {name: sorted(map(repr, each)) for name, each in rows.items()}, sequences

    given = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return given, lambda: optuna.storages.RDBStorage(optuna_address(url)), seen


def folder_source(folder: Path, given: str, make: Callable[[], Any]) -> Source:
    def seen() -> object:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}

    return given, make, seen


@pytest.fixture(params=["postgres", "sqlite", "sqlite-wal", "sqlite-path", "journal"])
def source(request: pytest.FixtureRequest, tcp_postgres: TcpPostgres, tmp_path: Path) -> Source:
    """A source: what is given to --from, what opens it to write, and what can be seen of it from outside."""
    if request.param == "postgres":
        return postgres_source(tcp_postgres)
    folder = tmp_path / "a folder, with 100 %"
    folder.mkdir()
    file = folder / f"{request.param}.db"
    if request.param == "journal":
        backend = optuna.storages.journal.JournalFileBackend
        return folder_source(folder, str(file), lambda: optuna.storages.JournalStorage(backend(str(file))))
    if request.param == "sqlite-wal":
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA journal_mode = wal")
        connection.close()
    given = str(file) if request.param == "sqlite-path" else f"sqlite:///{file}"
    return folder_source(folder, given, lambda: optuna.storages.RDBStorage(f"sqlite:///{file}"))


def close(storage: Any) -> None:
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def test_a_copy_is_exact_and_nothing_changes_at_its_source(source: Source, here: str) -> None:
    given, make, seen = source
    opened = make()
    original = fill(opened).get_trials()
    close(opened)
    before = seen()
    found = copy(here, given)
    assert seen() == before
    assert (found.trials, found.added, found.renewed, found.not_ended) == (10, 10, 0, 2)
    assert [content(trial) for trial in trials_of(here)] == [content(trial) for trial in original]
    with open_storage(Settings(home=Path("/nonexistent")), here) as storage:
        study = optuna.load_study(study_name="theirs", storage=storage.optuna)
        assert (study.metric_names, study.direction.name) == (["validation AUC"], "MAXIMIZE")
        assert study.user_attrs["author"] == {"of": ["this", 1, None]}
        assert study.user_attrs[IMPORTED_FROM] == {"study": "theirs", "storage": found.storage}
        evidence = read_evidence(storage, "theirs", "layers")
    assert (evidence.is_own, evidence.score_name, len(evidence.complete)) == (False, "validation AUC", 5)
    again = copy(here, given)
    assert (again.trials, again.added, again.renewed) == (10, 0, 0)
    assert seen() == before


def test_a_second_copy_adds_what_is_new_and_renews_what_was_open(source: Source, here: str) -> None:
    given, make, _ = source
    opened = make()
    study = fill(opened)
    assert copy(here, given).added == 10
    running = next(trial for trial in study.get_trials() if trial.state is TrialState.RUNNING)
    study.tell(running.number, 0.9)
    study.add_trial(create_trial(value=0.1, params={"lr": 0.02}, distributions={"lr": SPACE["lr"]}))
    found = copy(here, given)
    close(opened)
    assert (found.trials, found.added, found.renewed, found.not_ended) == (11, 1, 1, 1)
    assert [content(trial) for trial in trials_of(here)] == [content(trial) for trial in study.get_trials()]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source in a file, made once: most tests only read it, or change their own copy of the file."""
    file = tmp_path_factory.mktemp("template") / "source.db"
    fill(f"sqlite:///{file}")
    return file


@pytest.fixture
def given(template: Path, tmp_path: Path) -> str:
    """The URL of a file of the test's own with the study `theirs`."""
    shutil.copy(template, tmp_path / "source.db")
    return f"sqlite:///{tmp_path / 'source.db'}"


def change(given: str, statement: str, *values: object) -> None:
    connection = sqlite3.connect(given.removeprefix("sqlite:///"))
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def test_a_copy_that_was_interrupted_is_completed(here: str, given: str, tmp_path: Path) -> None:
    study = optuna.load_study(study_name="theirs", storage=given)

    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_study(Settings(home=tmp_path), here, given, "theirs", progress=interrupt)
    assert len(trials_of(here)) == 4
    told: list[tuple[int, int]] = []
    import_study(Settings(home=tmp_path), here, given, "theirs", progress=lambda *each: told.append(each))
    assert told == [(done, 6) for done in range(1, 7)]
    assert [content(trial) for trial in trials_of(here)] == [content(trial) for trial in study.get_trials()]


def test_what_was_noted_on_a_copy_survives_its_renewal(here: str, given: str, tmp_path: Path) -> None:
    study = optuna.load_study(study_name="theirs", storage=given)
    copy(here, given)
    with open_storage(Settings(home=tmp_path), here) as storage:
        optuna.load_study(study_name="theirs", storage=storage.optuna).set_user_attr("mine", 1)
    study.tell(next(trial.number for trial in study.get_trials() if trial.state is TrialState.RUNNING), 0.9)
    assert copy(here, given).renewed == 1
    with open_storage(Settings(home=tmp_path), here) as storage:
        attributes = optuna.load_study(study_name="theirs", storage=storage.optuna).user_attrs
    assert (attributes["mine"], attributes["author"]) == (1, {"of": ["this", 1, None]})


def test_a_copy_may_have_another_name(here: str, given: str) -> None:
    change(given, "UPDATE studies SET study_name = ?", "a name: with/all sorts")
    assert copy(here, given, "a name: with/all sorts", "mine").study == "mine"
    assert len(trials_of(here, "mine")) == 10
    assert copy(here, given, "a name: with/all sorts").added == 10


def test_values_outside_of_their_range_are_copied_as_they_are(here: str, tmp_path: Path) -> None:
    given = f"sqlite:///{tmp_path / 'source.db'}"
    study = optuna.create_study(study_name="theirs", storage=given)
    study.enqueue_trial({"lr": 5.0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = study.ask()
        trial.suggest_float("lr", 0, 1)
    study.tell(trial, 1.0)
    copy(here, given)
    assert trials_of(here)[0].params == {"lr": 5.0}


def test_a_live_write_ahead_log_is_read_with_what_is_in_it(here: str, tmp_path: Path) -> None:
    file = tmp_path / "source.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = wal")
    study = fill(f"sqlite:///{file}")
    assert (tmp_path / "source.db-wal").stat().st_size > 0
    assert copy(here, f"sqlite:///{file}").added == len(study.trials)
    connection.close()


def refusal(here: str, given: str, study: str = "theirs", kind: type[InputError] = StorageError) -> str:
    """Return the line with which a source or a name is refused; nothing is written then."""
    with pytest.raises(kind) as caught:
        copy(here, given, study)
    engine, tables = create_engine(parse_storage_url(here)), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        names = connection.execute(tables.tables["studies"].select()).all() if "studies" in tables.tables else []
    engine.dispose()
    assert len(names) <= 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_source_is_refused(here: str, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.log").write_text("a log\n")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    assert "can't (No such file or directory)" in refusal(here, f"sqlite:///{tmp_path}/missing.db")
    assert not (tmp_path / "missing.db").exists()
    assert "can't (No such file or directory)" in refusal(here, f"{tmp_path}/missing.log")
    assert not (tmp_path / "missing.log").exists()
    assert "can't (Is a directory)" in refusal(here, str(tmp_path))
    for name in ("empty.db", "text.log"):
        assert "is neither: write postgresql://" in refusal(here, str(tmp_path / name))
    assert "has none of its tables" in refusal(here, str(tmp_path / "other.db"))
    assert "must name a file of SQLite" in refusal(here, "sqlite://")
    assert "must name a file of SQLite" in refusal(here, "sqlite:///:memory:")
    for scheme in ("mysql", "mysql+pymysql", "redis", "http"):
        message = refusal(here, f"{scheme}://u:hidden@h/x")
        assert f"{scheme}://u:***@h/x" in message
        assert "optuna.copy_study" in message
        assert "hidden" not in message


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_a_database_that_is_a_source_refuses_to_write(kind: str, given: str, tcp_postgres: TcpPostgres) -> None:
    if kind == "postgres":
        given, make, _ = postgres_source(tcp_postgres)
        close(make())
    with open_source(given) as source, pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        source.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "new")
    assert re.search("read-?only", str(caught.value.__cause__))


def test_a_journal_that_breaks_off_is_refused(here: str, tmp_path: Path) -> None:
    file = tmp_path / "source.log"
    fill(optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file))))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:3], lines[3][:10], *lines[4:]]) + "\n")
    assert "breaks off" in refusal(here, str(file))


def test_a_postgres_that_cannot_be_a_source_is_refused(here: str, tcp_postgres: TcpPostgres) -> None:
    empty = tcp_postgres.new_database()
    assert "has none of its tables" in refusal(here, tcp_postgres.url_of(empty))
    wrong = refusal(here, tcp_postgres.url_of(empty, password="hidden"))
    assert "correct them in --from" in wrong
    assert "hidden" not in wrong
    assert "must be reachable" in refusal(here, "postgresql://u:hidden@127.0.0.1:1/x")
    given, make, seen = postgres_source(tcp_postgres)
    close(make())
    before = seen()
    database = parse_storage_url(given).database
    assert database is not None
    tcp_postgres.execute(f"CREATE USER {database} PASSWORD 'secret'")
    unreadable = refusal(here, tcp_postgres.url_of(database, password="secret", user=database))
    assert "must let its user read Optuna's tables" in unreadable
    assert "GRANT SELECT" in unreadable
    assert "secret" not in unreadable
    assert seen() == before


def test_a_reader_without_the_right_to_write_can_be_the_source(here: str, tcp_postgres: TcpPostgres) -> None:
    given, make, _ = postgres_source(tcp_postgres)
    opened = make()
    fill(opened)
    close(opened)
    database = parse_storage_url(given).database
    assert database is not None
    tcp_postgres.execute(f"CREATE USER {database} PASSWORD 'secret'")
    tcp_postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {database}", database)
    reader = tcp_postgres.url_of(database, password="secret", user=database)
    assert copy(here, reader.replace("postgresql:", "postgresql+psycopg:")).added == 10


@pytest.mark.parametrize(("version", "said"), [("v2.6.0.a", "optuna storage upgrade"), ("v9.9.9", "a newer Optuna")])
def test_tables_of_another_optuna_are_refused_and_stay(
    here: str, given: str, tmp_path: Path, version: str, said: str
) -> None:
    change(given, "UPDATE alembic_version SET version_num = ?", version)
    before = (tmp_path / "source.db").read_bytes()
    message = refusal(here, given)
    assert said in message
    assert version in message
    assert (tmp_path / "source.db").read_bytes() == before


def test_an_unknown_study_is_refused_with_the_nearest(here: str, given: str, tmp_path: Path) -> None:
    message = refusal(here, given, "thiers", UnknownStudyError)
    assert "unknown study 'thiers' in sqlite:///" in message
    assert "the nearest are theirs" in message


def test_several_objectives_are_refused(here: str, tmp_path: Path) -> None:
    given = f"sqlite:///{tmp_path / 'source.db'}"
    optuna.create_study(study_name="theirs", storage=given, directions=["minimize", "maximize"])
    assert "must have one objective, and theirs has 2" in refusal(here, given, kind=InputError)


def test_a_name_that_another_study_has_is_refused(here: str, given: str, tmp_path: Path) -> None:
    with open_storage(Settings(home=tmp_path), here) as storage:
        optuna.create_study(study_name="theirs", storage=storage.optuna)
    assert "theirs is in this storage already, and it was not imported: give" in refusal(here, given)


def test_a_name_that_this_service_has_is_refused_and_it_makes_none_of_an_imported_name(
    here: str, given: str, tmp_path: Path
) -> None:
    spec = Spec.model_validate({"name": "ours", "objective": "objectives:score", "budgets": ["2M"]})
    prepared = Prepared(architecture_values(spec))
    with open_storage(Settings(home=tmp_path), here) as storage:
        control_schema.migrate(storage.engine)
        ensure_study(storage, spec, prepared)
        with pytest.raises(StorageError, match="and this service has made it"):
            copy(here, given, "theirs", "ours")
        copy(here, given)
        renamed = spec.model_copy(update={"name": "theirs"})
        with pytest.raises(StorageError, match="was made by something else"):
            ensure_study(storage, renamed, prepared)


def test_an_imported_study_without_ended_trials_is_none_of_this_service(here: str, tmp_path: Path) -> None:
    given = f"sqlite:///{tmp_path / 'source.db'}"
    optuna.create_study(study_name="theirs", storage=given).enqueue_trial({"x": 1})
    copy(here, given)
    spec = Spec.model_validate({"name": "theirs", "objective": "objectives:score", "budgets": ["2M"]})
    with open_storage(Settings(home=tmp_path), here) as storage:
        control_schema.migrate(storage.engine)
        with pytest.raises(StorageError, match="was made by something else"):
            ensure_study(storage, spec, Prepared(architecture_values(spec)))


def test_a_copy_that_has_gone_on_by_itself_is_left_alone(here: str, given: str, tmp_path: Path) -> None:
    copy(here, given)
    with open_storage(Settings(home=tmp_path), here) as storage:
        study = optuna.load_study(study_name="theirs", storage=storage.optuna)
        study.add_trial(create_trial(value=1.0, params={}, distributions={}))
        assert "must be an earlier copy of theirs" in refusal(here, given)
        assert len(study.get_trials()) == 11


def test_another_study_under_the_same_name_is_refused(here: str, given: str) -> None:
    copy(here, given)
    change(given, "UPDATE trial_values SET value = value / 2")
    assert "must be an earlier copy of theirs" in refusal(here, given)


def test_a_source_whose_trials_have_gaps_is_refused(here: str, given: str, tmp_path: Path) -> None:
    change(given, "UPDATE trials SET number = number + 1 WHERE number > 3")
    assert "must be numbered from 0 without a gap" in refusal(here, given)
