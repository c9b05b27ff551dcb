"""A Postgres over TCP with a password, the locks in it, and Optuna's tables made once."""

import logging
import subprocess
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from servers import TcpPostgres, eventually, processes_of, start_python
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DataError, OperationalError

from hpo import embedded
from hpo.advisory_lock import LockGivenUpError, advisory_lock
from hpo.control_schema import NEWEST_VERSION, _alembic_config
from hpo.errors import StorageError
from hpo.settings import Settings
from hpo.storage import (
    check_reachable,
    create_optuna_schema,
    database_away,
    masked,
    open_engine,
    open_optuna_storage,
    open_storage,
    parse_storage_url,
    reading_of,
)

OPEN_OPTUNA = """
import sys
from hpo.storage import open_optuna_storage, parse_storage_url
url = parse_storage_url(sys.stdin.read())
print("ready" if not open_optuna_storage(url).get_all_studies() else "not empty")
"""

HOLD = """
import sys
from hpo.advisory_lock import advisory_lock
from hpo.storage import open_engine, parse_storage_url
with open_engine(parse_storage_url(sys.stdin.readline())).connect() as connection:
    with advisory_lock(connection, "the name"):
        print("held", flush=True)
        sys.stdin.read()
"""


def refusal(url: str) -> str:
    """Return the message with which the storage at this URL is refused."""
    engine = open_engine(parse_storage_url(url))
    with pytest.raises(StorageError) as caught:
        check_reachable(engine)
    engine.dispose()
    assert "\n" not in str(caught.value)
    # A traceback shows no driver's error either.
    assert caught.value.__suppress_context__
    return str(caught.value)


def is_held(connection: Connection) -> bool:
    """Whether any connection holds an advisory lock; leaves the transaction as it was."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    began = not connection.in_transaction()
    held = bool(connection.execute(text(query)).scalar_one())
    if began:
        connection.rollback()
    return held


def test_a_url_with_every_kind_of_character_in_its_password_works(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url))
    check_reachable(engine)
    engine.dispose()


def test_a_wrong_password_is_told_without_showing_it(tcp_postgres: TcpPostgres) -> None:
    message = refusal(tcp_postgres.url_of("postgres", password="hunter2@x"))
    assert "must accept the user and password" in message
    assert "correct them in HPO_STORAGE" in message
    assert "hunter2" not in message


def test_an_unknown_user_is_told(tcp_postgres: TcpPostgres) -> None:
    message = refusal(tcp_postgres.url_of("postgres", user="nobody_here"))
    assert "must accept the user and password" in message
    assert tcp_postgres.password not in message


def test_a_missing_database_is_told(tcp_postgres: TcpPostgres) -> None:
    message = refusal(tcp_postgres.url_of("not_there"))
    assert "database must exist, 'not_there'" in message
    assert "createdb not_there" in message


def test_a_port_where_nobody_listens_is_told() -> None:
    message = refusal("postgresql://u:secret@127.0.0.1:1/x")
    assert "must be reachable" in message
    assert "check host and port" in message
    assert "secret" not in message


@pytest.mark.parametrize("url", ["postgresql://u:secret@nowhere.invalid/x", "postgresql://u:secret@127.0.0.1:99999/x"])
def test_a_host_or_port_that_cannot_be_is_told(url: str) -> None:
    assert "must be reachable" in refusal(url)


def test_a_database_that_takes_no_connections_is_told(tcp_postgres: TcpPostgres) -> None:
    database = tcp_postgres.new_database()
    tcp_postgres.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    assert "must accept connections" in refusal(tcp_postgres.url_of(database))


def test_connections_say_who_they_are(tcp_postgres: TcpPostgres) -> None:
    for suffix, name in (("", "hpo"), ("?application_name=mine", "mine")):
        engine = open_engine(parse_storage_url(tcp_postgres.url + suffix))
        with engine.connect() as connection:
            assert connection.execute(text("SHOW application_name")).scalar_one() == name
        engine.dispose()


def test_eight_processes_at_once_on_an_empty_database_all_open_it_in_silence(
    tcp_postgres: TcpPostgres,
) -> None:
    url = tcp_postgres.url_of(tcp_postgres.new_database())
    processes = [start_python(OPEN_OPTUNA, stderr=subprocess.PIPE) for _ in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(url)
        process.stdin.close()
        process.stdin = None
    assert [process.communicate(timeout=60) for process in processes] == [("ready\n", "")] * 8


def test_making_the_tables_twice_changes_nothing_and_is_silent(
    tcp_postgres: TcpPostgres, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    url = parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database()))
    with caplog.at_level(logging.INFO):
        create_optuna_schema(url)
        create_optuna_schema(url)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith(("alembic", "optuna"))]


def test_a_user_who_may_not_make_tables_is_told(tcp_postgres: TcpPostgres) -> None:
    database = tcp_postgres.new_database()
    tcp_postgres.execute(f"CREATE USER {database} PASSWORD 'secret'")
    url = parse_storage_url(tcp_postgres.url_of(database, password="secret", user=database))
    with pytest.raises(StorageError, match="must be allowed to create tables") as caught:
        open_optuna_storage(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_tables_of_another_optuna_are_told(tcp_postgres: TcpPostgres) -> None:
    database = tcp_postgres.new_database()
    url = parse_storage_url(tcp_postgres.url_of(database))
    create_optuna_schema(url)
    tcp_postgres.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'", database)
    with pytest.raises(StorageError, match=r"must be of this Optuna's version.*hpo db upgrade") as caught:
        open_optuna_storage(url)
    assert tcp_postgres.password not in str(caught.value)


def test_opening_optuna_out_of_reach_is_told_without_the_password() -> None:
    with pytest.raises(StorageError, match="must be reachable") as caught:
        open_optuna_storage(parse_storage_url("postgresql://u:secret@127.0.0.1:1/x"))
    assert "secret" not in str(caught.value)


def test_a_lock_keeps_others_out_until_it_is_released(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database())))
    order: list[str] = []

    def second() -> None:
        with engine.connect() as connection, advisory_lock(connection, "the name"):
            order.append("second")

    thread = threading.Thread(target=second)
    with engine.connect() as connection, advisory_lock(connection, "the name"):
        thread.start()
        # Longer than one wait of a second: waiting goes on.
        time.sleep(1.3)
        order.append("first")
    thread.join(timeout=10)
    engine.dispose()
    assert order == ["first", "second"]


def test_locks_of_different_names_do_not_meet(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url))
    with (
        engine.connect() as one,
        engine.connect() as other,
        advisory_lock(one, "a"),
        advisory_lock(other, "b"),
    ):
        assert one.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_a_lock_is_free_after_its_holder_was_killed(tcp_postgres: TcpPostgres) -> None:
    url = tcp_postgres.url_of(tcp_postgres.new_database())
    holder = start_python(HOLD)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(url + "\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "held\n"
    engine = open_engine(parse_storage_url(url))
    with engine.connect() as connection:
        assert is_held(connection)
        holder.kill()
        holder.communicate()
        with advisory_lock(connection, "the name"):
            assert is_held(connection)
        assert not is_held(connection)
    engine.dispose()


def test_a_lock_survives_the_transactions_in_it_and_rolls_back_what_is_left_open(
    tcp_postgres: TcpPostgres,
) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database())))
    with engine.connect() as connection:
        with advisory_lock(connection, "the name"):
            connection.execute(text("CREATE TABLE kept (n int)"))
            connection.commit()
            connection.execute(text("CREATE TABLE lost (n int)"))
            connection.rollback()
            assert is_held(connection)
            connection.execute(text("CREATE TABLE lost (n int)"))
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert tables.scalars().all() == ["kept"]
    engine.dispose()


def test_a_lock_is_released_after_an_error_in_the_database(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database())))
    with engine.connect() as connection:
        with pytest.raises(DataError, match="division by zero"), advisory_lock(connection, "the name"):
            connection.execute(text("SELECT 1 / 0"))
        assert not is_held(connection)
    engine.dispose()


def test_a_lock_whose_connection_breaks_is_released_without_another_error(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database())))
    kill = text("SELECT pg_terminate_backend(pg_backend_pid())")
    with (
        pytest.raises(OperationalError, match="terminat"),
        engine.connect() as connection,
        advisory_lock(connection, "the name"),
    ):
        connection.execute(kill)
    with engine.connect() as connection:
        assert not is_held(connection)
    engine.dispose()


def test_a_lock_inside_a_transaction_is_refused(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url))
    with (
        engine.begin() as connection,
        pytest.raises(ValueError, match="outside a transaction"),
        advisory_lock(connection, "the name"),
    ):
        pass
    engine.dispose()


def test_without_a_url_the_storage_is_the_embedded_one_until_the_end(home: Path) -> None:
    with open_storage(Settings(home)) as storage:
        assert storage.embedded
        assert storage.optuna.get_all_studies() == []
        assert storage.optuna is storage.optuna
        with storage.engine.connect() as connection:
            assert connection.execute(text("SELECT current_user")).scalar_one() == "postgres"
    assert eventually(lambda: not processes_of(home))


def test_the_embedded_server_is_left_after_an_error(home: Path) -> None:
    with pytest.raises(KeyError), open_storage(Settings(home)):
        raise KeyError
    assert eventually(lambda: not processes_of(home))


def test_a_url_goes_before_the_embedded_server_and_the_override_before_the_setting(
    home: Path, tcp_postgres: TcpPostgres
) -> None:
    settings = Settings(home, storage=tcp_postgres.url)
    with open_storage(settings) as storage:
        assert not storage.embedded
        assert storage.url.port == tcp_postgres.port
        for shown in (repr(storage), str(storage.url), masked(storage.url), repr(storage.engine)):
            assert "p%40ss" not in shown
            assert tcp_postgres.password not in shown
    with pytest.raises(StorageError, match="must be a Postgres"), open_storage(settings, "sqlite:///x"):
        pass
    with pytest.raises(StorageError, match="must be the URL"), open_storage(settings, ""):
        pass
    assert not embedded.is_running(home)
    assert not list(home.iterdir())


def test_the_newest_version_is_the_last_migration() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(_alembic_config()).get_current_head() == NEWEST_VERSION


def test_shared_locks_are_held_together_and_keep_an_exclusive_one_out(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url))
    waited: list[str] = []

    def alone() -> None:
        with engine.connect() as connection, advisory_lock(connection, "shared"):
            waited.append("alone")

    with engine.connect() as one, engine.connect() as other:
        with advisory_lock(one, "shared", shared=True), advisory_lock(other, "shared", shared=True):
            thread = threading.Thread(target=alone)
            thread.start()
            time.sleep(0.3)
            assert waited == []
        thread.join(20)
    assert waited == ["alone"]
    engine.dispose()


def test_who_waits_long_for_a_lock_still_hears_that_it_has_to_go(tcp_postgres: TcpPostgres) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url))
    asked: list[float] = []

    def after_a_while() -> bool:
        asked.append(time.monotonic())
        return len(asked) > 3

    with (
        engine.connect() as holder,
        engine.connect() as waiting,
        advisory_lock(holder, "the name"),
        pytest.raises(LockGivenUpError),
        advisory_lock(waiting, "the name", give_up=after_a_while),
    ):
        raise AssertionError("somebody else has it")
    # The connection that was cancelled was given up with the lock; another one finds it free.
    with engine.connect() as connection, advisory_lock(connection, "the name"):
        pass
    engine.dispose()


def test_a_lock_that_is_granted_as_the_time_for_it_runs_out_is_given_back(
    tcp_postgres: TcpPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So short that many waits end as the holder lets go: Postgres then may report a timeout and grant the lock all the
    # same. Without a look at what the session holds, the lock is lost within a second or two.
    monkeypatch.setattr("hpo.advisory_lock._LOCK_SECONDS", 0.02)
    monkeypatch.setattr("hpo.advisory_lock._LONG_LOCK_SECONDS", 0.02)
    engine = open_engine(parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database())))
    ends, given_up = time.monotonic() + 6, []

    def take_turns() -> None:
        with engine.connect() as connection:
            while time.monotonic() < ends:
                try:
                    with advisory_lock(connection, "the name", give_up=lambda: time.monotonic() > ends + 5):
                        time.sleep(0.02)
                except LockGivenUpError:
                    given_up.append("nobody gave it back")
                    return

    threads = [threading.Thread(target=take_turns) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    with engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one()
    engine.dispose()
    assert (given_up, left) == ([], 0)


@pytest.mark.parametrize(("raised", "logged"), [(KeyboardInterrupt, 0), (ValueError, 1)])
def test_an_interruption_as_a_connection_goes_back_to_its_pool_is_passed_on_without_a_traceback(
    tcp_postgres: TcpPostgres, caplog: pytest.LogCaptureFixture, raised: type[BaseException], logged: int
) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url))
    raised_in_its_reset = []

    @event.listens_for(engine, "reset")
    def interrupt(*_: object) -> None:
        raised_in_its_reset.append(raised)
        raise raised

    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    with pytest.raises(KeyboardInterrupt) if raised is KeyboardInterrupt else nullcontext():
        connection.close()
    assert (raised_in_its_reset, len(caplog.records)) == ([raised], logged)
    engine.dispose()


def test_what_breaks_while_it_is_read_with_is_an_error_of_the_database_and_costs_no_place_in_the_pool(
    tcp_postgres: TcpPostgres,
) -> None:
    engine = open_engine(parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database())))
    reading, seen = reading_of(engine), []
    assert reading is reading_of(engine)
    for _ in range(12):
        with reading.connect() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        # So soon after its use nobody asks whether it still stands.
        with pytest.raises(database_away()), reading.connect() as connection:
            connection.execute(text("SELECT 1"))
        seen.append(pid)
    assert len(set(seen)) == 12
    with reading.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    time.sleep(1.1)
    with reading.connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid
    engine.dispose()
    assert reading.pool.checkedin() == 0  # type: ignore[attr-defined]
