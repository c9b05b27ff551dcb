"""A Postgres on TCP with a password: shared by machines, and its password never shown."""

import os
import time
from collections import Counter

import optuna
import psutil
import pytest
from command import Command
from optuna.trial import TrialState as OptunaState
from servers import PASSWORD, TcpPostgres, eventually
from sqlalchemy import text

from hpo.settings import load_settings
from hpo.storage import open_storage

SPEC = """
name: shared
objective: objectives:score
budgets: [750k, 2M]
trials: 14
early_stop: {patience: 1000}
"""


def hidden(said: str) -> bool:
    return PASSWORD not in said and "p%40ss" not in said and "p@ss" not in said


def test_two_machines_share_a_study_over_tcp(hpo: Command, tcp_postgres: TcpPostgres) -> None:
    shared = Command(hpo.home, hpo.directory, tcp_postgres.url)
    # Another home is another machine as far as files go.
    other = Command(hpo.home / "other", hpo.directory, tcp_postgres.url)
    path = shared.write("shared.yaml", SPEC)
    processes = [machine.start("run", path, "--json") for machine in (shared, other)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert all(hidden(out + err) for out, err in ended)
    with open_storage(load_settings({}), tcp_postgres.url) as storage:
        trials = optuna.load_study(study_name="shared", storage=storage.optuna).get_trials(deepcopy=False)
    assert [trial.state for trial in trials] == [OptunaState.COMPLETE] * 14
    assert Counter(trial.user_attrs["origin"] for trial in trials) == {"forced": 11, "sampled": 3}
    assert not (hpo.home / "postgres").exists()
    shown = shared.run("db", "url")
    assert "***" in shown.out
    assert hidden(shown.out + shown.err)


@pytest.mark.parametrize("how", ["environment", "option"])
def test_a_refused_password_is_one_line_without_the_password(hpo: Command, tcp_postgres: TcpPostgres, how: str) -> None:
    wrong = f"postgresql://postgres:{PASSWORD_NOT_TAKEN}@127.0.0.1:{tcp_postgres.port}/postgres"
    command = Command(hpo.home, hpo.directory, wrong if how == "environment" else None)
    ended = command.run("run", "quickstart", *(["--storage", wrong] if how == "option" else []))
    assert (ended.code, ended.out, len(ended.err.strip().splitlines())) == (2, "", 1)
    assert "refused" in ended.err
    assert PASSWORD_NOT_TAKEN not in ended.err
    assert os.listdir(hpo.home) == []


PASSWORD_NOT_TAKEN = "not-the-password"


def test_the_password_is_nowhere_that_a_person_looks(hpo: Command, tcp_postgres: TcpPostgres) -> None:
    shared = Command(hpo.home, hpo.directory, tcp_postgres.url_of(tcp_postgres.new_database()))
    shared.json("run", shared.write("shared.yaml", SPEC), "--workers", "0")
    fleet = shared.start("fleet", "up", "--workers", "2", HPO_BEAT_SECONDS="0.5", HPO_LOST_AFTER_SECONDS="5")
    commands: set[str] = set()
    while shared.json("status", "shared")["state"] == "running":
        commands |= {" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
    # A worker that loses the database says so, and what the driver says may hold more than it should.
    tcp_postgres.stop()
    time.sleep(2)
    tcp_postgres.start()
    assert eventually(lambda: shared.run("fleet", "drain", "2").code == 0)
    out, err = fleet.communicate(timeout=60)
    assert "the database is away" in err
    assert any("hpo.fork_server" in command for command in commands)
    files = {path: path.read_bytes().decode(errors="replace") for path in hpo.home.rglob("*") if path.is_file()}
    assert {path.parent.name for path in files} >= {"logs"}
    assert any(path.name == "log.txt" for path in files)
    shown = [shared.run(*command).out for command in (["status"], ["status", "--json"], ["metrics", "--once"])]
    stored = everything_stored(str(shared.storage))
    assert {"hpo.trial.message", "hpo.alert.message", "public.trial_user_attributes.value_json"} <= set(stored)
    found = [*files.values(), *stored.values(), out, err, *commands, *shown]
    assert all(map(hidden, found))


def everything_stored(url: str) -> dict[str, str]:
    """Return what stands in every column of every table that holds text."""
    columns = """SELECT table_schema, table_name, column_name FROM information_schema.columns
                 WHERE table_schema IN ('hpo', 'public')
                 AND data_type IN ('text', 'json', 'jsonb', 'character varying')"""
    with open_storage(load_settings({}), url) as storage, storage.engine.connect() as connection:
        return {
            f"{schema}.{table}.{column}": str(
                connection.execute(text(f'SELECT "{column}" FROM "{schema}"."{table}"')).scalars().all()
            )
            for schema, table, column in connection.execute(text(columns)).all()
        }


def test_a_password_given_as_an_option_leaves_the_process_list(hpo: Command, tcp_postgres: TcpPostgres) -> None:
    url = tcp_postgres.url_of(tcp_postgres.new_database())
    hpo.json("run", hpo.write("shared.yaml", SPEC), "--workers", "0", "--storage", url)
    fleet = hpo.start("fleet", "up", "--workers", "1", "--storage", url, TRIAL_SECONDS="2")
    try:
        shown = ("status", "shared", "--storage", url)
        assert eventually(lambda: hpo.json(*shown)["trials"]["running"] == 1, 60)
        family = [psutil.Process(fleet.pid), *psutil.Process(fleet.pid).children(recursive=True)]
        commands = [" ".join(process.cmdline()) for process in family]
        assert len(commands) >= 4
        assert "--storage postgresql://postgres@127.0.0.1" in commands[0]
        assert all(map(hidden, commands))
    finally:
        fleet.terminate()
        _, err = fleet.communicate(timeout=60)
    assert fleet.returncode == 0, err
    assert hidden(err)
