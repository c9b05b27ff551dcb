"""The real command, started as a user starts it."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from hpo.cli import execute
from hpo.settings import load_settings
from hpo.storage import open_storage

OBJECTIVES = Path(__file__).parent / "acceptance"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Command:
    """`hpo` in a home and working directory of its own."""

    home: Path
    directory: Path
    storage: str | None = None
    password_file: Path | None = None

    def environment(self) -> dict[str, str]:
        importable = os.pathsep.join([str(ROOT), str(OBJECTIVES)])
        given = {"HPO_HOME": str(self.home), "PYTHONPATH": importable, "COLUMNS": "80", "HPO_POLL_SECONDS": "0.2"}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HPO_")}
        stored = {"HPO_STORAGE": self.storage, "HPO_STORAGE_PASSWORD_FILE": self.password_file}
        return {**inherited, **given, **{key: str(value) for key, value in stored.items() if value}}

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hpo", *arguments],
            cwd=self.directory,
            env={**self.environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, seconds: float = 900) -> "Ended":
        process = self.start(*arguments)
        out, err = process.communicate(timeout=seconds)
        return Ended(process.returncode, out, err)

    def json(self, *arguments: str) -> Any:
        ended = self.run(*arguments, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Here(Command):
    """The same command in this process, for the many that are refused: a second less for each."""

    def run(self, *arguments: str, seconds: float = 300) -> Ended:  # noqa: ARG002
        out, err = StringIO(), StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.environment().items():
                patch.setenv(name, value)
            patch.chdir(self.directory)
            code = execute(arguments)
        return Ended(code, out.getvalue(), err.getvalue())


def optuna_trials(hpo: Command, study: str) -> list[FrozenTrial]:
    """Return the trials of a study as any user of Optuna reads them."""
    with open_storage(load_settings({"HPO_HOME": str(hpo.home)})) as storage:
        return optuna.load_study(study_name=study, storage=storage.optuna).get_trials(deepcopy=False)
