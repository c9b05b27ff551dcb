"""docker-compose.yml and the image: what may be checked of them, and done, where there is no Docker.

Every service's command runs here as it stands in the file, with the file's own environment; only the addresses differ.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import Command
from dashboards import dashboard, hidden
from servers import ROOT, TcpPostgres, free_port

from hpo.cli_database import db

FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "worker", "worker-gpu", "dashboard")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SPEC = """
name: composed
objective: objectives:score
budgets: [750k]
trials: 9
early_stop: {patience: 1000}
"""


def test_the_file_keeps_to_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "version" not in COMPOSE
    assert set(SERVICES) == {"postgres", *OURS}


def test_only_the_dashboard_is_published_and_to_this_machine_alone() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "dashboard": ["127.0.0.1:8080:8080"]
    }
    assert not any("network_mode" in service or service.get("privileged") for service in SERVICES.values())


def test_no_password_stands_in_the_file() -> None:
    assert COMPOSE["secrets"] == {"postgres_password": {"file": "./secrets/postgres_password.txt"}}
    for service in SERVICES.values():
        assert service["secrets"] == ["postgres_password"]
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or value == "/run/secrets/postgres_password"
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", TEXT)
    ignored = subprocess.run(["git", "check-ignore", "secrets/postgres_password.txt"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_every_service_of_ours_has_the_same_storage() -> None:
    storage = {
        "HPO_STORAGE": "postgresql://hpo@postgres:5432/hpo",
        "HPO_STORAGE_PASSWORD_FILE": "/run/secrets/postgres_password",
    }
    assert [SERVICES[name]["environment"] for name in OURS] == [storage] * len(OURS)
    made = SERVICES["postgres"]["environment"]
    assert (made["POSTGRES_USER"], made["POSTGRES_DB"]) == ("hpo", "hpo")


def test_services_wait_for_what_they_need_and_keep_what_they_made() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("worker", "worker-gpu", "dashboard"):
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert "home:/var/lib/hpo" in SERVICES["worker"]["volumes"]
    assert SERVICES["worker"]["volumes"] == SERVICES["worker-gpu"]["volumes"]
    assert SERVICES["worker"]["stop_grace_period"] == "60s"
    assert set(COMPOSE["volumes"]) == {"postgres", "home"}


def test_the_image_runs_as_nobody_special_and_is_built_without_secrets() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["hpo"]
    assert 'ENTRYPOINT ["hpo"]' in DOCKERFILE
    assert "HPO_HOME=/var/lib/hpo" in DOCKERFILE
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignore[0] == "*"
    sent = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.M) for name in line.split()}
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


@pytest.fixture
def machine(tcp_postgres: TcpPostgres, hpo: Command, tmp_path: Path) -> Iterator[Command]:
    """A container's environment on this machine: the file's own, with the addresses of the Postgres of the tests."""
    database, password = tcp_postgres.new_database(), tcp_postgres.password
    tcp_postgres.execute(f"CREATE ROLE hpo LOGIN PASSWORD '{password}'")
    tcp_postgres.execute(f"ALTER DATABASE {database} OWNER TO hpo")
    (tmp_path / "secret").write_text(password)
    given = SERVICES["worker"]["environment"]
    url = given["HPO_STORAGE"].replace("postgres:5432/hpo", f"127.0.0.1:{tcp_postgres.port}/{database}")
    assert set(given) == {"HPO_STORAGE", "HPO_STORAGE_PASSWORD_FILE"}
    yield Command(hpo.home, hpo.directory, url, tmp_path / "secret")
    tcp_postgres.execute(f"DROP DATABASE {database} WITH (FORCE)")
    tcp_postgres.execute("DROP ROLE hpo")


def test_the_commands_of_all_services_do_their_work_on_one_study(machine: Command) -> None:
    migrate = SERVICES["migrate"]["command"]
    assert migrate == ["db", "upgrade"]
    ended = machine.run(*(migrate if "upgrade" in db else ["db", "url"]))
    assert ended.code == 0, ended.err
    machine.json("run", machine.write("composed.yaml", SPEC), "--workers", "0")

    assert SERVICES["worker"]["command"] == SERVICES["worker-gpu"]["command"]
    # A worker of one study loads what that study needs; one of all studies would load torch here, for nothing.
    worked = machine.run(*SERVICES["worker"]["command"], "--idle-exit", "1", "--study", "composed")
    assert worked.code == 0, worked.err
    found = machine.json("status", "composed")
    assert (found["state"], found["trials"]["complete"]) == ("finished", 9)

    # Loopback and a free port here, in place of the container's own network.
    name, *options = SERVICES["dashboard"]["command"]
    assert (name, options) == ("dashboard", ["--host", "0.0.0.0", "--port", "8080"])
    with dashboard(machine, "--host", "127.0.0.1") as site:
        trials = site.json(f"/api/studies/{site.study_id('composed')}")["trials"]
        assert [trial["state"] for trial in trials] == ["Complete"] * 9
        assert site.ask("DELETE", "/api/studies/1")[0] == 405
        assert health(site.url) == 0
        code, said = site.end()
    assert code == 0
    assert hidden(ended.out + ended.err + worked.out + worked.err + said)


def test_a_dashboard_that_does_not_answer_is_unhealthy() -> None:
    assert health(f"http://127.0.0.1:{free_port()}") != 0


def health(url: str) -> int:
    """Ask as the container asks itself; return the exit code."""
    how, python, *arguments = SERVICES["dashboard"]["healthcheck"]["test"]
    assert (how, python) == ("CMD", "python")
    here = [argument.replace("http://127.0.0.1:8080", url) for argument in arguments]
    return subprocess.run([sys.executable, *here], capture_output=True, check=False).returncode
