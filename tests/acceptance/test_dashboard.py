"""`hpo dashboard`: a real browser sees the study, nobody changes it, and no password leaves."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import optuna
import psutil
import pytest
from command import Command
from dashboards import Site, dashboard, hidden
from optuna_dashboard import wsgi
from servers import TcpPostgres, eventually

from hpo.dashboard import forbid_writing
from hpo.settings import load_settings
from hpo.storage import open_storage

SPEC = """
name: seen
objective: objectives:score
budgets: [750k, 2M]
trials: 14
early_stop: {patience: 1000}
"""
# What the service wrote on its page: the reason of the stop, and the command to type next.
NOTE = ("the cap of 14 trials is used: 14 complete", "hpo phase2 seen")


@pytest.fixture(scope="module")
def finished(tcp_postgres: TcpPostgres, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A machine with a finished study on a Postgres whose password stands in a file alone."""
    folder = tmp_path_factory.mktemp("finished")
    secret = folder / "secret"
    secret.write_text(f"{tcp_postgres.password}\n")
    url = f"postgresql://{tcp_postgres.user}@127.0.0.1:{tcp_postgres.port}/{tcp_postgres.new_database()}"
    command = Command(folder / "home", folder, url, secret)
    command.json("run", command.write("seen.yaml", SPEC))
    return command


@pytest.fixture(scope="module")
def site(finished: Command) -> Iterator[Site]:
    with dashboard(finished) as served:
        yield served


def rendered(url: str, folder: Path) -> str:
    """Return a page as a real browser shows it, after its scripts have run."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert browser, "this test needs a real browser: `apt-get install chromium`, or any Chrome on PATH"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    profile, patience = f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=15000"
    ended = subprocess.run(
        [browser, *options, profile, patience, "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_browser_shows_the_trials_and_the_note(site: Site, tmp_path: Path) -> None:
    study = f"{site.url}/dashboard/studies/{site.study_id('seen')}"
    trials = rendered(f"{study}/trials", tmp_path)
    assert "14 Trials" in trials
    assert all(f"Trial {number}<" in trials for number in range(14)), trials
    assert trials.count(">Complete<") >= 14
    note = rendered(f"{study}/note", tmp_path)
    assert all(part in note for part in NOTE), note
    assert "seen (id=" in note


def test_nothing_that_writes_gets_through(site: Site) -> None:
    study = site.study_id("seen")
    before = site.json(f"/api/studies/{study}")
    writing = [route for route in wsgi(optuna.storages.InMemoryStorage()).routes if route.method != "GET"]  # type: ignore[attr-defined]
    assert len(writing) > 10
    for route in writing:
        path = re.sub(r"<[^>]*>", str(study), route.rule)
        status, headers, body = site.ask(route.method, path, {"study_name": "renamed", "directions": ["minimize"]})
        assert (status, headers["Allow"]) == (405, "GET, HEAD"), route
        assert "hpo dashboard --writable" in body
    assert site.json(f"/api/studies/{study}") == before
    assert all(part in before["note"]["body"] for part in NOTE)
    assert len(before["trials"]) == 14


def test_postgres_itself_refuses_what_a_page_that_reads_would_write(finished: Command) -> None:
    with open_storage(load_settings(finished.environment())) as storage:
        study = optuna.load_study(study_name="seen", storage=storage.optuna)
        forbid_writing(storage.optuna.engine)
        with pytest.raises(optuna.exceptions.StorageInternalError):
            study.set_user_attr("written", True)
        assert len(study.get_trials()) == 14
        assert "written" not in study.user_attrs


def test_every_page_that_reads_works_without_a_right_to_write(site: Site) -> None:
    study = site.study_id("seen")
    plots = ("contour", "slice", "parallel_coordinate", "rank", "edf", "timeline")
    api = f"/api/studies/{study}"
    pages = ["/dashboard", "/api/meta", "/favicon.ico", f"/csv/{study}", api, f"{api}/param_importances"]
    for page in [*pages, *(f"{api}/plot/{plot}" for plot in plots)]:
        assert site.ask("GET", page)[0] == 200, page
    for page in pages:
        status, _, body = site.ask("HEAD", page)
        assert (status, body) == (200, ""), page


def test_the_name_of_another_site_is_refused(site: Site) -> None:
    port = urlsplit(site.url).port
    for host, status in ((f"localhost:{port}", 200), (f"evil.example:{port}", 403)):
        assert site.ask("GET", "/api/studies", Host=host)[0] == status
    assert site.ask("GET", "/api/studies")[1]["X-Frame-Options"] == "DENY"


def test_it_is_refused_as_well_where_the_whole_network_is_listened_to(finished: Command) -> None:
    # As in a container, whose port is published on this machine alone.
    with dashboard(finished, "--host", "0.0.0.0") as site:
        port = urlsplit(site.url).port
        for host, status in ((f"127.0.0.1:{port}", 200), (f"192.0.2.7:{port}", 200), (f"evil.example:{port}", 403)):
            assert site.ask("GET", "/api/studies", Host=host)[0] == status, host
        _, said = site.end()
    assert said.startswith(f"warning: there is no login, and whoever reaches port {port} of 0.0.0.0 sees every study: ")


def test_writable_writes_but_not_for_another_site(finished: Command) -> None:
    new = {"study_name": "made in the browser", "directions": ["maximize"]}
    with dashboard(finished, "--writable") as site:
        assert site.ask("POST", "/api/studies", new, Origin="http://evil.example")[0] == 403
        assert site.ask("POST", "/api/studies", new, Origin=site.url)[0] == 201
        made = site.study_id("made in the browser")
        assert site.ask("DELETE", f"/api/studies/{made}", {})[0] == 204
        assert [study["study_name"] for study in site.json("/api/studies")["study_summaries"]] == ["seen"]


def test_a_port_in_use_is_refused_in_one_line(site: Site, finished: Command) -> None:
    ended = finished.run("dashboard", "--port", str(urlsplit(site.url).port))
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert "another program listens" in ended.err
    assert "--port" in ended.err


def test_a_home_without_a_study_says_how_to_make_one(hpo: Command) -> None:
    ended = hpo.run("dashboard", "--port", "0")
    assert (ended.code, ended.out, ended.err) == (2, "", "no study yet: `hpo run quickstart` makes one\n")
    assert os.listdir(hpo.home) == []


def test_an_empty_database_gets_no_tables_from_one_who_looks(hpo: Command, tcp_postgres: TcpPostgres) -> None:
    database = tcp_postgres.new_database()
    empty = Command(hpo.home, hpo.directory, tcp_postgres.url_of(database))
    for made in ([], ["status"]):
        # What `hpo status` makes is the control schema; Optuna's tables are not in it.
        assert not made or empty.run(*made).code == 0
        ended = empty.run("dashboard", "--port", "0")
        assert (ended.code, ended.out, ended.err) == (2, "", "no study yet: `hpo run quickstart` makes one\n")
        with open_storage(load_settings(empty.environment())) as storage, storage.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT to_regclass('studies')").scalar() is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(finished: Command, how: signal.Signals) -> None:
    with dashboard(finished) as site:
        assert site.ask("GET", "/dashboard")[0] == 200
        code, said = site.end(how)
    assert code == 0
    assert said == f"the dashboard is at {site.url}; Ctrl-C ends it\n"


def test_the_password_is_nowhere_even_while_the_database_refuses_everybody(
    finished: Command, tcp_postgres: TcpPostgres
) -> None:
    database = str(finished.storage).rpartition("/")[2]
    with dashboard(finished) as site:
        assert hidden(started_with(site.process.pid))
        study = site.study_id("seen")
        pages = ["/dashboard", "/api/studies", f"/api/studies/{study}", f"/csv/{study}", "/nothing", "/csv/999999"]
        assert all(hidden(site.ask("GET", page)[2]) for page in pages)
        tcp_postgres.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        try:
            tcp_postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
            for page in ("/dashboard", "/api/studies", f"/csv/{study}"):
                status, headers, body = site.ask("GET", page)
                assert (status, headers["Retry-After"]) == (503, "2")
                assert "the database is away" in body
                assert hidden(body)
        finally:
            tcp_postgres.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        assert site.study_id("seen") == study
        code, said = site.end()
    assert code == 0
    assert "Traceback" not in said
    assert "not currently accepting connections" in said
    assert hidden(said)


def started_with(pid: int) -> str:
    """Return the command line and environment of a process and its descendants."""
    process = psutil.Process(pid)
    shown = [(each.cmdline(), each.environ()) for each in (process, *process.children(recursive=True))]
    return repr(shown)


def test_an_embedded_server_that_was_killed_is_started_again(hpo: Command) -> None:
    hpo.json("run", hpo.write("seen.yaml", SPEC), "--workers", "0")
    with dashboard(hpo) as site:
        assert site.study_id("seen") == 1
        psutil.Process(int((hpo.home / "postgres" / "postmaster.pid").read_text().split()[0])).kill()
        assert eventually(lambda: answers(site), seconds=90)
        assert site.study_id("seen") == 1
        code, said = site.end()
    assert (code, "Traceback" in said) == (0, False), said


def answers(site: Site) -> bool:
    # A connection to a server that was killed may hang until it is given up.
    with suppress(TimeoutError):
        return site.ask("GET", "/api/studies")[0] == 200
    return False
