"""The documents and the public surface say the same as the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import budgets
from hpo.cli import app, db, fleet, size

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
GROUPS = {"db": db, "fleet": fleet, "size": size}
NAMES = [*app, *(f"{group} {name}" for group, commands in GROUPS.items() for name in commands)]
COMMANDS = [name for name in NAMES if not name.split()[-1].startswith("-") and name not in GROUPS]


def test_the_commands_are_these_until_they_are_changed_on_purpose() -> None:
    assert sorted(COMMANDS) == [
        "batch",
        "check",
        "compare",
        "dashboard",
        "db backup",
        "db restore",
        "db start",
        "db stop",
        "db upgrade",
        "db url",
        "ensemble",
        "fleet drain",
        "fleet plan",
        "fleet up",
        "import",
        "inspect",
        "metrics",
        "phase2",
        "reap",
        "replay",
        "report",
        "resume",
        "run",
        "schema",
        "size mlp",
        "size transformer",
        "status",
        "stop",
        "worker",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    first, _, last = command.partition(" ")
    assert f"hpo {first}" in README
    assert last in README


def test_every_key_of_the_specification_is_in_the_readme() -> None:
    from studies.spec import Spec

    for name in Spec.model_fields:
        assert f"`{name}`" in README or f"{name}:" in README, name


def test_the_public_names_of_budgets_are_pinned() -> None:
    assert budgets.__all__ == [
        "BUDGET_CONFIGS",
        "DEFAULT_REGULARIZATION",
        "PHASE2_RANGES",
        "STYLES",
        "Architecture",
        "BatchPlan",
        "BudgetError",
        "Corner",
        "ForcedConfiguration",
        "InputError",
        "MemoryLimit",
        "MetricKind",
        "ParameterGroups",
        "PlannedBatch",
        "PpoChoices",
        "PpoPlan",
        "Regularization",
        "SupplementaryConfiguration",
        "SupplementaryRanges",
        "compute_budget_aware_extremes",
        "equal_parameter_shapes",
        "estimate_parameters",
        "format_budget",
        "generate_corners",
        "generate_forced_configs",
        "largest_architecture_within",
        "largest_micro_batch",
        "metric_kind",
        "minimum_effective_batch",
        "nearest_architecture",
        "parse_budget",
        "plan_batch",
        "recommended_effective_batch",
        "smallest_architecture_reaching",
        "usual_heads",
    ]


@pytest.mark.parametrize("module", ["hpo.cli", "hpo.app", "hpo.worker", "studies.declaration"])
def test_importing_the_service_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'neuralforecast', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_the_command_line_loads_nothing_heavy() -> None:
    code = "import sys, hpo.cli; print([m for m in ('optuna', 'sqlalchemy', 'pydantic', 'numpy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_no_file_is_called_utils_and_none_is_over_400_lines() -> None:
    for package in ("budgets", "studies", "hpo"):
        for file in (ROOT / package).rglob("*.py"):
            assert not re.search(r"utils|core|common|helpers", file.stem), file
            assert len(file.read_text().splitlines()) <= 400, file


def test_the_environment_is_read_in_one_place() -> None:
    # The rehearsal reads nothing there; it puts back what Lightning sets.
    allowed = {"settings.py", "rehearsal.py"}
    for package in ("budgets", "studies", "hpo"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text()
            assert not re.search(r"os\.environ|getenv", text) or file.name in allowed, file
