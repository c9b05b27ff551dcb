"""A study of Optuna is brought in by the command, seen in the dashboard, and worked on by nobody."""

import optuna
from command import Command, optuna_trials
from dashboards import dashboard
from servers import TcpPostgres

SPEC = """
name: theirs
objective: objectives:score
budgets: [2M]
trials: 9
"""


def make_source(hpo: Command, trials: int = 4) -> str:
    given = f"sqlite:///{hpo.directory / 'old.db'}"
    study = optuna.create_study(study_name="theirs", storage=given, load_if_exists=True, direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials)
    return given


def test_a_study_is_imported_and_imported_again(hpo: Command) -> None:
    given = make_source(hpo)
    ended = hpo.run("import", "--from", given, "theirs")
    assert (ended.code, ended.err) == (0, "copying 4 trials of theirs\n")
    first, second = ended.out.splitlines()
    assert first == f"theirs: 4 trials copied, 4 in all, from {given}"
    assert "`hpo report theirs`" in second
    assert f"theirs: nothing new in {given}, 4 trials as before" in hpo.run("import", "theirs", "--from", given).out
    make_source(hpo, 2)
    found = hpo.json("import", "theirs", "--from", given)
    assert (found["study"], found["trials"], found["added"], found["not_ended"]) == ("theirs", 6, 2, 0)
    with dashboard(hpo) as site:
        assert len(site.json(f"/api/studies/{site.study_id('theirs')}?after=0")["trials"]) == 6
    trials = optuna_trials(hpo, "theirs")
    assert [(trial.number, trial.value) for trial in trials] == [
        (n, trial.params["x"]) for n, trial in enumerate(trials)
    ]


def test_an_imported_study_is_refused_by_what_works_on_studies(hpo: Command) -> None:
    assert hpo.run("import", "--from", make_source(hpo), "theirs", "--json").code == 0
    ended = hpo.run("run", hpo.write("theirs.yaml", SPEC))
    assert (ended.code, ended.out) == (2, "")
    assert "was made by something else: give yours another name with --name" in ended.err
    assert hpo.run("stop", "theirs").code == 2


def test_what_is_wrong_is_one_line_and_makes_no_storage(hpo: Command) -> None:
    given = make_source(hpo)
    for arguments, said in (
        (["import", "theirs"], "--from"),
        (["import", "thiers", "--from", given], "the nearest are theirs"),
        (["import", "theirs", "--from", "missing.db"], "'missing.db' can't (No such file or directory)"),
        (["import", "theirs", "--from", "mysql://u:hidden@h/x"], "optuna.copy_study"),
        (["import", "theirs", "--from", "postgresql://u:hidden@127.0.0.1:1/x"], "must be reachable"),
        (["import", "theirs", "--from", "postgresql//u:hidden@h/x"], "must name a file that can be read"),
        (["import", "theirs", "--from", "postgresql://u:a@h/x", "--storage", "postgresql://u:hidden@h/x"], "different"),
    ):
        ended = hpo.run(*arguments)
        assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1), ended
        assert said in ended.err
        assert "hidden" not in ended.err
    assert not hpo.home.exists() or list(hpo.home.iterdir()) == []


def test_the_password_of_a_source_is_not_shown(hpo: Command, tcp_postgres: TcpPostgres) -> None:
    source = Command(hpo.home, hpo.directory, tcp_postgres.url_of(tcp_postgres.new_database()))
    assert source.run("import", "theirs", "--from", make_source(hpo)).code == 0
    assert source.storage is not None
    ended = hpo.run("import", "theirs", "--from", source.storage, "--name", "again")
    assert ended.code == 0, ended.err
    assert "again: 4 trials copied" in ended.out
    assert "p@ss" not in ended.out + ended.err
    assert "p%40ss" not in ended.out + ended.err
