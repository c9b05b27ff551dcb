"""A password given on the command line leaves it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from servers import ROOT, environment, eventually

from hpo.errors import StorageError
from hpo.masking import without_passwords
from hpo.storage import parse_storage_url

BARE = "postgresql://me@db.example:5432/hpo"
SECRET = "p@ss:w/rd%"
URL = "postgresql://me:p%40ss%3Aw%2Frd%25@db.example:5432/hpo"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["--storage", URL], ["--storage", BARE]),
        ([f"--storage={URL}"], [f"--storage={BARE}"]),
        ([f"--storag={URL}"], [f"--storag={BARE}"]),
        ([URL], [BARE]),
        ([URL.replace("postgresql:", "mysql:")], [BARE.replace("postgresql:", "mysql:")]),
        ([URL.replace(":", "+asyncpg:", 1)], [BARE.replace(":", "+asyncpg:", 1)]),
        (["--storage", f"{BARE}?password=p%40ss%3Aw%2Frd%25"], ["--storage", BARE]),
        ([f"{BARE}?a=b@c&password=p%40ss%3Aw%2Frd%25&c=d"], [f"{BARE}?a=b@c&c=d"]),
        ([URL.replace("me:", "me@server:")], [BARE.replace("me", "me%40server", 1)]),
    ],
)
def test_the_password_is_taken_out_of_the_url(given: list[str], left: list[str]) -> None:
    assert without_passwords(["python", "hpo", "status", *given]) == (["python", "hpo", "status", *left], SECRET)
    assert without_passwords(left) == (left, None)


@pytest.mark.parametrize(
    "given",
    [
        ["--storage", BARE],
        ["run", "a=b.yaml"],
        ["--storage", "postgresql://u:p%00w@h/d"],
        ["--storage", "postgresql:///d?host=/tmp/x"],
        [],
    ],
)
def test_what_holds_no_password_that_a_variable_takes_stays_as_it_is(given: list[str]) -> None:
    assert without_passwords(given) == (given, None)


@pytest.mark.parametrize("url", ["postgresql://u:se@secret@h/x", "postgresql://us/er:secret@h/x"])
def test_a_url_with_an_at_too_many_loses_everything_and_is_refused_for_the_same_reason(url: str) -> None:
    stripped, _ = without_passwords(["--storage", url])
    assert "secret" not in str(stripped)
    with pytest.raises(StorageError, match="must be written %40"):
        parse_storage_url(stripped[1])
    assert without_passwords(stripped) == (stripped, None)


def test_two_different_passwords_are_refused_in_one_line_and_two_equal_ones_are_not() -> None:
    for first, code in (("other", 2), ("secret", 0)):
        program = "import sys; sys.orig_argv = [sys.executable, '-c', 'pass', *sys.argv[1:]]; "
        program += "from hpo.process_list import leave_the_process_list as leave; leave()"
        urls = [f"postgresql://u:{first}@h/x", "postgresql://u:secret@h/x"]
        command = [sys.executable, "-c", program, "--from", urls[0], "--storage", urls[1]]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (code, code // 2), ended
        assert "secret" not in ended.stderr


CONSOLE = "from hpo.entry import main; main()"


@pytest.mark.parametrize("how", [["-m", "hpo"], ["-c", CONSOLE]], ids=["module", "console"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "postgresql+asyncpg"])
def test_the_password_leaves_before_anything_heavy_is_imported(how: list[str], scheme: str, tmp_path: Path) -> None:
    # What is imported between the start and the new start is printed by the interpreter itself.
    command = [sys.executable, "-X", "importtime", *how, "status", "--storage", f"{scheme}://u:pa55word@127.0.0.1:1/x"]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment(HPO_HOME=str(tmp_path)), check=False
    )
    assert ended.returncode == 2
    before = ended.stderr.partition("hpo.settings")[0]
    assert "hpo.masking" in before
    assert not any(heavy in before for heavy in ("cyclopts", "sqlalchemy", "rich", "psycopg2"))
    assert "pa55word" not in ended.stderr


def test_the_new_start_is_the_same_python_however_it_was_called(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    # From here on another Python would be found under the name alone.
    code = f"import os, sys; open({str(seen)!r}, 'a').write(sys.prefix + chr(10)); os.environ['PATH'] = os.defpath"
    command = ["python", "-c", f"{code}; {CONSOLE}", "status", "--storage", "postgresql://u:secret@127.0.0.1:1/x"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    subprocess.run(["/usr/bin/env", *command], capture_output=True, env=environment(PATH=path), check=False)
    assert seen.read_text().splitlines() == [sys.prefix] * 2


def test_the_password_is_gone_from_the_process_list_at_once() -> None:
    # A port that takes connections and says nothing: the command waits there.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:secret@127.0.0.1:{silent.getsockname()[1]}/x"
        process = subprocess.Popen(
            [sys.executable, "-c", CONSOLE, "status", "--storage", url],
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.PIPE,
        )
        try:
            # While the program is being replaced it has no arguments at all.
            assert eventually(lambda: "u@127.0.0.1" in " ".join(psutil.Process(process.pid).cmdline()), seconds=10)
            assert "secret" not in " ".join(psutil.Process(process.pid).cmdline())
        finally:
            process.kill()
            process.communicate()
