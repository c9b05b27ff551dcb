"""One Postgres and the quickstart's data for all sides of a benchmark, and the commands that train on them.

What is prepared here is in nobody's time: for us the study and the list of its configurations, for the peers a running
Postgres, the same list, and the features, which our preparation has computed, as a CSV file.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import optuna
import yaml
from peers.configurations import Configuration
from peers.frame import long_frame

from hpo import embedded
from studies.data.panel import Panel, cut_before_test
from studies.memory import MOST_WINDOWS_ON_A_CPU
from studies.preparation import open_panel, prepare_prices
from studies.reading import read_spec

ROOT = Path(__file__).resolve().parents[2]
_PEERS = Path(__file__).parent


class Ground:
    """A folder under /tmp with all of it; a context manager.

    Args:
        steps: optimizer steps of every training; the only look at the validation part is at their end.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.home = Path(tempfile.mkdtemp(prefix="hpo-peers-", dir="/tmp"))
        self.data = self.home / "data.csv"
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        # A benchmark that is told to end leaves nothing behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self._server = embedded.use(self.home / "home")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        spec = read_spec("quickstart", {})
        prepared = prepare_prices(spec, self.home / "home")
        whole = open_panel(spec, self.home / "home", prepared.sizes["panel"])
        self.panel: Panel = cut_before_test(whole)
        long_frame(self.panel).to_csv(self.data, index=False)
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever is left after a failure.
        for process in self._started:
            if process.poll() is None:
                process.terminate()
                process.communicate()
        self._server.leave()
        embedded.release(self.home / "home")
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def url(self) -> str:
        """The Postgres of all sides."""
        return self._server.url

    @property
    def validation(self) -> int:
        """Decisions of the validation part."""
        return len(self.panel.splits.validation)

    def our_study(self, name: str, configurations: Sequence[Configuration], **training: object) -> Path:
        """Make our study of exactly these trials; return its specification, for `ours`.

        Args:
            name: of the study.
            configurations: in the order in which they are begun.
            training: what is not as in the quickstart; the micro-batch is what `hpo run` plans on a CPU.
        """
        spec = read_spec("quickstart", {}).as_json()
        # Planned only where workers are started with the study, and here the configurations have to wait in it first.
        planned = {"max_steps": self.steps, "check_every": self.steps, "micro_batch": MOST_WINDOWS_ON_A_CPU}
        trained = {**spec["training"], **planned, **training}
        cap = len(configurations)
        # As many as are enqueued, and no end before them.
        changed = {"name": name, "trials": cap, "forced_extremes": False, "early_stop": {"patience": cap + 1}}
        file = self.home / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**spec, **changed, "training": trained}), encoding="utf-8")
        self.finish(self.start(self.ours(file, 0)))
        self._enqueue(name, configurations)
        return file

    def their_study(self, name: str, configurations: Sequence[Configuration]) -> None:
        """Make an Optuna study with these trials in its queue."""
        optuna.create_study(study_name=name, storage=self.url, direction="maximize")
        self._enqueue(name, configurations)

    def _enqueue(self, name: str, configurations: Sequence[Configuration]) -> None:
        study = self.study(name)
        for configuration in configurations:
            study.enqueue_trial(configuration)

    def study(self, name: str) -> optuna.Study:
        """Return a study of either kind as Optuna has it."""
        return optuna.load_study(study_name=name, storage=self.url)

    def ours(self, file: Path, workers: int) -> list[str]:
        """Return our command for a specification."""
        return [sys.executable, "-m", "hpo", "run", str(file), "--workers", str(workers), "--json"]

    def plain(self, name: str, trials: int, keep: Path | None = None) -> list[str]:
        """Return the command of a plain script that works on a study until it has so many trials."""
        options = ["--storage", self.url, "--study", name, "--trials", str(trials)]
        kept = [] if keep is None else ["--keep", str(keep)]
        return [sys.executable, str(_PEERS / "plain_script.py"), str(self.data), *options, *kept, *self._common]

    def auto(self, configurations: Sequence[Configuration]) -> list[str]:
        """Return the command of AutoiTransformer over these configurations."""
        file = self.home / "configurations.json"
        file.write_text(json.dumps(list(configurations)), encoding="utf-8")
        return [sys.executable, str(_PEERS / "auto_itransformer.py"), str(self.data), str(file), *self._common]

    @property
    def _common(self) -> list[str]:
        return ["--steps", str(self.steps), "--validation", str(self.validation)]

    def start(self, command: Sequence[str], variables: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a command as in a fresh shell: without settings of threads that are not among `variables`."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HPO_", "OMP_", "MKL_"))}
        ours = {"HPO_HOME": str(self.home / "home"), "PYTHONPATH": str(ROOT)}
        environment = {**inherited, **ours, **(variables or {})}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # Not in the repository: NeuralForecast's Lightning writes where it is started.
        self._started.append(subprocess.Popen(command, cwd=self.home, env=environment, text=True, **pipes))
        return self._started[-1]

    def finish(self, process: "subprocess.Popen[str]") -> str:
        """Wait for a command and return what it printed.

        Raises:
            SystemExit: it failed; with the end of what it said.
        """
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, process.args[:4]))} failed ({process.returncode}):\n{err[-3000:]}")
        return out
