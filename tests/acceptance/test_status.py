"""`hpo status` and `hpo metrics` as they are used: watched, piped, scraped, before there is anything to see."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from urllib.request import urlopen

import pytest
from command import Command
from servers import free_port

from hpo import control_schema
from hpo.control import Control
from hpo.phase1 import ensure_study
from hpo.records import StudyState
from hpo.settings import load_settings
from hpo.storage import open_storage
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec

SPEC = """
name: {name}
objective: objectives:misbehaving
budgets: [2M]
trials: 9
max_attempts: 1
early_stop: {{patience: 1000}}
"""


def make(hpo: Command, name: str, *more: str) -> None:
    hpo.json("run", hpo.write(f"{name}.yaml", SPEC.format(name=name)), *more)


def shell(hpo: Command, line: str) -> subprocess.CompletedProcess[str]:
    command = line.replace("hpo", f"{sys.executable} -m hpo")
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=hpo.directory,
        env=hpo.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_failures_are_in_the_object_of_one_study_and_of_all(hpo: Command) -> None:
    make(hpo, "quick")
    found = hpo.json("status", "quick", "--failures")
    for_good = [each for each in found["failures"] if not each["runs_again"]]
    assert len(for_good) == found["trials"]["failed"] > 0
    # What ran out of memory runs again with half the micro-batch, and that uses up no attempt: each time is told.
    again = [each for each in found["failures"] if each["runs_again"]]
    assert again
    assert {(each["name"], each["cause"]) for each in again} == {("2M_lr_low", "out_of_memory")}
    failure = next(each for each in found["failures"] if each["name"] == "2M_dropout_low")
    assert (failure["cause"], failure["attempt"], failure["runs_again"]) == ("failed", 1, False)
    assert "ValueError: this one always fails" in failure["message"]
    (same,) = hpo.json("status", "--failures")["studies"]
    assert same["failures"] == found["failures"]
    assert "failures" not in hpo.json("status", "quick")
    refused = hpo.run("status", "--failures", "--watch")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_watched_without_a_terminal_each_look_is_a_block_at_once_and_ctrl_c_is_the_way_out(
    hpo: Command, arguments: Sequence[str]
) -> None:
    make(hpo, "quick", "--workers", "0")
    watching = hpo.start("status", "--watch", "--every", "0.5", *arguments)
    assert watching.stdout is not None
    said = ""
    while len(re.findall(r'quick: running|"state": "running"', said)) < 3:
        said += watching.stdout.readline()
    assert "\x1b" not in said
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (0, "")
    if arguments:
        assert all(json.loads(line)["studies"] for line in (said + out).splitlines())


def test_on_a_small_terminal_a_running_study_is_seen_whatever_has_ended_before(hpo: Command) -> None:
    with open_storage(load_settings(hpo.environment())) as storage:
        control_schema.migrate(storage.engine)
        for name in (*(f"ended{number}" for number in range(15)), "going"):
            spec = Spec.model_validate({"name": name, "objective": "objectives:score", "budgets": ["2M"], "trials": 9})
            ensure_study(storage, spec, Prepared(architecture_values(spec)))
            if name != "going":
                Control(storage.engine).decide(name, StudyState.STOPPED, "", {})
    shown = watched(hpo, rows=24)
    assert "going: running" in shown
    assert "nobody works on it" in shown
    assert "no worker: `hpo worker --study going`" in shown
    assert "ended0: stopped, 0 of 9 complete" in shown


def watched(hpo: Command, rows: int) -> str:
    """Return what a terminal of that height has shown after the first look."""
    leader, follower = pty.openpty()
    environment = {**hpo.environment(), "LINES": str(rows), "TERM": "xterm"}
    command = [sys.executable, "-m", "hpo", "status", "--watch"]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    while b"ended0" not in shown:
        shown += os.read(leader, 65536)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    os.close(leader)
    assert process.returncode == 0
    return shown.decode()


@pytest.mark.parametrize("command", ["hpo status", "hpo status --json", "hpo status --watch", "hpo schema"])
def test_a_reader_that_has_gone_ends_a_command_without_a_word(hpo: Command, command: str) -> None:
    make(hpo, "quick", "--workers", "0")
    ended = shell(hpo, f"{command} | true")
    assert (ended.stdout, ended.stderr) == ("", "")


def test_a_home_that_nobody_has_used_has_no_metrics_and_gets_no_postgres(hpo: Command) -> None:
    once = hpo.run("metrics", "--once")
    assert (once.code, once.err) == (0, "no study yet: `hpo run quickstart` makes one\n")
    assert [line for line in once.out.splitlines() if not line.startswith("#")] == ["hpo_up 0.0"]
    served = hpo.run("metrics", "--port", "0")
    assert (served.code, served.out, served.err) == (2, "", "no study yet: `hpo run quickstart` makes one\n")
    assert list(hpo.home.iterdir()) == []


def test_host_and_port_of_the_metrics_are_told_apart(hpo: Command) -> None:
    for arguments, said in ((("--host", "192.0.2.1"), "192.0.2.1"), (("--host", "a..b"), "a..b")):
        refused = hpo.run("metrics", *arguments)
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert refused.err.startswith("--host and --port must be an address")
        assert said in refused.err
    assert list(hpo.home.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_metrics_are_served_until_a_signal(hpo: Command, how: signal.Signals) -> None:
    make(hpo, "quick", "--workers", "0")
    port = free_port()
    process = hpo.start("metrics", "--port", str(port))
    assert process.stderr is not None
    assert process.stderr.readline() == f"metrics on http://127.0.0.1:{port}/metrics; Ctrl-C ends it\n"
    taken = hpo.run("metrics", "--port", str(port))
    assert (taken.code, len(taken.err.splitlines())) == (2, 1)
    assert "another program listens" in taken.err
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    assert 'hpo_study_state{state="running",study="quick"} 1.0' in lines
    assert 'hpo_study_state{state="finished",study="quick"} 0.0' in lines
    assert 'hpo_alerts{kind="no_worker",study="quick"} 1.0' in lines
    assert 'hpo_alerts{kind="disk",study="quick"} 0.0' in lines
    process.send_signal(how)
    asked = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert time.monotonic() - asked < 10
