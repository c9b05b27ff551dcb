"""docker-compose.yml and the image: what may be checked of them, and done, where there is no Docker.

Every service's command runs here as it stands in the file, with the file's own environment; only the addresses differ.
"""

import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import Command
from dashboards import Site, dashboard, hidden
from servers import ROOT, TcpPostgres, eventually, free_port

from hpo import postgres

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
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_each_image_is_built_by_one_service_and_only_that_of_the_gpu_brings_cuda() -> None:
    built = {name: service["build"] for name, service in SERVICES.items() if "build" in service}
    assert [SERVICES[name]["image"] for name in built] == ["budget-hpo:cpu", "budget-hpo:gpu"]
    assert {SERVICES[name]["image"] for name in OURS} == {"budget-hpo:cpu", "budget-hpo:gpu"}
    cpu, gpu = built.values()
    assert cpu["args"] == {"TORCH_INDEX": "${HPO_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}"}
    assert gpu == "."
    assert re.findall(r"^ARG TORCH_INDEX=(.*)$", DOCKERFILE, re.M) == [""]


def test_workers_without_and_with_a_gpu_are_counted_apart() -> None:
    replicas = [SERVICES[name]["deploy"]["replicas"] for name in ("worker", "worker-gpu")]
    assert replicas == ["${HPO_WORKERS:-2}", "${HPO_GPU_WORKERS:-1}"]


@pytest.mark.parametrize("text", [TEXT, (ROOT / "README.md").read_text()], ids=["the file", "the README"])
def test_what_is_to_be_typed_first_makes_what_the_file_expects(text: str, tmp_path: Path) -> None:
    found = re.search(r"^(?:#   )?(mkdir .*postgres_password\.txt\))$", text, re.M)
    assert found
    # Whoever is careful has a umask with which nobody else could read the file: the container's user neither.
    subprocess.run(["sh", "-c", f"umask 077; {found[1]}"], cwd=tmp_path, check=True)
    mounted = {volume.partition(":")[0] for volume in SERVICES["worker"]["volumes"] if volume.startswith(".")}
    assert all((tmp_path / folder).is_dir() for folder in mounted)
    secret = tmp_path / COMPOSE["secrets"]["postgres_password"]["file"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    assert len(secret.read_text().strip()) == 48


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


def test_the_commands_of_all_services_do_their_work_on_one_study(machine: Command, tcp_postgres: TcpPostgres) -> None:
    assert postgres_health(tcp_postgres) == 0
    migrated = machine.run(*SERVICES["migrate"]["command"])
    assert migrated.code == 0, migrated.err
    # It comes up before there is a study, as it does in the file.
    with served(machine) as site:
        assert health(site.url) == 0
        machine.json("run", machine.write("composed.yaml", SPEC), "--workers", "0")

        assert SERVICES["worker"]["command"] == SERVICES["worker-gpu"]["command"]
        worker = machine.start(*SERVICES["worker"]["command"])
        try:
            assert eventually(lambda: machine.json("status", "composed")["state"] == "finished", 120)
        finally:
            # As `docker compose down` ends it.
            worker.terminate()
            out, err = worker.communicate(timeout=60)
        assert (worker.returncode, out) == (0, "this worker ended 9 trials\n"), err
        assert machine.json("status", "composed")["trials"]["complete"] == 9

        trials = site.json(f"/api/studies/{site.study_id('composed')}")["trials"]
        assert [trial["state"] for trial in trials] == ["Complete"] * 9
        assert site.ask("DELETE", "/api/studies/1")[0] == 405
        assert site.ask("GET", "/api/studies", Host="evil.example:8080")[0] == 403
        assert health(site.url) == 0
        code, said = site.end()
    assert code == 0
    assert hidden(migrated.out + migrated.err + out + err + said)


def served(machine: Command) -> AbstractContextManager[Site]:
    """Serve as the file says, on a free port in place of the container's own."""
    name, *options = SERVICES["dashboard"]["command"]
    assert (name, options[-2:]) == ("dashboard", ["--port", "8080"])
    return dashboard(machine, *options[:-2])


def test_a_postgres_that_does_not_answer_is_unhealthy(tcp_postgres: TcpPostgres) -> None:
    assert postgres_health(replace(tcp_postgres, port=free_port())) != 0


def postgres_health(server: TcpPostgres) -> int:
    """Ask as its container asks itself; return the exit code."""
    how, name, *arguments = SERVICES["postgres"]["healthcheck"]["test"]
    assert how == "CMD"
    command = [str(postgres.program(name)), *arguments]
    # As a variable: the container's server has the port that is asked where none is named.
    return subprocess.run(command, env={"PGPORT": str(server.port)}, capture_output=True, check=False).returncode


def test_a_dashboard_that_does_not_answer_is_unhealthy() -> None:
    assert health(f"http://127.0.0.1:{free_port()}") != 0


def health(url: str) -> int:
    """Ask as the container asks itself; return the exit code."""
    how, python, *arguments = SERVICES["dashboard"]["healthcheck"]["test"]
    assert (how, python) == ("CMD", "python")
    here = [argument.replace("http://127.0.0.1:8080", url) for argument in arguments]
    return subprocess.run([sys.executable, *here], capture_output=True, check=False).returncode
