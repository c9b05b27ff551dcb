"""Real databases and the real command: an embedded home a test, and one server on 127.0.0.1 with a password."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import Command
from servers import PASSWORD, TcpPostgres, eventually, free_port, init_server, processes_of

from hpo import embedded, postgres


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder, short enough for a socket; after the test nothing may run in it."""
    with short_home() as folder:
        yield folder


@pytest.fixture(scope="module")
def module_home() -> Iterator[Path]:
    """A home folder for all tests of a module."""
    with short_home() as folder:
        yield folder


@contextmanager
def short_home() -> Iterator[Path]:
    """A home folder in which nothing may run afterwards."""
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
    with tcp_server(postgres.program("initdb")) as server:
        yield server


@pytest.fixture
def older_postgres() -> Iterator[TcpPostgres]:
    """Another one, of the oldest version in the wheel."""
    newest = postgres.program("initdb")
    oldest = min(newest.parents[2].glob("pginstall*/bin/initdb"), key=postgres.major_version)
    if oldest == newest:
        pytest.skip("the wheel holds one version of Postgres")
    postgres.open_to(postgres.server_account(), oldest)
    with tcp_server(oldest) as server:
        yield server


@contextmanager
def tcp_server(initdb: Path) -> Iterator[TcpPostgres]:
    """A Postgres on 127.0.0.1 with a password."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-tcp-", dir="/tmp"))
    server = TcpPostgres(free_port(), PASSWORD, folder, initdb.with_name("pg_ctl"))
    init_server(folder, server.data, initdb)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
