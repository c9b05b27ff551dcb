"""A Postgres on TCP with a password: shared by machines, and its password never shown."""

import os
from collections import Counter

import optuna
import pytest
from command import Command
from optuna.trial import TrialState as OptunaState
from servers import PASSWORD, TcpPostgres

from hpo.settings import load_settings
from hpo.storage import open_storage

SPEC = """
name: shared
objective: objectives:score
budgets: [750k, 2M]
trials: 14
early_stop: {patience: 1000}
"""


def hidden(text: str) -> bool:
    return PASSWORD not in text and "p%40ss" not in text and "p@ss" not in text


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
