"""Starting and watching real processes and servers."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2

from hpo import postgres

ROOT = Path(__file__).resolve().parents[1]
# Every character that a URL, a format string or a configuration file could trip over.
PASSWORD = "p@ss:w/rd%{x} #?ü"


# A process that uses the embedded server until its standard input is closed.
USER = """
import sys
from pathlib import Path
from hpo import embedded
server = embedded.use(Path(sys.argv[1]))
print(server.libpq_url, flush=True)
sys.stdin.read()
server.leave()
"""


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment with the project importable, wherever the tests are started."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **extra}


def start_python(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start a Python process whose stdin and stdout are pipes."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    settings = {"env": environment(), "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**settings, **options})  # type: ignore[call-overload,no-any-return]


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether the condition comes true within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@dataclass(frozen=True)
class Seen:
    """A process as it was when it was looked at; it may have ended since."""

    pid: int
    parent: int
    command: list[str]


def processes_of(folder: Path) -> list[Seen]:
    """Return the living processes that name a folder on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            seen = Seen(process.pid, process.ppid(), process.cmdline())
            living = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if living and any(str(folder) in part for part in seen.command):
            found.append(seen)
    return found


@dataclass(frozen=True)
class TcpPostgres:
    """A server that asks for a password."""

    port: int
    password: str
    folder: Path
    pg_ctl: Path
    user: str = "postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=200"
        self._pg_ctl("start", "-l", self.data / "log", "-t", "60", "-o", options)

    def stop(self) -> None:
        self._pg_ctl("stop", "-m", "fast")

    def _pg_ctl(self, what: str, *more: str | Path) -> None:
        command = [self.pg_ctl, what, "-D", self.data, "-w", *more]
        code, output = postgres.run(command, postgres.server_account())
        assert code == 0, output + (self.data / "log").read_text()

    def log_size(self) -> int:
        return (self.data / "log").stat().st_size

    def log_since(self, size: int) -> str:
        return (self.data / "log").read_bytes()[size:].decode(errors="replace")

    def url_of(self, database: str, password: str | None = None, user: str | None = None) -> str:
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{user or self.user}:{secret}@127.0.0.1:{self.port}/{database}"

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def execute(self, statement: str, database: str = "postgres") -> None:
        connection = psycopg2.connect(self.url_of(database))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def new_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"db_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def init_server(folder: Path, data: Path, initdb: Path | None = None) -> None:
    account = postgres.server_account()
    postgres.open_to(account, data)
    secret = folder / "password"
    secret.write_text(PASSWORD + "\n")
    data.mkdir(mode=0o700)
    if account:
        for path in (folder, secret, data):
            os.chown(path, account.uid, account.gid)
    options = ["-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
    command = [initdb or postgres.program("initdb"), "-D", data, *options, f"--pwfile={secret}"]
    code, output = postgres.run(command, account)
    assert code == 0, output
