"""The life of the embedded server: started on demand, gone with its last user, however that one went."""

import glob
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from servers import ROOT, USER, environment, eventually, processes_of, start_python

from hpo import embedded, postgres
from hpo.embedded import Released
from hpo.errors import StorageError

LOCK_FILES = ("postmaster.pid", ".s.PGSQL.5432.lock")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_user(home: Path) -> Iterator[Start]:
    """Start processes that use the server until their stdin is closed; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(wait: bool = True, **options: object) -> subprocess.Popen[str]:
        process = start_python(USER, home, **options)
        started.append(process)
        if wait:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("postgresql://")
        return process

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def postmaster(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))


def watchdogs(home: Path) -> list[int]:
    return [seen.pid for seen in processes_of(home) if "embedded_watchdog.py" in " ".join(seen.command)]


def servers(home: Path) -> list[int]:
    # A child has the command line of its parent until it has named itself.
    found = [seen for seen in processes_of(home) if "-D" in seen.command]
    return [seen.pid for seen in found if seen.parent not in {other.pid for other in found}]


def is_gone(home: Path) -> bool:
    return not processes_of(home)


def ask(home: Path, query: str) -> object:
    connection = psycopg2.connect(embedded.libpq_url(home))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def test_the_server_starts_on_demand_and_stops_with_its_user(home: Path) -> None:
    assert not embedded.is_running(home)
    with embedded.use(home) as server:
        assert embedded.is_running(home)
        assert server.url == f"postgresql+psycopg2://postgres@/postgres?port=5432&host={home}/postgres"
        assert ask(home, "SELECT current_user::text") == ("postgres",)
        assert len(watchdogs(home)) == 1
    assert eventually(lambda: is_gone(home))
    assert not embedded.is_running(home)


def test_commits_are_durable_and_there_are_connections_for_many_workers(home: Path) -> None:
    with embedded.use(home):
        assert ask(home, "SHOW fsync") == ("on",)
        assert ask(home, "SHOW synchronous_commit") == ("on",)
        assert ask(home, "SHOW max_connections") == ("500",)
        assert ask(home, "SHOW listen_addresses") == ("",)


def test_other_users_of_the_machine_cannot_reach_the_socket(home: Path) -> None:
    with embedded.use(home):
        assert (home / "postgres").stat().st_mode & 0o077 == 0


def test_the_server_stays_until_the_last_of_its_users_leaves(home: Path, start_user: Start) -> None:
    other = start_user()
    first = embedded.use(home)
    started = ask(home, "SELECT pg_postmaster_start_time()::text")
    first.leave()
    first.leave()
    time.sleep(0.5)
    assert ask(home, "SELECT pg_postmaster_start_time()::text") == started
    other.communicate("")
    assert eventually(lambda: is_gone(home))


def test_the_server_stops_after_its_only_user_was_killed(home: Path, start_user: Start) -> None:
    kill(start_user())
    assert eventually(lambda: is_gone(home))


def test_the_server_stops_after_all_of_its_users_were_killed(home: Path, start_user: Start) -> None:
    users = [start_user() for _ in range(3)]
    for user in users:
        user.kill()
    assert eventually(lambda: is_gone(home))


def test_a_killed_user_does_not_take_the_server_from_the_others(home: Path, start_user: Start) -> None:
    killed, other = start_user(), start_user()
    kill(killed)
    time.sleep(0.5)
    assert ask(home, "SELECT 1") == (1,)
    kill(other)
    assert eventually(lambda: is_gone(home))


def test_four_users_at_once_on_an_empty_folder_get_one_server(home: Path, start_user: Start) -> None:
    users = [start_user(wait=False) for _ in range(4)]
    urls = {user.stdout.readline() for user in users if user.stdout}
    assert urls == {embedded.libpq_url(home) + "\n"}
    assert len(watchdogs(home)) == 1
    assert len(servers(home)) == 1
    for user in users:
        user.communicate("")
    assert eventually(lambda: is_gone(home))


def test_a_user_who_comes_while_the_server_is_being_stopped_gets_a_new_one(home: Path) -> None:
    for pause in (0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1):
        with embedded.use(home):
            assert ask(home, "SELECT 1") == (1,)
            assert len(watchdogs(home)) == 1
        time.sleep(pause)
    assert eventually(lambda: is_gone(home))


def test_users_who_come_and_go_at_random_always_find_a_server(home: Path) -> None:
    code = """
import random, sys, time, psycopg2
from pathlib import Path
from hpo import embedded
for _ in range(8):
    with embedded.use(Path(sys.argv[1])) as server:
        psycopg2.connect(server.libpq_url).close()
        time.sleep(random.random() * 0.05)
    time.sleep(random.random() * 0.2)
"""
    users = [start_python(code, home) for _ in range(4)]
    for user in users:
        user.communicate(timeout=60)
        assert user.returncode == 0
    assert eventually(lambda: is_gone(home))


@pytest.mark.parametrize("delay", [0.25, 0.4, 0.55, 0.7, 0.85])
def test_a_user_killed_while_starting_leaves_nothing_and_blocks_nobody(
    home: Path, start_user: Start, delay: float
) -> None:
    user = start_user(wait=False)
    time.sleep(delay)
    kill(user)
    assert eventually(lambda: is_gone(home))
    with embedded.use(home):
        assert ask(home, "SELECT 1") == (1,)
    assert eventually(lambda: is_gone(home))
    assert not list(home.glob("postgres.new-*"))


def test_a_killed_server_is_started_again_by_the_next_user_with_its_data(home: Path) -> None:
    with embedded.use(home):
        ask(home, "CREATE TABLE kept AS SELECT 7 AS n")
        postmaster(home).kill()
        with embedded.use(home):
            assert ask(home, "SELECT n FROM kept") == (7,)
    assert eventually(lambda: is_gone(home))


def test_a_user_can_have_a_killed_server_started_again(home: Path) -> None:
    with embedded.use(home) as server:
        server.ensure_running()
        postmaster(home).kill()
        assert eventually(lambda: not embedded.is_running(home))
        server.ensure_running()
        assert ask(home, "SELECT 1") == (1,)
    with pytest.raises(StorageError, match="was left already"):
        server.ensure_running()


def test_a_pid_file_left_by_a_reboot_does_not_mislead(home: Path) -> None:
    with embedded.use(home):
        left = {name: (home / "postgres" / name).read_text() for name in LOCK_FILES}
    assert eventually(lambda: is_gone(home))
    account = postgres.server_account()
    # The number belongs to a process of the very user now that Postgres would look for.
    stranger = subprocess.Popen(["sleep", "60"], user=account.uid if account else None)
    try:
        for name, text in left.items():
            lines = [str(stranger.pid), *text.splitlines()[1:]]
            (home / "postgres" / name).write_text("\n".join(lines) + "\n")
        assert not embedded.is_running(home)
        with embedded.use(home):
            assert ask(home, "SELECT 1") == (1,)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_new_user_replaces_a_killed_watchdog(home: Path, start_user: Start) -> None:
    user = start_user()
    os.kill(watchdogs(home)[0], signal.SIGKILL)
    assert eventually(lambda: not watchdogs(home))
    second = start_user()
    assert len(watchdogs(home)) == 1
    kill(user)
    kill(second)
    assert eventually(lambda: is_gone(home))


def test_a_user_who_leaves_replaces_a_killed_watchdog(home: Path, start_user: Start) -> None:
    user = start_user()
    os.kill(watchdogs(home)[0], signal.SIGKILL)
    assert eventually(lambda: not watchdogs(home))
    user.communicate("")
    assert eventually(lambda: is_gone(home))


def test_a_kept_server_outlives_its_users_until_it_is_released(home: Path, start_user: Start) -> None:
    embedded.keep(home)
    embedded.keep(home)
    assert embedded.is_kept(home)
    kill(start_user())
    time.sleep(0.5)
    assert ask(home, "SELECT 1") == (1,)
    assert embedded.release(home) is Released.STOPPED
    assert is_gone(home) or eventually(lambda: is_gone(home))
    assert not embedded.is_kept(home)
    assert embedded.release(home) is Released.NOT_RUNNING


def test_a_released_server_in_use_stops_with_its_last_user(home: Path, start_user: Start) -> None:
    embedded.keep(home)
    user = start_user()
    assert embedded.release(home) is Released.IN_USE
    assert embedded.release(home) is Released.IN_USE
    assert ask(home, "SELECT 1") == (1,)
    kill(user)
    assert eventually(lambda: is_gone(home))


def test_releasing_what_never_ran_makes_nothing(home: Path) -> None:
    assert embedded.release(home / "nowhere") is Released.NOT_RUNNING
    assert not (home / "nowhere").exists()


def test_ctrl_c_in_a_users_terminal_does_not_reach_server_or_watchdog(home: Path, start_user: Start) -> None:
    with embedded.use(home):
        pass
    user = start_user(start_new_session=True, stderr=subprocess.DEVNULL)
    for pid in (postmaster(home).pid, *watchdogs(home)):
        assert os.getsid(pid) not in (os.getsid(0), os.getsid(user.pid))
        assert psutil.Process(pid).terminal() is None
    with embedded.use(home):
        started = ask(home, "SELECT pg_postmaster_start_time()::text")
        os.killpg(user.pid, signal.SIGINT)
        user.communicate()
        assert ask(home, "SELECT pg_postmaster_start_time()::text") == started
    assert eventually(lambda: is_gone(home))


def test_a_child_process_does_not_hold_the_server(home: Path) -> None:
    with embedded.use(home):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert eventually(lambda: is_gone(home))
    finally:
        child.kill()
        child.wait()


def test_variables_of_postgres_do_not_mislead(home: Path, start_user: Start) -> None:
    misleading = environment(PGPORT="9", PGDATA="/nowhere", PGHOST="nowhere.invalid", PGDATABASE="nowhere")
    user = start_user(env=misleading)
    code = "import sys, psycopg2; psycopg2.connect(sys.argv[1]).close()"
    command = [sys.executable, "-c", code, embedded.libpq_url(home)]
    subprocess.run(command, env=misleading, check=True)
    kill(user)


@pytest.mark.parametrize("name", ["n" * 120, "with a space, a comma and 'quotes'", "größe"])
def test_a_path_that_fits_no_socket_works(home: Path, name: str) -> None:
    long = home / name
    with embedded.use(long) as server:
        assert ask(long, "SELECT 1") == (1,)
        folder = Path(server.url.partition("host=")[2])
        assert folder.parent == Path(tempfile.gettempdir()).resolve()
        assert folder.stat().st_mode & 0o077 == 0
    assert eventually(lambda: is_gone(long))
    folder.rmdir()


def test_a_socket_folder_made_by_somebody_else_is_refused(home: Path) -> None:
    long = home / ("n" * 120)
    folder = postgres.socket_folder((long / "postgres").resolve())
    folder.symlink_to(home)
    try:
        with pytest.raises(StorageError, match="must be this user's"):
            embedded.use(long)
    finally:
        folder.unlink()


def test_a_folder_that_cannot_be_written_is_told_in_one_line(home: Path) -> None:
    (home / "file").touch()
    for act in (embedded.use, embedded.keep):
        with pytest.raises(StorageError, match="set HPO_HOME to another folder") as caught:
            act(home / "file" / "below")
        assert "\n" not in str(caught.value)


def test_a_server_that_does_not_start_tells_its_log(home: Path) -> None:
    with embedded.use(home):
        pass
    assert eventually(lambda: is_gone(home))
    with (home / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("nonsense = 1\n")
    with pytest.raises(StorageError, match=r"could not be started, see .*server.log \(.*configuration file") as caught:
        embedded.use(home)
    assert "\n" not in str(caught.value)
    assert eventually(lambda: is_gone(home))


def test_data_of_another_postgres_is_told_in_one_line(home: Path) -> None:
    with embedded.use(home):
        pass
    assert eventually(lambda: is_gone(home))
    (home / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StorageError, match="which is installed, not 12"):
        embedded.use(home)


def python_for_all() -> str | None:
    """Return a Python that other users may run: root's own often lies in a closed folder."""
    for path in (
        sys.executable,
        *glob.glob("/usr/bin/python3.1[1-9]"),
        *glob.glob("/usr/local/bin/python3.1[1-9]"),
    ):
        probe = subprocess.run(["/bin/sh", "-c", f"'{path}' -V"], user="nobody", capture_output=True, check=False)
        if probe.returncode == 0:
            return path
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_works_as_a_normal_user_and_refuses_a_folder_of_root(home: Path) -> None:
    python, nobody = python_for_all(), pwd.getpwnam("nobody")
    if python is None:
        pytest.skip("no Python that another user may run")
    folder = home / "own"
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    home.chmod(0o755)
    packages = Path(postgres.program("postgres")).parents[3]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(target: Path) -> subprocess.CompletedProcess[str]:
        command = [python, "-c", USER, str(target)]
        return subprocess.run(
            command, user="nobody", env=paths, cwd="/", input="", text=True, capture_output=True, check=False
        )

    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert eventually(lambda: is_gone(folder))
    assert "must be a writable one" in run(home).stderr.splitlines()[-1]
