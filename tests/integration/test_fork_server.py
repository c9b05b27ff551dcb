"""What the fork server loads, and how it says that it has."""

from pathlib import Path

import pytest

from hpo.fork_server import ForkFailedError, ForkServer, call

HERE = Path(__file__).parent


def load(monkeypatch: pytest.MonkeyPatch, directory: Path, code: str) -> ForkServer:
    (directory / "loaded_by_the_server.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{directory}:{HERE}:{HERE.parents[1]}")
    return ForkServer(("hpo.trial_memory", "loaded_by_the_server"))


def test_what_a_module_prints_while_it_is_loaded_is_not_taken_for_the_word_that_all_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import os, time\nos.write(1, b'printed by a library\\n')\ntime.sleep(0.5)\n"
    with load(monkeypatch, tmp_path, code) as server:
        server.wait_until_ready()
        assert call(server.address, "hpo.trial_memory:measure_start") > 0
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "printed by a library\n")


def test_a_server_that_ends_while_it_loads_says_what(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    with load(monkeypatch, tmp_path, code) as server, pytest.raises(ForkFailedError, match="loaded_by_the_server"):
        server.wait_until_ready()
