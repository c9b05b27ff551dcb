"""`hpo db backup`, `restore` and `upgrade`: a study moves to another server in the middle and ends there."""

import json
import secrets
import signal
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
import optuna
import psutil
import pytest
from command import Command, Ended, Here
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from servers import PASSWORD, TcpPostgres, eventually, processes_of
from sqlalchemy import text

from hpo import embedded, postgres
from hpo.advisory_lock import advisory_lock
from hpo.backup_contents import RESTORE_LOCK
from hpo.control import Control
from hpo.control_schema import NEWEST_VERSION, _alembic_config
from hpo.presence import this_worker
from hpo.settings import load_settings
from hpo.sql import statement
from hpo.storage import OPTUNA_SCHEMA_LOCK, open_storage

SPEC = """
name: moved
objective: objectives:score
budgets: [750k, 2M]
trials: 12
early_stop: {patience: 1000}
"""


@pytest.fixture(params=["embedded", "tcp"])
def pair(request: pytest.FixtureRequest, hpo: Command) -> Iterator[tuple[Command, Command]]:
    """Two storages, the second one empty."""
    if request.param == "tcp":
        server: TcpPostgres = request.getfixturevalue("tcp_postgres")
        yield tuple(Command(hpo.home, hpo.directory, server.url_of(server.new_database())) for _ in "ab")  # type: ignore[misc]
        return
    other = hpo.home / "other"
    yield hpo, Command(other, hpo.directory)
    embedded.release(other)
    assert eventually(lambda: not processes_of(other))


@pytest.fixture(scope="session")
def template(tcp_postgres: TcpPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with a study whose trials all wait; others are copied from it."""
    folder, name = tmp_path_factory.mktemp("template"), tcp_postgres.new_database()
    create(Command(folder, folder, tcp_postgres.url_of(name)))
    return name


@pytest.fixture
def new(hpo: Command, tcp_postgres: TcpPostgres) -> Here:
    """An empty database over TCP."""
    return Here(hpo.home, hpo.directory, tcp_postgres.url_of(tcp_postgres.new_database()))


@pytest.fixture
def server(hpo: Command, tcp_postgres: TcpPostgres, template: str) -> Here:
    """A database over TCP with a study whose trials all wait."""
    name = f"copy_{secrets.token_hex(6)}"
    tcp_postgres.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return Here(hpo.home, hpo.directory, tcp_postgres.url_of(name))


@contextmanager
def working_on(hpo: Command, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A worker in the middle of a trial that takes so long."""
    worker = hpo.start("worker", "--study", "moved", TRIAL_SECONDS=str(seconds))
    try:
        assert eventually(lambda: is_running(hpo), 30)
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def create(hpo: Command) -> None:
    hpo.json("run", hpo.write("moved.yaml", SPEC), "--workers", "0")


def trials_of(hpo: Command) -> list[FrozenTrial]:
    with open_storage(load_settings({"HPO_HOME": str(hpo.home)}), hpo.storage) as storage:
        return optuna.load_study(study_name="moved", storage=storage.optuna).get_trials(deepcopy=False)


def is_running(hpo: Command) -> bool:
    return query(hpo, "SELECT count(*) FROM hpo.trial WHERE state = 'running'") == [(1,)]


def query(hpo: Command, statement: str) -> list[tuple[object, ...]]:
    with (
        open_storage(load_settings({"HPO_HOME": str(hpo.home)}), hpo.storage) as storage,
        storage.engine.begin() as connection,
    ):
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def refusal(ended: Ended) -> str:
    """Return the one line with which a command is refused."""
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1), ended
    assert PASSWORD not in ended.err
    assert "%40ss" not in ended.err
    return ended.err


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_study_that_moves_in_the_middle_ends_exactly(pair: tuple[Command, Command]) -> None:
    old, new = pair
    create(old)
    assert old.json("worker", "--study", "moved", "--max-trials", "3") == {"trials": 3}
    first = trials_of(old)
    before = {trial.number: trial.value for trial in first if trial.state is OptunaState.COMPLETE}
    with working_on(old, seconds=60):
        saved = old.run("db", "backup", "studies.dump")
        assert (saved.code, saved.err) == (0, "")
        assert saved.out.startswith("studies.dump: 1 study, 11 trials, ")
        file = old.directory / "studies.dump"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        # The worker of the trial under way lives, on the old server, and must not count on the new one, however
        # short ago that one was started.
        restored = new.json("db", "restore", "studies.dump")
        assert restored == {"file": "studies.dump", "studies": 1, "trials": 11, "running": 1}
        assert new.json("worker", "--study", "moved", "--idle-exit", "1") == {"trials": 9}
        assert is_running(old)
    trials = trials_of(new)
    complete = [trial for trial in trials if trial.state is OptunaState.COMPLETE]
    assert len(complete) == 12
    forced = Counter(trial.user_attrs["design_id"] for trial in complete if "design_id" in trial.user_attrs)
    assert forced == Counter(trial.user_attrs["design_id"] for trial in first)
    assert len(forced) == 11
    assert len(before) == 3
    assert before.items() <= {trial.number: trial.value for trial in trials}.items()
    assert new.json("status", "moved")["state"] == "finished"
    assert "has studies" in refusal(new.run("db", "restore", "studies.dump"))
    assert len(trials_of(new)) == len(trials)


def test_what_was_under_way_is_told_and_reaped_though_clocks_differ(server: Here, new: Here) -> None:
    with working_on(server, seconds=60) as worker:
        # The old server's clock is ahead, and the process is one of this machine that lives.
        worker.send_signal(signal.SIGSTOP)
        query(server, "UPDATE hpo.worker SET beat_at = beat_at + interval '3 hours'")
        assert server.json("db", "backup", "studies.dump")["trials"] == 11
        # A command that looked around has made the tables: they are empty.
        assert new.json("status") == {"studies": []}
        assert new.json("db", "upgrade")["optuna"]["after"]
        restored = new.run("db", "restore", "studies.dump")
        assert restored.out.splitlines() == [
            "studies.dump: 1 study and 11 trials are restored",
            "1 trial was under way in the backup: `hpo reap`, or the next worker, begins again with them",
        ]
        assert new.json("reap") == {"reaped": 1}


def test_the_record_of_when_a_test_part_was_read_and_of_what_moves_along(server: Here, new: Here) -> None:
    plan = "jsonb_build_object('seeds', jsonb_build_array(7, 8))"
    for version, result in (("v1", "jsonb_build_object('noise', 0.1)"), ("v2", "NULL")):
        query(
            server,
            "INSERT INTO hpo.test_reading (study, fingerprint, read_at, plan, result) "
            f"VALUES ('moved', '{version}', clock_timestamp() - interval '90 days', {plan}, {result})",
        )
    server.json("db", "backup", "studies.dump")
    new.json("db", "restore", "studies.dump")
    kept = "SELECT study, fingerprint, read_at, plan, result FROM hpo.test_reading ORDER BY fingerprint"
    assert len(query(server, kept)) == 2
    assert query(new, kept) == query(server, kept)


def test_a_backup_is_refused_where_it_would_do_harm(server: Here, new: Here) -> None:
    assert "holds none" in refusal(new.run("db", "backup", "studies.dump"))
    fresh = Here(server.home / "untouched", server.directory)
    assert "holds none" in refusal(fresh.run("db", "backup", "studies.dump"))
    assert not fresh.home.exists()
    assert files_in(server.directory) == []
    kept = Path(server.write("kept.dump", "an older one"))
    assert "add --overwrite" in refusal(server.run("db", "backup", "kept.dump"))
    assert kept.read_text() == "an older one"
    assert "folder that exists" in refusal(server.run("db", "backup", "missing/studies.dump"))
    assert "plain file" in refusal(server.run("db", "backup", ".", "--overwrite"))
    assert files_in(server.directory) == ["kept.dump"]
    assert server.json("db", "backup", "kept.dump", "--overwrite")["bytes"] == kept.stat().st_size > 1000


def test_what_is_no_whole_backup_is_refused_and_nothing_is_written(server: Here, tcp_postgres: TcpPostgres) -> None:
    server.json("db", "backup", "whole.dump")
    whole = (server.directory / "whole.dump").read_bytes()
    # Of both halves: the list stands in the first.
    for size in (10, len(whole) // 4, len(whole) - 1):
        (server.directory / f"{size}.dump").write_bytes(whole[:size])
    foreign = tcp_postgres.new_database()
    tcp_postgres.execute("CREATE TABLE studies (id int)", foreign)
    dump_by_hand(tcp_postgres, foreign, server.directory / "foreign.dump")
    server.write("moved.yaml", SPEC)
    fresh = Here(server.home / "untouched", server.directory)
    files = {"missing.dump": "must be a file", "foreign.dump": "tables of this service", "moved.yaml": "whole file"}
    files |= {f"{size}.dump": "whole file" for size in (10, len(whole) // 4, len(whole) - 1)}
    for name, reason in files.items():
        assert reason in refusal(fresh.run("db", "restore", name)), name
    assert not fresh.home.exists()


def test_a_restore_is_refused_where_it_would_do_harm(server: Here, new: Here) -> None:
    server.json("db", "backup", "studies.dump")
    query(new, "CREATE TABLE studies (id int)")
    assert "has another table studies" in refusal(new.run("db", "restore", "studies.dump"))
    query(new, "DROP TABLE studies")
    assert new.json("status") == {"studies": []}
    with open_storage(load_settings({}), new.storage) as storage:
        # This process is one that lives.
        Control(storage.engine).register(this_worker())
    assert "workers wait" in refusal(new.run("db", "restore", "studies.dump"))
    query(new, "UPDATE hpo.worker SET left_at = clock_timestamp()")
    assert new.json("db", "restore", "studies.dump")["studies"] == 1


def test_a_backup_goes_into_an_older_server_and_back(server: Here, new: Here, older_postgres: TcpPostgres) -> None:
    older = Here(server.home, server.directory, older_postgres.url_of(older_postgres.new_database()))
    server.json("db", "backup", "newer.dump")
    assert older.json("db", "restore", "newer.dump")["studies"] == 1
    assert older.json("reap") == {"reaped": 0}
    refusal(older.run("db", "restore", "newer.dump"))
    older.json("db", "backup", "older.dump")
    assert new.json("db", "restore", "older.dump")["studies"] == 1
    assert [trial.params for trial in trials_of(new)] == [trial.params for trial in trials_of(server)]


def test_a_worker_that_comes_back_to_a_restored_server_is_here_again(server: Here, new: Here) -> None:
    worker = this_worker()
    with open_storage(load_settings({}), server.storage) as storage:
        Control(storage.engine).register(worker)
    server.json("db", "backup", "studies.dump")
    new.json("db", "restore", "studies.dump")
    with open_storage(load_settings({}), new.storage) as storage:
        assert Control(storage.engine).workers() == []
        with storage.engine.begin() as connection:
            connection.execute(statement("beat"), {"id": worker.id, "vitals": "{}"})
        assert [here.id for here in Control(storage.engine).workers()] == [worker.id]


def test_a_backup_of_a_shared_database_holds_what_is_the_services_alone(tcp_postgres: TcpPostgres, new: Here) -> None:
    user, password = f"shared_{secrets.token_hex(4)}", "short"
    shared = tcp_postgres.new_database()
    tcp_postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
    tcp_postgres.execute(f"GRANT CREATE ON DATABASE {shared} TO {user}")
    tcp_postgres.execute(f"GRANT CREATE ON SCHEMA public TO {user}", shared)
    for foreign in FOREIGN:
        tcp_postgres.execute(foreign, shared)
    service = Here(new.home, new.directory, tcp_postgres.url_of(shared, password, user))
    create(service)
    service.json("db", "backup", "studies.dump")
    assert new.json("db", "restore", "studies.dump")["studies"] == 1
    there = "SELECT relname FROM pg_class WHERE relname IN ('secrets', 'somebodys', 'numbers', 'seen') "
    assert query(new, there) == []
    assert query(new, "SELECT proname FROM pg_proc WHERE proname = 'of_somebody'") == []
    assert len(trials_of(new)) == 11
    tcp_postgres.execute(f"DROP DATABASE {shared}")
    tcp_postgres.execute(f"DROP ROLE {user}")


# What others have in a database that they share with the service, in schemas of their own and beside Optuna's tables.
FOREIGN = (
    'CREATE SCHEMA "other ""one"""',
    'CREATE TABLE "other ""one"""."secrets" (id int)',
    "CREATE TABLE somebodys (id int)",
    "CREATE SEQUENCE numbers",
    "CREATE VIEW seen AS SELECT id FROM somebodys",
    "CREATE FUNCTION of_somebody() RETURNS SETOF somebodys LANGUAGE sql BEGIN ATOMIC SELECT * FROM somebodys; END",
    "SELECT lo_create(0)",
)


@pytest.mark.parametrize("names", [("hpo", "postgres"), ("hpo", "hpo"), ("postgres", "hpo")])
def test_a_study_moves_between_servers_whose_users_have_other_names(
    names: tuple[str, str], hpo: Command, tcp_postgres: TcpPostgres
) -> None:
    # By Postgres's own rule the tables of a user hpo go to the schema hpo.
    databases = [tcp_postgres.new_database() for _ in names]
    tcp_postgres.execute("CREATE ROLE hpo LOGIN PASSWORD 'short'")
    passwords = {"hpo": "short", "postgres": tcp_postgres.password}
    for name, database in zip(names, databases, strict=True):
        tcp_postgres.execute(f"ALTER DATABASE {database} OWNER TO {name}")
    urls = [tcp_postgres.url_of(database, passwords[n], n) for n, database in zip(names, databases, strict=True)]
    old, new = (Here(hpo.home, hpo.directory, url) for url in urls)
    try:
        create(old)
        old.json("db", "backup", "studies.dump")
        assert new.json("db", "restore", "studies.dump")["studies"] == 1
        assert len(trials_of(new)) == 11
        assert new.json("db", "upgrade")["optuna"]["before"] is not None
        assert query(new, "SELECT count(*) FROM pg_class WHERE relname = 'studies'") == [(1,)]
    finally:
        for database in databases:
            tcp_postgres.execute(f"DROP DATABASE {database} WITH (FORCE)")
        tcp_postgres.execute("DROP ROLE hpo")


def test_a_restore_that_fails_leaves_nothing_behind(server: Here, new: Here) -> None:
    server.json("db", "backup", "studies.dump")
    query(new, "CREATE TYPE trialstate AS ENUM ('of somebody')")
    ended = new.run("db", "restore", "studies.dump")
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (1, "", 1), ended
    assert ended.err.startswith('psql failed (ERROR: type "trialstate" already exists)')
    assert query(new, "SELECT to_regclass('studies'), to_regnamespace('hpo')") == [(None, None)]


def test_an_interrupted_backup_leaves_what_was_there(server: Here) -> None:
    kept = Path(server.write("kept.dump", "an older one"))
    # pg_dump waits for this lock until it is ended.
    with (
        open_storage(load_settings({}), server.storage) as storage,
        storage.engine.begin() as connection,
    ):
        connection.execute(text("LOCK TABLE hpo.worker IN ACCESS EXCLUSIVE MODE"))
        process = server.start("db", "backup", "kept.dump", "--overwrite")
        seen: list[str] = []
        assert eventually(lambda: bool(seen.extend(dumping(server.directory)) or seen))
        # Others see the address of the server, and not the password.
        assert any("127.0.0.1" in part for part in seen)
        assert not any(PASSWORD in part or "%40ss" in part for part in seen)
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert eventually(lambda: not dumping(server.directory))
    assert kept.read_text() == "an older one"
    assert files_in(server.directory) == ["kept.dump"]


def test_an_interrupted_restore_says_that_the_storage_is_empty(server: Here, new: Here) -> None:
    server.json("db", "backup", "studies.dump")
    with waiting_restore(new) as (process, _):
        psql = psutil.Process(process.pid).children()
        assert [child.name() for child in psql] == ["psql"]
        process.terminate()
        # It has a moment to end by itself, in which the restore may still succeed.
        assert eventually(lambda: psql[0].status() == psutil.STATUS_ZOMBIE)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, len(err.splitlines())) == (130, "", 1), err
    assert "nothing is restored" in err
    assert PASSWORD not in err
    assert query(new, "SELECT to_regclass('studies'), to_regnamespace('hpo')") == [(None, None)]
    assert new.json("db", "restore", "studies.dump")["studies"] == 1


def test_a_restore_that_is_interrupted_before_its_upgrade_says_that_the_storage_is_filled(
    server: Here, new: Here
) -> None:
    with working_on(server, seconds=60):
        server.json("db", "backup", "studies.dump")
    with waiting_restore(new) as (process, release), open_storage(load_settings({}), new.storage) as storage:

        def keep_from_upgrading() -> None:
            with storage.engine.connect() as connection, advisory_lock(connection, OPTUNA_SCHEMA_LOCK):
                process.terminate()
                process.wait()

        thread = threading.Thread(target=keep_from_upgrading)
        thread.start()
        assert eventually(lambda: query(new, WAITING_FOR_LOCKS) == [(2,)])
        release()
        thread.join()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, len(err.splitlines())) == (130, "", 1), err
    assert "all of the backup is in" in err
    assert "hpo db upgrade" in err
    # Nobody has to be missed first.
    assert new.json("reap") == {"reaped": 1}


WAITING_FOR_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextmanager
def waiting_restore(hpo: Command) -> Iterator[tuple[subprocess.Popen[str], Callable[[], None]]]:
    """A restore that waits in its transaction until it is released, at the latest at the end of the block."""
    with open_storage(load_settings({}), hpo.storage) as storage, storage.engine.connect() as connection:
        assert connection.scalar(text(f"SELECT {RESTORE_LOCK}"))
        process = hpo.start("db", "restore", "studies.dump")
        try:
            assert eventually(lambda: query(hpo, WAITING_FOR_LOCKS) == [(1,)])
            yield process, connection.rollback
        except BaseException:
            process.kill()
            raise


def dumping(folder: Path) -> list[str]:
    """Return the arguments of the pg_dump that writes into a folder."""
    return [part for seen in processes_of(folder) if "pg_dump" in seen.command[0] for part in seen.command]


def test_the_password_is_in_no_command_line_while_a_backup_and_a_restore_run(server: Here, new: Here) -> None:
    seen: set[str] = set()
    for place, command in ((server, "backup"), (new, "restore")):
        process = place.start("db", command, "studies.dump", "--json")
        while process.poll() is None:
            seen |= command_lines()
            time.sleep(0.002)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert json.loads(out)["studies"] == 1
        assert not any(PASSWORD in line or "%40ss" in line for line in [*seen, out])
    # Each lives for a tenth of a second: on a busy machine one or the other is missed.
    assert any(program in line for program in ("pg_dump", "pg_restore", "psql") for line in seen)


def command_lines() -> set[str]:
    mine = psutil.Process().children(recursive=True)
    lines = set()
    for process in mine:
        try:
            lines.add(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


def test_an_upgrade_may_be_repeated_and_started_many_times_at_once(new: Here) -> None:
    processes = [new.start("db", "upgrade", "--json") for _ in range(3)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outputs
    befores = [json.loads(out)["control"]["before"] for out, _ in outputs]
    newest = NEWEST_VERSION
    assert sorted(befores, key=str) == [*[newest] * 2, None]
    again = new.run("db", "upgrade")
    assert again.out.splitlines() == [
        f"the control schema: {newest}, unchanged",
        "Optuna's tables: v3.2.0.a, unchanged",
    ]


def make_control_older(hpo: Command, version: str = "0001") -> None:
    with (
        open_storage(load_settings({}), hpo.storage) as storage,
        storage.engine.connect() as connection,
    ):
        config = _alembic_config()
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, version)
        connection.commit()


def test_a_study_of_an_older_version_is_refused_moved_upgraded_and_finished(server: Here, new: Here) -> None:
    make_control_older(server)
    server.write("moved.yaml", SPEC)
    looking = ("status", "status moved", "metrics --once", "dashboard --port 0", "stop moved", "resume moved", "reap")
    working = ("worker", "fleet up --workers 1", "run moved.yaml", "run moved.yaml --dry-run", "phase2 moved")
    for command in (*looking, *working):
        line = refusal(server.run(*command.split()))
        assert f"must be of version {NEWEST_VERSION}, not 0001" in line, command
        assert "`hpo db upgrade`" in line
    assert server.json("db", "backup", "older.dump")["trials"] == 11
    assert new.json("db", "restore", "older.dump") == {
        "file": "older.dump",
        "studies": 1,
        "trials": 11,
        "running": 0,
    }
    assert new.json("worker", "--study", "moved", "--idle-exit", "1") == {"trials": 12}
    assert new.json("status", "moved")["state"] == "finished"
    upgraded = server.json("db", "upgrade")["control"]
    assert upgraded == {"before": "0001", "after": NEWEST_VERSION}
    assert server.json("status", "moved")["trials"]["waiting"] == 11


def test_a_backup_goes_into_an_empty_storage_of_an_older_version(server: Here, new: Here) -> None:
    server.json("db", "backup", "studies.dump")
    new.json("db", "upgrade")
    make_control_older(new)
    assert new.json("db", "restore", "studies.dump")["studies"] == 1
    assert new.json("status", "moved")["trials"]["waiting"] == 11


def test_a_backup_file_of_nobodys_home_is_refused_in_one_line(new: Here) -> None:
    for command in ("backup", "restore"):
        assert "full path" in refusal(new.run("db", command, "~no-such-user-here/x"))


def test_an_upgrade_brings_optunas_tables_up(server: Here) -> None:
    # What the last step of Optuna's own migrations does, undone.
    query(server, "DROP INDEX IF EXISTS trials_study_id_key")
    query(server, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    refused = server.run("reap")
    assert "hpo db upgrade" in refusal(refused)
    assert server.json("db", "backup", "older.dump")["studies"] == 1
    upgraded = server.run("db", "upgrade", "--json")
    assert upgraded.err == ""
    assert json.loads(upgraded.out)["optuna"] == {"before": "v3.0.0.d", "after": "v3.2.0.a"}
    assert len(trials_of(server)) == 11


def newer_control(hpo: Command) -> None:
    query(hpo, "UPDATE hpo.version SET version_num = '9999'")


def newer_optuna(hpo: Command) -> None:
    query(hpo, "UPDATE alembic_version SET version_num = 'v9.9.9.z'")


@pytest.mark.parametrize(("make_newer", "said"), [(newer_control, "9999"), (newer_optuna, "v9.9.9.z")])
def test_a_storage_of_a_newer_version_is_refused_in_one_line(
    server: Here, new: Here, make_newer: Callable[[Command], None], said: str, tcp_postgres: TcpPostgres
) -> None:
    make_newer(server)
    assert said in refusal(server.run("db", "upgrade"))
    if make_newer is newer_control:
        server.write("moved.yaml", SPEC)
        for command in ("status", "reap", "worker", "stop moved", "db backup studies.dump", "run moved.yaml"):
            line = refusal(server.run(*command.split()))
            assert "newer budget-hpo" in line, command
    # Nor can such a backup be read.
    dump_by_hand(tcp_postgres, database_of(server), server.directory / "newer.dump")
    assert said in refusal(new.run("db", "restore", "newer.dump"))
    assert query(new, "SELECT to_regclass('studies'), to_regnamespace('hpo')") == [(None, None)]


def database_of(hpo: Command) -> str:
    assert hpo.storage is not None
    return hpo.storage.rpartition("/")[2]


def dump_by_hand(server: TcpPostgres, database: str, file: Path) -> None:
    address = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres", "PGPASSWORD": PASSWORD}
    command = [str(postgres.program("pg_dump")), "--format=custom", f"--file={file}", database]
    subprocess.run(command, env=address, check=True)
