"""Real databases and the real command: an embedded home a test, and one server on 127.0.0.1 with a password."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Command
from servers import PASSWORD, TcpPostgres, eventually, free_port, init_server, processes_of

from hpo import embedded, postgres


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder, short enough for a socket; after the test nothing may run in it."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-", dir="/tmp"))
    yield folder
    embedded.release(folder)
    gone = eventually(lambda: not processes_of(folder))
    left = processes_of(folder)
    log = folder / "postgres.watchdog.log"
    said = log.read_text() if log.exists() else ""
    shutil.rmtree(folder)
    assert gone, left
    assert said == ""


@pytest.fixture
def hpo(home: Path, tmp_path: Path) -> Command:
    """The command with a home and a working directory of its own."""
    return Command(home, tmp_path)


@pytest.fixture(scope="session")
def tcp_postgres() -> Iterator[TcpPostgres]:
    """One Postgres on 127.0.0.1 for all tests; `new_database` gives each what it needs."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-tcp-", dir="/tmp"))
    data, port, account = folder / "data", free_port(), postgres.server_account()
    init_server(folder, data)
    pg_ctl = postgres.program("pg_ctl")
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off -c max_connections=200"
    start = [pg_ctl, "start", "-D", data, "-l", data / "log", "-w", "-t", "60", "-o", options]
    code, output = postgres.run(start, account)
    assert code == 0, output + (data / "log").read_text()
    try:
        yield TcpPostgres(port, PASSWORD)
    finally:
        code, output = postgres.run([pg_ctl, "stop", "-D", data, "-m", "fast", "-w"], account)
        shutil.rmtree(folder)
    assert code == 0, output
